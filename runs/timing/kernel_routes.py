"""Times of the ways to compute a layer, over a grid: what a cost model is fitted to.

For every case the kernels, dense products times masks and torch's plain dense product, in turns,
forward; for a part of the grid also forward with backward, where weights may change and the kernels
keep no copies of them.
"""

import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.runs.show.tables import formatted
from ccenv.runs.timing.kernel_layers import kept_pairs, make_layer, plain_layers
from ccenv.runs.timing.kernel_masks import POOL, draw_pool, mean_densities
from ccenv.runs.timing.turns import Pass, seconds_in_turns
from ccenv.sparse.cpu.packed_weights import keep_panels
from ccenv.sparse.linear import block_sparse_linear

BATCHES = (1, 4, 16, 32, 64, 128, 512, 1024, 4096)
SHAPES = ((256, 256), (640, 640), (1024, 1024), (3072, 640))
BLOCK_SIZES = (1, 4, 8, 16, 32, 64)
DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
SIDES = ("in", "out", "both")
TRAINED_BATCHES, TRAINED_SIZES = (32, 128, 1024), (1, 16, 64)
COARSE_SIZES, COARSE_DENSITIES = (16, 64), (0.02, 0.1, 0.4, 1.0)
SLOW_BATCH = 4096
"""from here on only the coarse block sizes and densities: a pass takes up to 0.3 seconds."""
MOST_PAIRS = 2e7
"""of blocks in a pass; more, of blocks of one unit, take seconds."""
ROUNDS, SECONDS = 3, 0.001
COLUMNS = {
    "batch": ">{batch:,}",
    "passes": "<{passes}",
    "cases": ">{cases}",
    "kernels faster %": ">{faster:.0f}",
    **{f"speed-up, {name} case": f">{{{name}:.2f}}" for name in ("worst", "middle", "best")},
}


@dataclass(frozen=True)
class Point:
    """Where in the grid."""

    batch: int
    """rows."""
    in_features: int
    """width of the input."""
    out_features: int
    """width of the output."""
    block_size: int
    """units of a block, on both sides."""
    asked_density: float
    """keep probability of every block on each masked side."""
    sides: str
    """which sides have masks: "in", "out" or "both"."""
    training: bool
    """forward and backward instead of forward alone."""


@dataclass(frozen=True)
class RouteTimes(Point):
    """One point of the grid and what each route takes there."""

    in_blocks: int
    """blocks of the input, 1 where it has no mask."""
    out_blocks: int
    """blocks of the output, 1 where it has no mask."""
    in_density: float
    """realised share of input blocks kept, mean over passes; 1 where there is no mask."""
    out_density: float
    """the same of the output."""
    pairs: float
    """pairs of blocks kept, of all rows, mean over passes; an unmasked side is one block."""
    macs: float
    """executed MACs of the forward product, of all rows."""
    kernel_seconds: float
    """the compiled kernels, median."""
    masked_dense_seconds: float
    """dense product times mask, median."""
    dense_seconds: float
    """torch's dense product without a mask, median."""


def grid() -> Iterator[Point]:
    """The whole grid; batches run slowest, so that operands of one size follow each other."""
    for batch, (n, m), size, density, sides in itertools.product(
        BATCHES, SHAPES, BLOCK_SIZES, DENSITIES, SIDES
    ):
        kept = [
            density * width / size if sides in (side, "both") else 1.0
            for side, width in (("in", n), ("out", m))
        ]
        if batch * kept[0] * kept[1] > MOST_PAIRS:
            continue
        coarse = size in COARSE_SIZES and density in COARSE_DENSITIES
        if batch < SLOW_BATCH or coarse:
            yield Point(batch, n, m, size, density, sides, training=False)
        if sides != "in" and batch in TRAINED_BATCHES and size in TRAINED_SIZES:
            yield Point(batch, n, m, size, density, sides, training=True)


def quick_grid() -> Iterator[Point]:
    """One point for each combination of sides and passes."""
    for sides, training in itertools.product(SIDES, (False, True)):
        yield Point(16, 64, 32, 8, 0.3, sides, training)


def time_routes(point: Point, repeats: int = ROUNDS) -> RouteTimes:
    """Times the three routes in turns."""
    pool = side_masks(point)
    in_blocks, out_blocks = (1 if mask is None else mask.shape[1] for mask in pool[0])
    full = torch.ones(point.batch, 1, dtype=torch.bool)
    filled = [[full if mask is None else mask for mask in masks] for masks in pool]
    in_density, out_density = mean_densities(filled)
    pairs = statistics.mean(kept_pairs(*masks) for masks in filled)
    times = seconds_in_turns(route_passes(point, pool), repeats, SECONDS)
    return RouteTimes(
        **vars(point),
        in_blocks=in_blocks,
        out_blocks=out_blocks,
        in_density=in_density,
        out_density=out_density,
        pairs=pairs,
        macs=pairs * point.in_features / in_blocks * point.out_features / out_blocks,
        kernel_seconds=statistics.median(times["cpu"]),
        masked_dense_seconds=statistics.median(times["reference"]),
        dense_seconds=statistics.median(times["dense"]),
    )


def side_masks(point: Point) -> list[list[Tensor | None]]:
    """Input and output masks of several passes, None on a side without."""
    widths = (point.in_features, point.out_features)
    blocks = [width // point.block_size for width in widths]
    masked = [point.sides in (side, "both") for side in ("in", "out")]
    passes = max(4, min(POOL, 1024 // point.batch))
    pool = draw_pool(point.batch, blocks, point.asked_density, passes=passes)
    return [[m if has else None for m, has in zip(masks, masked, strict=True)] for masks in pool]


def route_passes(point: Point, pool: Sequence[Sequence[Tensor | None]]) -> dict[str, Pass]:
    """A pass of each route, by backend; "dense" is torch's own layer."""
    layer = make_layer(point.in_features, point.out_features).requires_grad_(point.training)
    plain = plain_layers((point.in_features, point.out_features)).requires_grad_(point.training)
    if not point.training:
        keep_panels(layer)
    generator = stream(0, "inputs")
    x = torch.randn(point.batch, point.in_features, generator=generator)
    x.requires_grad_(point.training)
    turns = itertools.cycle(pool)

    def gated(backend: str) -> Tensor:
        return block_sparse_linear(x, layer.weight, layer.bias, *next(turns), backend=backend)

    def as_pass(product: Callable[[], Tensor], model: nn.Module) -> Pass:
        learned = [x, *model.parameters()]
        slopes = torch.ones(point.batch, point.out_features)
        if not point.training:
            return product
        return lambda: torch.autograd.grad(product(), learned, slopes)

    passes = {name: as_pass(functools.partial(gated, name), layer) for name in ("cpu", "reference")}
    return {"dense": as_pass(lambda: plain(x), plain), **passes}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often the kernels beat dense products times masks, by batch and passes, in Markdown."""
    groups: dict[tuple[int, bool], list[float]] = {}
    for row in rows:
        ratio = row["masked_dense_seconds"] / row["kernel_seconds"]
        groups.setdefault((row["batch"], row["training"]), []).append(ratio)
    lines = [
        {
            "batch": batch,
            "passes": "forward and backward" if training else "forward",
            "cases": len(ratios),
            "faster": 100 * statistics.mean(ratio > 1 for ratio in ratios),
            "worst": min(ratios),
            "middle": statistics.median(ratios),
            "best": max(ratios),
        }
        for (batch, training), ratios in sorted(groups.items())
    ]
    return formatted(COLUMNS, lines)
