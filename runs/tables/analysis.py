"""Analyses as tables and figures: which gates matter, how tables retrieve blocks."""

import functools
from collections.abc import Sequence
from typing import Any

from ccenv.runs.tables.drawing import (
    INK,
    Drawn,
    Panel,
    Series,
    legend_height,
    nth_look,
    plotted,
)
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


def recall_figure(rows: Sequence[Row]) -> Drawn:
    """Two axes side by side: recall over memory, and over the share of retrieved blocks."""
    over_memory, over_share = [], []
    for place, number in enumerate(sorted({row["probes"] for row in rows})):
        own = sorted((r for r in rows if r["probes"] == number), key=lambda row: row["entries"])
        name = "1 probe" if number == 1 else f"{number} probes"
        recall, style = [row["recall"] for row in own], nth_look(place) | {"ms": 3, "lw": 1.2}
        over_memory.append(Series(name, [row["entries"] for row in own], recall, style))
        over_share.append(Series(name, [row["retrieved"] for row in own], recall, style))
    over_share.append(Series("by chance", [0, 1], [0, 1], {"color": INK, "ls": "--", "lw": 0.8}))
    ticks = sorted({row["entries"] for row in rows})[::2]

    def named_ticks(axes: Any) -> None:
        axes.set_xticks(ticks, [f"{number:,}" for number in ticks])
        axes.minorticks_off()

    memory = {"xscale": "log", "xlabel": "numbers in tables", "ylabel": "recall of the best blocks"}
    panels = (
        Panel(over_memory, memory, named_ticks),
        Panel(over_share, {"xlabel": "share retrieved"}),
    )
    height = 2.4 + legend_height([one.name for one in over_share])
    figure = functools.partial(plotted, panels, height, ncols=2, sharey=True)
    gate = rows[0]["gate"]
    said = "; ".join(
        f"{row['tables']} tables, {row['probes']} probes: {row['recall']:.2f} at "
        f"{row['retrieved']:.2f} retrieved"
        for row in rows
    )
    return Drawn(figure, "recall", f"Recall of the best blocks of {gate}.", said)
