"""A recorded search as a table: its front, and the defaults beside it -> Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.stats.intervals import mean_interval
from ccenv.runs.tables.sweep_table import markdown

KIND = "search"
COLUMNS = {
    "trial": "left",
    "settings": "left",
    "total cost": "right .4f",
    "validation error %": "right .2f",
    "of new runs": "right",
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each trial."""
    return markdown(COLUMNS, [cells(row) for row in rows])


def cells(row: Mapping[str, Any]) -> list[Any]:
    """One line; the last number is a mean over runs with other seeds, with its interval."""
    values = [
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in row["values"].items()
    ]
    trial = f"{row['number']}, defaults" if row["is_usual"] else str(row["number"])
    anew = f"{mean_interval(row['anew']):.2%}"
    return [trial, " ".join(values), row["total_cost"], 100 * row["error"], anew]
