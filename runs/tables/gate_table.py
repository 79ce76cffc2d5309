"""Which gates matter, as a table: rows of `ccenv.runs.analysis.gate_sweep` -> Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.tables.sweep_table import markdown

COLUMNS = {
    "kept": "left",
    "error %": "right .2f",
    "nll": "right .3f",
    "nll more": "right +.3f",
    "95 %": "right",
    "compute cost": "right .3f",
}
NOTES = """\
Error: share of wrong answers; nll in nats; compute cost: executed MACs over the dense network's.
nll more: than with everything kept, mean over the same inputs, with its 95 % interval. Costs of
single gates do not add up: see a random half, and nothing kept."""
TWO_SIDED = 1.96
"""standard errors of a 95 % interval, of a normal distribution."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each variant."""
    return markdown(COLUMNS, [cells(row) for row in rows])


def cells(row: Mapping[str, Any]) -> list[Any]:
    """One line."""
    is_whole, spread = row["kept"] == "everything", row["nll_more_error"]
    return [
        row["kept"] if row["name"] is None else f"{row['kept']} {row['name']}",
        100 * row["error"],
        row["nll"],
        None if is_whole else row["nll_more"],
        None if is_whole or spread is None else f"±{TWO_SIDED * spread:.3f}",
        row["compute_cost"],
    ]
