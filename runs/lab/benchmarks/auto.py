"""Times `auto` beside the kernels and dense products, and fits the number that it chooses by.

Every cell times torch's own dense layer, a dense product times masks, the kernels, and `auto`, in
turns. The least time of some rounds counts, of one thread its own processor time. Recorded rows
hold the kept pairs of blocks, so that any other rule can be judged by the same times. Where some
block is kept by no row the kernels are the only way that does not read it: such cells of small
blocks have no choice and are left out of its mean.
"""

import functools
import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.runs.lab.benchmarks.cases import Pass, Row, benchmark
from ccenv.runs.lab.benchmarks.masks import draw_pool, make_layer, plain_layers
from ccenv.runs.lab.experiment import formatted
from ccenv.sparse import routes
from ccenv.sparse.buffers import keep_panels
from ccenv.sparse.cpu.masked_dense import masked_dense_linear
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.operands import Sizes
from ccenv.sparse.routes import kept_pairs, most_pairs

LAYOUTS = ("as networks keep them", "as nn.Linear holds them")
"""of weights: frozen ones of the package lie panel by panel, trained ones input by input."""
BATCHES = (1, 8, 24, 96, 192, 768, 1536, 4096)
SHAPES = ((384, 384), (768, 768), (1536, 384), (192, 1152), (480, 960))
SIZES = (12, 24, 48, 96)
SMALL_SIZES, SMALL_DENSITIES = (2, 6), (0.07, 0.35, 0.8)
"""of cells beside the grid, whose blocks have less than 8 units."""
MOST_SMALL_PAIRS = 2e6
"""of blocks in such a pass."""
DENSITIES = (0.07, 0.15, 0.35, 0.6, 0.8, 0.95)
SIDES = ("both", "both", "both", "out", "in")
MOST_MACS = 8e8
"""of a dense pass; more take too long."""
PASSES = {False: "forward", True: "training"}
FEW, ROWS = 8, {True: "to 8", False: "from 24"}
"""Up to so many rows a call takes as long as the product, and some block is kept by nobody."""
NEAR = 0.95
"""A cell is below where it has less than this of the dense layer's speed."""
ROUNDS, SECONDS, MASKS = 7, 0.001, 4
AUTO_TIME, CHOICE = "auto, its own time included", "the choice alone"
NOTES = """\
Speed of `auto` over torch's dense layer without masks, in cells of batch, widths, blocks, density
and masked sides; below: cells with less than 0.95 of dense. None can:
cells in which neither the kernels nor a dense product times masks reaches 0.95. Over the best: time
over that of the faster of these two, mean over cells. The choice alone: the time of the way that
is chosen, without the time of choosing."""
COLUMNS = {
    "passes": "<{passes}",
    "weights": "<{layout}",
    "rows": "<{rows}",
    "auto": "<{way}",
    "cells": ">{cells}",
    "below %": ">{below!p:.1f}",
    "none can %": ">{none_can!p:.1f}",
    "worst": ">{worst:.2f}",
    "median": ">{median:.2f}",
    "over the best": ">{regret:.3f}",
    "over the best, worst": ">{worst_regret:.2f}",
}


@dataclass(frozen=True)
class Cell:
    """Where in a grid of layers."""

    batch: int
    """rows."""
    in_features: int
    """width of the input."""
    out_features: int
    """width of the output."""
    block_size: int
    """units of a block, on both sides."""
    density: float
    """keep probability of every block on each masked side."""
    sides: str
    """which sides have masks: "in", "out" or "both"."""
    training: bool
    """forward and backward instead of forward alone."""
    layout: str = LAYOUTS[0]
    """of the weights."""


def chooser(purpose: str) -> Callable[[Sequence[Any]], Any]:
    """Draws one of some values, the same ones for a purpose each time."""
    chance = stream(0, purpose)
    return lambda values: values[int(torch.randint(len(values), (1,), generator=chance))]


def grid() -> Iterator[Cell]:
    """Batches, densities, passes and layouts in full; widths, blocks and sides drawn for each."""
    drawn = chooser("grid of auto")
    for batch, density, training, layout in itertools.product(
        BATCHES, DENSITIES, (False, True), LAYOUTS
    ):
        (n, m), size, sides = drawn(SHAPES), drawn(SIZES), drawn(SIDES)
        if batch * n * m * (3 if training else 1) <= MOST_MACS:
            yield Cell(batch, n, m, size, density, sides, training, layout)


