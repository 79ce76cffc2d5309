"""Scores of the suite: agents played on its tasks, compared with recorded ones, on a page."""

from typing import TYPE_CHECKING

from ccenv.base.registry import names_on_use

if TYPE_CHECKING:
    from ccenv.runs.suite.reported import SuiteReport, report

__all__ = ["SuiteReport", "report"]

__getattr__ = names_on_use(__name__, {"reported": ["SuiteReport", "report"]})
