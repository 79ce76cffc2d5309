"""`auto` beside dense products and the kernels, on layers that no price was fitted to.

Every cell times torch's own dense layer, a dense product times masks, the kernels, and `auto` by
the shipped prices and by those measured on this machine, in turns. The least time of some rounds
counts, of one thread its own processor time, because a share of cells below a line would else count
what other programs did.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.runs.lab.benchmarks.auto_elsewhere import Elsewhere, machines, times
from ccenv.runs.show.tables import formatted
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Pass, Row
from ccenv.runs.speed.layers import make_layer, plain_layers
from ccenv.runs.speed.masks import draw_pool
from ccenv.sparse.calibration import measure
from ccenv.sparse.cost_model import Costs
from ccenv.sparse.cpu.packed_weights import keep_panels
from ccenv.sparse.few_rows import dense_linear
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.machine_prices import machine_prices
from ccenv.sparse.price_switch import Using, using
from ccenv.sparse.routes import choose_route, layer_of

BATCHES = (1, 8, 24, 96, 192, 768, 1536, 4096)
SHAPES = ((384, 384), (768, 768), (1536, 384), (192, 1152), (480, 960))
SIZES = (12, 24, 48, 96)
DENSITIES = (0.07, 0.15, 0.35, 0.6, 0.8, 0.95)
SIDES = ("both", "both", "both", "out", "in")
LAYOUTS = ("as networks keep them", "as nn.Linear holds them")
"""of weights: frozen ones of the package lie panel by panel, trained ones input by input."""
Masks = tuple[Tensor | None, Tensor | None]
"""of the input and of the output side."""
MOST_MACS = 8e8
"""of a dense pass; more take too long."""
FEW, ROWS = 8, {True: "to 8", False: "from 24"}
"""Up to so many rows a call takes as long as the product, and some block is kept by nobody."""
NEAR = 0.95
"""A cell is below where it has less than this of the dense layer's speed."""
ROUNDS, SECONDS, MASKS = 7, 0.001, 4
WAYS = {"shipped": "by shipped prices", "measured": "by prices measured here"}
NOTES = """\
Speed of `auto` over torch's dense layer without masks, in cells of batch, widths, blocks, density
and masked sides to which no price was fitted; below: cells with less than 0.95 of dense. None can:
cells in which neither the kernels nor a dense product times masks reaches 0.95. Over the best: time
over that of the faster of these two, mean over cells. Where kernels take longer: times of this
machine, those of the kernels multiplied (few rows to many), as a machine would have them that the
shipped prices were not fitted on."""
COLUMNS = {
    "passes": "<{passes}",
    "weights": "<{layout}",
    "rows": "<{rows}",
    "auto": "<{way}",
    "cells": ">{cells}",
    "below %": ">{below_percent:.1f}",
    "none can %": ">{none_percent:.1f}",
    "worst": ">{worst:.2f}",
    "median": ">{median:.2f}",
    "over the best": ">{regret:.3f}",
    "over the best, worst": ">{worst_regret:.2f}",
}


@dataclass(frozen=True)
class Cell:
    """Where in the grid."""

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
    """which sides have masks."""
    training: bool
    """forward and backward instead of forward alone."""
    layout: str
    """of the weights."""


def grid(draws: int = 1) -> Iterator[Cell]:
    """Batches, densities, passes and layouts in full; widths, blocks and sides drawn for each."""
    chance = stream(0, "grid of auto")

    def drawn(choices: Sequence[Any]) -> Any:
        return choices[int(torch.randint(len(choices), (1,), generator=chance))]

    for batch, density, training, layout, _ in itertools.product(
        BATCHES, DENSITIES, (False, True), LAYOUTS, range(draws)
    ):
        (n, m), size, sides = drawn(SHAPES), drawn(SIZES), drawn(SIDES)
        if batch * n * m * (3 if training else 1) <= MOST_MACS:
            yield Cell(batch, n, m, size, density, sides, training, layout)