def small_grid() -> Iterator[Cell]:
    """Cells of blocks of less than 8 units; widths, sides and layouts drawn for each."""
    drawn = chooser("small blocks of auto")
    for batch, density, training, size in itertools.product(
        BATCHES, SMALL_DENSITIES, (False, True), SMALL_SIZES
    ):
        (n, m), sides, layout = drawn(SHAPES), drawn(SIDES), drawn(LAYOUTS)
        pairs = batch * (density * n / size) * (density * m / size)
        if batch * n * m <= MOST_MACS / 3 and pairs <= MOST_SMALL_PAIRS:
            yield Cell(batch, n, m, size, density, sides, training, layout)


def quick_grid() -> Iterator[Cell]:
    """One small cell of each kind of pass and layout, and one of small blocks."""
    for asked in itertools.product((False, True), LAYOUTS):
        yield Cell(8, 96, 48, 12, 0.5, "both", *asked)
    yield Cell(8, 96, 48, 2, 0.5, "both", False, LAYOUTS[0])


Masks = tuple[Tensor | None, Tensor | None]
"""of the input and of the output side."""


def side_masks(cell: Cell) -> list[Masks]:
    """Input and output masks of several passes, None on a side without."""
    blocks = [width // cell.block_size for width in (cell.in_features, cell.out_features)]
    has_in, has_out = (cell.sides in (side, "both") for side in ("in", "out"))
    pool = draw_pool(cell.batch, blocks, cell.density, passes=MASKS)
    return [(ins if has_in else None, outs if has_out else None) for ins, outs in pool]


def passes_of(cell: Cell, pool: Sequence[Masks]) -> dict[str, Pass]:
    """A layer by torch, a dense product times masks, the kernels, and what `auto` takes.

    Every pass takes other masks; of a cell that trains its gradients are part of it.
    """
    sizes, training, turns = (
        (cell.in_features, cell.out_features),
        cell.training,
        itertools.cycle(pool),
    )
    layer = make_layer(*sizes).requires_grad_(training)
    plain = plain_layers(sizes)[0].requires_grad_(training)
    if cell.layout == LAYOUTS[1]:
        layer.weight = nn.Parameter(layer.weight.detach().contiguous(), training)
    elif not training:
        keep_panels(layer)
    x = torch.randn(cell.batch, cell.in_features, generator=stream(0, "inputs"))
    x.requires_grad_(training)
    slopes = torch.ones(cell.batch, cell.out_features)

    def gated(backend: str) -> Tensor:
        return block_sparse_linear(x, layer.weight, layer.bias, *next(turns), backend=backend)

    def masked_dense() -> Tensor:
        operands = (x, layer.weight, layer.bias, *next(turns))
        return masked_dense_linear(operands, is_training=training)

    def as_pass(product: Callable[[], Tensor], model: nn.Module) -> Pass:
        if not training:
            return product
        return lambda: torch.autograd.grad(product(), [x, *model.parameters()], slopes)

    return {
        "dense": as_pass(functools.partial(plain, x), plain),
        "masked_dense": as_pass(masked_dense, layer),
        "kernels": as_pass(functools.partial(gated, "cpu"), layer),
        "auto": as_pass(functools.partial(gated, "auto"), layer),
    }


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every cell in turn."""
    cells = quick_grid() if quick else itertools.chain(grid(), small_grid())
    return (time_cell(cell, rounds) for cell in cells)


def time_cell(cell: Cell, rounds: int) -> Row:
    """Times all ways of a cell in turns: the cell, seconds of each, and kept pairs of each mask."""
    pool = side_masks(cell)
    seconds = seconds_in_turns(passes_of(cell, pool), rounds, SECONDS, work_clock())
    sizes = sizes_of(vars(cell))
    return {
        **vars(cell),
        **{f"{way}_seconds": float(f"{min(times):.4g}") for way, times in seconds.items()},
        "pairs": [kept_pairs(sizes, *masks) for masks in pool],
    }


def sizes_of(row: Row) -> Sizes:
    """Sizes of a cell's layer; a side without a mask is one block."""
    sides = [
        (row[f"{side}_features"] // row["block_size"], row["block_size"])
        if row["sides"] in (side, "both")
        else (1, row[f"{side}_features"])
        for side in ("in", "out")
    ]
    return row["batch"], *sides[0], *sides[1]


def chosen_seconds(row: Row) -> float:
    """Time of a cell by the ways that the rule chooses for its masks, mean over these."""
    most = most_pairs(sizes_of(row))
    by_kernels = statistics.mean(pairs <= most for pairs in row["pairs"])
    seconds: float = (
        by_kernels * row["kernels_seconds"] + (1 - by_kernels) * row["masked_dense_seconds"]
    )
    return seconds


def has_choice(row: Row) -> bool:
    """Whether every block is kept by some row, under all masks."""
    return min(row["pairs"]) >= 0


def fitted(rows: Sequence[Row], numbers: Iterable[int]) -> int:
    """The number, in place of `EDGE`, whose choices have the least mean time over the best."""
    free = [row for row in rows if has_choice(row)]

    def over_best(edge: int) -> float:
        with mock.patch.object(routes, "EDGE", edge):
            over: float = standing(free, chosen_seconds)["regret"]
        return over

    return min(numbers, key=over_best)


def is_small(row: Row) -> bool:
    """Whether a cell lies beside the grid, because its blocks are small."""
    return row["block_size"] in SMALL_SIZES


def groups(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Cells of each kind: of the grid by passes, weights and rows, and those of small blocks."""
    usual = [row for row in rows if not is_small(row)]
    small = [row for row in rows if is_small(row) and has_choice(row)]
    by_kind: dict[tuple[str, str, str], list[Row]] = {}
    for training, layout, is_few in itertools.product((False, True), LAYOUTS, (True, False)):
        by_kind[PASSES[training], layout, ROWS[is_few]] = [
            row
            for row in usual
            if (row["training"], row["layout"], row["batch"] <= FEW) == (training, layout, is_few)
        ]
    for training, name in PASSES.items():
        by_kind[name, "all", "all"] = [row for row in usual if row["training"] is training]
    by_kind["all", "all", "all"] = usual
    for training, name in PASSES.items():
        by_kind[f"{name}, blocks of less than 8 units", "all", "all"] = [
            row for row in small if row["training"] is training
        ]
    return {name: group for name, group in by_kind.items() if group}


def summary(rows: Sequence[Row]) -> list[Row]:
    """How `auto` stands beside dense in each kind of cells, and how its choice does alone."""
    ways: dict[str, Callable[[Row], float]] = {CHOICE: chosen_seconds}
    # Times of `auto` are those of the rule by which they were taken, and may be left out.
    if "auto_seconds" in rows[0]:
        ways[AUTO_TIME] = lambda row: float(row["auto_seconds"])
    return [
        {"passes": passes, "layout": layout, "rows": size, "way": way} | standing(group, seconds)
        for (passes, layout, size), group in groups(rows).items()
        for way, seconds in ways.items()
    ]


def standing(rows: Sequence[Row], seconds: Callable[[Row], float]) -> Row:
    """Of some cells: how many are below, the worst, the median, and how far from the best way."""
    best = [min(row["kernels_seconds"], row["masked_dense_seconds"]) for row in rows]
    speeds = [row["dense_seconds"] / seconds(row) for row in rows]
    regrets = [seconds(row) / least for row, least in zip(rows, best, strict=True)]
    none = [row["dense_seconds"] / least < NEAR for row, least in zip(rows, best, strict=True)]
    return {
        "cells": len(rows),
        "below": statistics.mean(speed < NEAR for speed in speeds),
        "none_can": statistics.mean(none),
        "worst": min(speeds),
        "median": statistics.median(speeds),
        "regret": statistics.mean(regrets),
        "worst_regret": max(regrets),
    }


def table(rows: Sequence[Row]) -> str:
    """How `auto` stands, in Markdown."""
    return formatted(COLUMNS, summary(rows))


AUTO = benchmark(
    "auto",
    "the choice between kernels and dense products, beside the better of both",
    measured,
    {},
    pivot=table,
    kind="auto-cells",
    recorded_as="auto-cells",
    rounds=ROUNDS,
    notes=NOTES,
)
