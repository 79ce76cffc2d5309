"""What a study is: a sweep, and the parts of its report that no other sweep has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccenv.runs.config.sweep import Sweep

if TYPE_CHECKING:
    from ccenv.runs.engine.sweep_runs import SweepRuns
    from ccenv.runs.tables.drawing import Picture
    from ccenv.runs.tables.sweep_table import Table


@dataclass(frozen=True)
class Part:
    """What a section shows of a comparison; empty where there is nothing to say yet."""

    tables: Sequence["Table"] = ()
    """in their order."""
    figures: Sequence["Picture"] = ()
    """in their order, drawn in the report's style."""


@dataclass(frozen=True)
class Section:
    """A part of a study's report."""

    name: str
    """its place on the page: letters, digits and hyphens."""
    title: str
    """its heading."""
    make: Callable[["SweepRuns", Path], Part]
    """(the sweep as far as it has come, folder of recorded results) -> what is shown."""


@dataclass(frozen=True)
class Study:
    """A sweep, and the sections that it adds to its report.

    >>> from ccenv.runs.config.sweep import Cell
    >>> sweep = Sweep("mine", "One agent.", (Cell("dense", "dense"),), minutes=1.0)
    >>> section = Section("notes", "Notes", lambda comparison, results_dir: Part())
    >>> [one.title for one in Study(sweep, (section,)).sections]
    ['Notes']
    """

    sweep: Sweep
    """what is run."""
    sections: tuple[Section, ...] = ()
    """behind the table of errors and costs, in this order."""
