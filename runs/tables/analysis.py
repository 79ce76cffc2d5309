"""Analyses as tables and figures: which gates matter, and how well tables retrieve blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.tables.drawing import (
    INK,
    Drawn,
    legend_below,
    legend_height,
    look,
    new_figure,
)
from ccenv.runs.tables.sweep_table import markdown

Row = Mapping[str, Any]
GATE_COLUMNS = {
    "kept": "left",
    "error %": "right .2f",
    "nll": "right .3f",
    "nll more": "right +.3f",
    "95 %": "right",
    "compute cost": "right .3f",
}
GATE_NOTES = """\
Error: share of wrong answers; nll in nats; compute cost: executed MACs over the dense network's.
nll more: than with everything kept, mean over the same inputs, with its 95 % interval. Costs of
single gates do not add up: see a random half, and nothing kept."""
TWO_SIDED = 1.96
"""standard errors of a 95 % interval, of a normal distribution."""


def gate_table(rows: Sequence[Row]) -> str:
    """A line for each variant."""
    return markdown(GATE_COLUMNS, [gate_cells(row) for row in rows])


def gate_cells(row: Row) -> list[Any]:
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


def recall_figure(rows: Sequence[Row]) -> Drawn:
    """Two axes side by side: recall over memory, and over the share of retrieved blocks."""
    probes = sorted({row["probes"] for row in rows})
    names = ["1 probe" if number == 1 else f"{number} probes" for number in probes]
    figure = new_figure(2.4 + legend_height([*names, ""]))
    left, right = figure.subplots(1, 2, sharey=True)
    lines = []
    for place, number in enumerate(probes):
        own = sorted((r for r in rows if r["probes"] == number), key=lambda row: row["entries"])
        values, style = [row["recall"] for row in own], look(place) | {"ms": 3, "lw": 1.2}
        lines += left.plot([row["entries"] for row in own], values, **style)
        right.plot([row["retrieved"] for row in own], values, **style)
    lines += right.plot([0, 1], [0, 1], color=INK, ls="--", lw=0.8)
    left.set(xscale="log", xlabel="numbers in tables", ylabel="recall of the best blocks")
    right.set(xlabel="share retrieved")
    ticks = sorted({row["entries"] for row in rows})[::2]
    left.set_xticks(ticks, [f"{number:,}" for number in ticks])
    left.minorticks_off()
    legend_below(figure, lines, [*names, "by chance"])
    gate = rows[0]["gate"]
    said = "; ".join(
        f"{row['tables']} tables, {row['probes']} probes: {row['recall']:.2f} at "
        f"{row['retrieved']:.2f} retrieved"
        for row in rows
    )
    return Drawn(figure, "recall", f"Recall of the best blocks of {gate}.", said)
