"""Single inputs on a comparison's page: (a comparison) -> what two of its runs do with them.

Only runs whose weights are here can be shown; recorded results have none. A comparison is never
stopped by it: what cannot be opened is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.replay.rebuilt import Rebuilt, check_finished, open_run
from ccenv.runs.report.inputs.view import view_of
from ccenv.runs.tables.sweep_table import Row, by_dataset

MOST_RUNS = 2


def section_of(comparison: Comparison) -> dict[str, Any] | None:
    """What the page shows of single inputs; None where no learner's weights are here."""
    for rows in by_dataset(comparison.rows).values():
        opened: dict[str, Rebuilt] = {}
        for row in best_learners(rows):
            run = opened_again(comparison, row["label"])
            if run is not None:
                opened[row["label"]] = run
            if len(opened) == MOST_RUNS:
                break
        try:
            if opened:
                return view_of(opened, comparison.draw)
        except (ValueError, RuntimeError):
            continue
    return None


def best_learners(rows: Sequence[Row]) -> list[Row]:
    """Rows that learned, one an agent, least error first."""
    learned = [row for row in rows if row["learns"]]
    best: dict[str, Row] = {}
    for row in sorted(learned, key=lambda row: row["error"]["mean"]):
        best.setdefault(row["agent"], row)
    return list(best.values())


def opened_again(comparison: Comparison, label: str) -> Rebuilt | None:
    """The first run of a row whose weights are here, with its policy."""
    for one in comparison.finished:
        if one.label != label or "folder" not in one.result:
            continue
        try:
            folder = Path(one.result["folder"])
            check_finished(folder)
            return open_run(folder)
        except (ValueError, OSError, RuntimeError):
            continue
    return None
