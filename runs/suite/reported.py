"""A folder of scores -> a report: what `Standing` says, with a picture, a page and curves."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.annexes.tasks import TASKS
from ccenv.base.values import shown
from ccenv.runs.api import frame
from ccenv.runs.store import REPORTS
from ccenv.runs.suite.pictures import (
    PAGE,
    radar,
    radar_agents,
    radar_drawn,
    write_board,
    write_page,
)
from ccenv.runs.suite.scores import read_folder, recorded_runs
from ccenv.runs.suite.standing import Standing, runs_in_order
from ccenv.runs.tables.drawing import drawn_in_style
from ccenv.runs.tables.sweep_table import html_table


@dataclass(frozen=True, repr=False)
class SuiteReport(Standing):
    """Scores of agents on the suite: rows by skill, sentences, a table, a picture and a page.

    >>> import ccenv
    >>> ccenv.suite.report("no/such/folder").runs[0].recorded
    True
    """

    page: Path = Path(REPORTS, "suite", PAGE)
    """where `write_page` writes."""

    def plot(self) -> Any:
        """The skills as a matplotlib figure: a radar of your agents and the best recorded."""
        with drawn_in_style():
            return radar(self, radar_agents(self))

    def write_page(self) -> list[str]:
        """Writes the page with its tables and pictures, and curves for TensorBoard; says where."""
        write_page(self, self.page.parent)
        board = write_board(self, self.page.parent / "board")
        return [
            f"page: {self.page} (tables and plots in the same folder)",
            f"curves: tensorboard --logdir {board}",
        ]

    def to_pandas(self) -> Any:
        """A data frame with a line for each row; intervals in columns such as `score.low`."""
        return frame(self.rows)

    def _repr_html_(self) -> str:
        tables = [html_table(one.columns, one.lines) for one in self.tables]
        verdict, *notes = (f"<p>{html.escape(text)}</p>" for text in (self.verdict, *self.notes))
        return "".join([verdict, *tables, *notes]) + radar_drawn(self).svg


def report(folder: str | Path = "runs/suite", page: str | Path | None = None) -> SuiteReport:
    """Compares the scores in a folder with those of recorded agents on the same tasks.

    Without a score of yours the recorded ones are shown, on the tasks of `--quick`.

    Args:
        folder: with `score.json` files below it, of agents of any library.
        page: where `Report.write_page` writes; `runs/reports/suite/index.html` by default.

    Example:
        >>> import ccenv
        >>> ccenv.suite.report("no/such/folder").own
        []
    """
    if not isinstance(folder, str | Path):
        raise ValueError(f"expected folder as the path of a folder of scores, got {shown(folder)}")
    runs, failures, lines = read_folder(Path(folder))
    place = {} if page is None else {"page": Path(page)}
    # Pictures and means compare agents on the same tasks.
    played = {run.task for run in runs} or {name for name, task in TASKS.items() if task.quick}
    to_compare = [run for run in recorded_runs() if run.task in played]
    return SuiteReport([*runs_in_order(runs), *to_compare], failures, lines, **place)
