"""One layer in blocks of 4 to 128 units: timings, and speed-up by block size over the thesis' own.

E. Bengio, MSc thesis, McGill 2016, Fig. 5.3; see `studies.paper.digitised`.
"""

import itertools
from collections.abc import Iterator, Sequence

from ccenv.runs.speed.benchmark import COLUMNS, NOTES, Row, benchmark, densities, time_case
from ccenv.runs.speed.masks import layer_case
from ccenv.runs.studies.paper.numbers import digitised
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    Drawn,
    legend_below,
    new_figure,
    plain_logarithms,
)

BLOCK_SIZES, SIZES_DENSITIES = (4, 8, 16, 32, 64, 128), (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Sizes of the author's thesis, Fig. 5.3; its densities are not told."""


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """A layer of 1,024 units and 32 rows, in blocks of several sizes; quick: a smaller one."""
    width, sizes = (256, (16, 32)) if quick else (1024, BLOCK_SIZES)
    for size, density in itertools.product(sizes, SIZES_DENSITIES):
        yield time_case(layer_case(width, width // size, density, 32), rounds)


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


BLOCKS = benchmark(
    "block-sizes",
    "one layer in blocks of 4 to 128 units",
    measured,
    COLUMNS,
    shown=densities,
    notes=NOTES,
    figure=block_size_figure,
)
