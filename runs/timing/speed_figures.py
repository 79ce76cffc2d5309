"""Recorded timings of kernels -> speed-up over density and by block size, over the thesis' own.

E. Bengio, MSc thesis, McGill 2016, Figs. 5.2, 5.3 and 5.15; see `studies.paper.digitised`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ccenv.runs.show.drawing import (
    COLORS,
    INK,
    THEIRS,
    Drawn,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
)
from ccenv.runs.studies.paper.digitised import digitised
from ccenv.runs.timing.growth_figures import growth_figure

Row = Mapping[str, Any]


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


MIN_DENSITY = 0.04
"""The thesis starts at 0.01, where its lines would hide ours."""


def block_size_figure(rows: Sequence[Row]) -> Drawn:
    """Speed-up by block size at each density, and of the times of all densities together."""
    by_size: dict[int, list[Row]] = {}
    for row in rows:
        by_size.setdefault(block_size(row), []).append(row)
    sizes = sorted(by_size)
    per_size = [sorted(by_size[size], key=lambda row: row["density"]) for size in sizes]
    figure = new_figure(3.4)
    axes = figure.add_subplot()
    lines, names = [], []
    for own in zip(*per_size, strict=True):
        pale = axes.plot(sizes, [r["speedup"] for r in own], color=COLORS[0], lw=0.6, alpha=0.4)
    lines += pale
    names.append("each density")
    together = [mean_speedup(found) for found in per_size]
    lines += axes.plot(sizes, together, color=COLORS[0], marker="o", markersize=4, lw=1.4)
    names.append("all densities")
    theirs = digitised("fig5.3")["speed-up"]
    lines += axes.plot(*zip(*theirs, strict=True), color=THEIRS, marker="+", lw=1.0)
    names.append("thesis")
    axes.axhline(1.0, color=INK, lw=0.8)
    axes.set(xlabel="units of a block", ylabel="speed-up over the dense product")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    plain_logarithms(axes.yaxis)
    legend_below(figure, lines, names)
    said = ", ".join(f"{size}: {value:.1f}" for size, value in zip(sizes, together, strict=True))
    densities = [row["density"] for row in per_size[-1]]
    caption = f"Speed-up by block size, densities {densities[0]:.2f} to {densities[-1]:.2f}."
    return Drawn(figure, "fig5.3", caption, f"Speed-up by block size, all densities: {said}")


def block_size(row: Row) -> int:
    """Units of a block, from the case's name.

    >>> block_size({"case": "1024 to 1024, 256 blocks of 4"})
    4
    """
    return int(row["case"].rsplit(" ", maxsplit=1)[-1])


def mean_speedup(rows: Sequence[Row]) -> float:
    """Dense times over times, each summed over the rows."""
    times = [row["milliseconds"] for row in rows]
    dense = [row["milliseconds"] * row["speedup"] for row in rows]
    return float(sum(dense) / sum(times))


SPEED_FIGURES: dict[str, Callable[[Sequence[Row]], Drawn]] = {
    "kernels": density_figure,
    "block-sizes": block_size_figure,
    "growth": growth_figure,
}
"""Kind of a recorded result -> its figure."""
