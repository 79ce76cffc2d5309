"""The table of an analysis: which gates matter."""

from collections.abc import Sequence

from ccenv.runs.tables.sweep_table import Columns, Row, markdown, read_columns

TWO_SIDED = 1.96
"""standard errors of a 95 % interval, of a normal distribution."""


def spread_of(row: Row) -> str | None:
    """Half the interval of what a gate adds to the nll."""
    spread = row["nll_more_error"]
    is_known = row["kept"] != "everything" and spread is not None
    return f"±{TWO_SIDED * spread:.3f}" if is_known else None


GATE_COLUMNS: Columns = {
    "kept": ("left", lambda row: " ".join(filter(None, [row["kept"], row["name"]]))),
    "error %": ("right .2f", lambda row: 100 * row["error"]),
    "nll": ("right .3f", "nll"),
    "nll more": (
        "right +.3f",
        lambda row: None if row["kept"] == "everything" else row["nll_more"],
    ),
    "95 %": ("right", spread_of),
    "compute cost": ("right .3f", "compute_cost"),
}
GATE_NOTES = """\
Error: share of wrong answers; nll in nats; compute cost: executed MACs over the dense network's.
nll more: than with everything kept, mean over the same inputs, with its 95 % interval. Costs of
single gates do not add up: see a random half, and nothing kept."""


def gate_table(rows: Sequence[Row]) -> str:
    """A line for each variant."""
    return markdown(*read_columns(GATE_COLUMNS, rows))
