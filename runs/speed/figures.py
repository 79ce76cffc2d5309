"""Draws speed-up over density: timings of kernels -> a figure, over the thesis' own.

E. Bengio, MSc thesis, McGill 2016, Fig. 5.2; see `studies.paper.digitised`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.studies.paper.numbers import digitised
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    Drawn,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
)

Row = Mapping[str, Any]
MIN_DENSITY = 0.04
"""The thesis starts at 0.01, where its lines would hide ours."""


def curves(rows: Sequence[Row]) -> tuple[str, dict[int, list[Row]]]:
    """The case with most densities under independent masks: its name, and its rows by batch."""
    independent = [row for row in rows if row["masks"] == "independent"]
    names = [row["case"] for row in independent]
    case = max(names, key=names.count)
    own = sorted((r for r in independent if r["case"] == case), key=lambda row: row["density"])
    return case, {b: [r for r in own if r["batch"] == b] for b in sorted({r["batch"] for r in own})}


def density_figure(rows: Sequence[Row]) -> Drawn:
    """Speed-up over density: a line a batch size, dense layers of equal MACs dashed."""
    case, by_batch = curves(rows)
    lines, names = [], []
    figure = new_figure(2.7 + legend_height([""] * (len(by_batch) + 4)))
    axes = figure.add_subplot()
    for color, (batch, own) in zip(COLORS, by_batch.items(), strict=False):
        at = [r["density"] for r in own]
        lines += axes.plot(
            at, [r["speedup"] for r in own], color=color, marker="o", markersize=3, lw=1.2
        )
        names.append(f"batch {batch:,}")
        low, high = ([r[name] for r in own] for name in ("speedup_low", "speedup_high"))
        axes.fill_between(at, low, high, color=color, alpha=0.2)
        axes.plot(at, [r["ceiling"] for r in own], color=color, ls="--", lw=0.8, alpha=0.6)
    lines += axes.plot([], [], color=INK, ls="--", lw=0.8)
    names.append("dense, equal MACs")
    for (name, points), marker in zip(digitised("fig5.2").items(), "+x", strict=True):
        shown = sorted((x, y) for x, y in points if x >= MIN_DENSITY)
        lines += axes.plot(*zip(*shown, strict=True), color=THEIRS, marker=marker, lw=0.8)
        names.append(f"thesis, {name}")
    axes.axhline(1.0, color=INK, lw=0.8)
    axes.set(yscale="log", xlabel="share of blocks kept", ylabel="speed-up over the dense product")
    plain_logarithms(axes.yaxis)
    legend_below(figure, lines, names)
    said = "; ".join(f"batch {b:,}: {own[0]['speedup']:.1f}" for b, own in by_batch.items())
    alt = f"Speed-up over density, {case}; at the lowest density {said}"
    return Drawn(figure, "fig5.2", f"Speed-up over density, {case}.", alt)