def quick_grid() -> Iterator[Cell]:
    """One small cell of each kind of pass and layout."""
    return (
        Cell(8, 96, 48, 12, 0.5, "both", *asked)
        for asked in itertools.product((False, True), LAYOUTS)
    )


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every cell in turn; this machine is measured before, unless that is switched off."""
    known = machine_prices(torch.get_num_threads())
    others = [] if quick else machines(measure())
    return (time_cell(cell, known, rounds, others) for cell in (quick_grid() if quick else grid()))


def time_cell(
    cell: Cell, known: Costs | None, rounds: int, others: Sequence[Elsewhere] = ()
) -> Row:
    """Times all ways of a cell in turns: the cell, seconds of each, and the routes of `auto`.

    Args:
        cell: what.
        known: prices of this machine.
        rounds: how often each way has its turn.
        others: machines whose times are worked out.
    """
    layer, plain = layers_of(cell)
    pool = masks_of(cell)
    x = torch.randn(cell.batch, cell.in_features, generator=stream(0, "inputs"))
    x.requires_grad_(cell.training)
    slopes, turns = torch.ones(cell.batch, cell.out_features), itertools.cycle(pool)

    def as_pass(product: Callable[[], Tensor], model: nn.Linear) -> Pass:
        if not cell.training:
            return product
        return lambda: torch.autograd.grad(product(), [x, model.weight, model.bias], slopes)

    def gated(backend: str) -> Tensor:
        return block_sparse_linear(x, layer.weight, layer.bias, *next(turns), backend=backend)

    def masked_dense() -> Tensor:
        in_mask, out_mask = next(turns)
        operands = x, layer.weight, layer.bias, in_mask, out_mask
        return dense_linear(*operands, is_training=cell.training)

    def auto(given: Using) -> Tensor:
        with given:
            return gated("auto")

    passes = {
        "dense": as_pass(partial(plain, x), plain),
        "masked_dense": as_pass(masked_dense, layer),
        "kernels": as_pass(partial(gated, "cpu"), layer),
        "shipped": as_pass(partial(auto, using(None)), layer),
        "measured": as_pass(partial(auto, using(known)), layer),
    }
    routes = {}
    for way, prices in (("shipped", None), ("measured", known)):
        with using(prices):
            routes[way] = [
                choose_route(x, layer.weight, *sides, is_training=cell.training) for sides in pool
            ]
    if routes["shipped"] == routes["measured"]:
        # One way, one time: noise between two is no finding.
        del passes["measured"]
    found = seconds_in_turns(passes, rounds, SECONDS, work_clock())
    seconds = {way: min(times) for way, times in found.items()}
    seconds.setdefault("measured", seconds["shipped"])
    pairs = statistics.mean(kept_of(cell, masks) for masks in pool)
    laid = layer_of(x, layer.weight, *pool[0], is_training=cell.training)
    return {
        **vars(cell),
        **{f"{way}_seconds": least for way, least in seconds.items()},
        **{f"{way}_routes": sorted(set(found)) for way, found in routes.items()},
        "elsewhere": {
            other.name: times(other, laid, pairs, seconds, training=cell.training)
            for other in others
        },
    }


def kept_of(cell: Cell, masks: Masks) -> float:
    """Kept pairs of blocks of all rows together."""
    kept = [torch.ones(cell.batch) if mask is None else mask.sum(dim=1) for mask in masks]
    return float((kept[0] * kept[1]).sum())


def layers_of(cell: Cell) -> tuple[nn.Linear, nn.Linear]:
    """The layer whose blocks are skipped, its weights laid as the cell says, and a plain one."""
    layer = make_layer(cell.in_features, cell.out_features).requires_grad_(cell.training)
    plain = plain_layers((cell.in_features, cell.out_features))[0]
    assert isinstance(plain, nn.Linear)
    if cell.layout == LAYOUTS[1]:
        layer.weight = nn.Parameter(layer.weight.detach().contiguous(), cell.training)
    elif not cell.training:
        keep_panels(layer)
    return layer, plain.requires_grad_(cell.training)


def masks_of(cell: Cell) -> list[Masks]:
    """Input and output masks of several passes, None on a side without."""
    blocks = [width // cell.block_size for width in (cell.in_features, cell.out_features)]
    pool = draw_pool(cell.batch, blocks, cell.density, passes=MASKS)
    has_in, has_out = (cell.sides in (side, "both") for side in ("in", "out"))
    return [(ins if has_in else None, outs if has_out else None) for ins, outs in pool]


def summary(rows: Sequence[Row]) -> list[Row]:
    """What is recorded: for each kind of cells and each way how `auto` stands beside dense."""
    groups: dict[tuple[str, str, str], Sequence[Row]] = {}
    for training, layout, is_few in itertools.product((False, True), LAYOUTS, (True, False)):
        name = ("training" if training else "forward", layout, ROWS[is_few])
        groups[name] = [
            row
            for row in rows
            if row["training"] is training
            and row["layout"] == layout
            and (row["batch"] <= FEW) is is_few
        ]
    groups["all", "all", "all"] = rows
    for other in rows[0]["elsewhere"]:
        groups[f"all, {other}", "all", "all"] = [row["elsewhere"][other] for row in rows]
    return [
        {"passes": passes, "layout": layout, "rows": size, "way": told} | standing(group, way)
        for (passes, layout, size), group in groups.items()
        if group
        for way, told in WAYS.items()
    ]


def standing(rows: Sequence[Row], way: str) -> Row:
    """Of some cells: how many are below, the worst, the median, and how far from the best way."""
    best = [min(row["kernels_seconds"], row["masked_dense_seconds"]) for row in rows]
    speeds = [row["dense_seconds"] / row[f"{way}_seconds"] for row in rows]
    regrets = [row[f"{way}_seconds"] / least for row, least in zip(rows, best, strict=True)]
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


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How `auto` stands, in Markdown."""
    percents = [
        {"below_percent": 100 * row["below"], "none_percent": 100 * row["none_can"]} for row in rows
    ]
    return formatted(COLUMNS, [{**row, **more} for row, more in zip(rows, percents, strict=True)])


AUTO = benchmark(
    "auto",
    "the choice between kernels and dense products, on layers that nothing was fitted to",
    measured,
    table,
    kind="auto-grid",
    recorded_as="auto-grid",
    rounds=ROUNDS,
    notes=NOTES,
    kept=summary,
)
