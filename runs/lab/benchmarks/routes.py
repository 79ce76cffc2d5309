"""Times the ways to compute a layer over a grid, and fits to them what each of its parts costs.

For every case the kernels, dense products times masks and torch's plain dense product, in turns,
forward; for a part of the grid also forward with backward, where weights may change and the kernels
keep no copies of them.
"""

import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.runs.lab.benchmarks.layer_costs import REGIMES, DenseCosts, KernelCosts, Layer, regime
from ccenv.runs.show.tables import formatted
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Pass, Row
from ccenv.runs.speed.layers import kept_pairs, make_layer, plain_layers
from ccenv.runs.speed.masks import POOL, draw_pool, mean_densities
from ccenv.sparse.cpu.packed_weights import keep_panels
from ccenv.sparse.few_rows import dense_linear
from ccenv.sparse.linear import block_sparse_linear

BATCHES = (1, 6, 16, 32, 64, 128, 512, 1024)
SHAPES = ((256, 256), (640, 640), (1024, 1024), (2048, 512))
BLOCK_SIZES = (1, 4, 8, 16, 20, 32, 40, 64)
DENSITIES = (0.02, 0.1, 0.2, 0.4, 0.7, 1.0)
SIDES = ("in", "out", "both")
TRAINED_BATCHES, TRAINED_SIZES = (6, 16, 32, 128, 512), (1, 8, 16, 20, 64)
COARSE_SIZES, COARSE_DENSITIES = (16, 20, 64), (0.1, 0.4, 0.7, 1.0)
SLOW_BATCH = 512
"""from here on only the coarse block sizes and densities: a pass takes up to 0.1 seconds."""
LAID_SIZES = (4, 16, 20, 64)
"""of blocks of forward passes with weights as torch.nn.Linear holds them."""
MOST_PAIRS = 2e7
"""of blocks in a pass; more, of blocks of one unit, take seconds."""
ROUNDS, SECONDS = 3, 0.001
BORDER = 1.0
"""a case counts a third (1 / e) where one route takes exp(BORDER) times as long as the other."""
FOLDS = 5
LAYER = ("batch", "in_features", "out_features", "in_blocks", "out_blocks", "output_major")
"""rows that are equal in these are one layer at several densities."""
SLOWER = 1.05
"""a choice counts as wrong if the other route would have been faster by more than this factor."""
Pair = tuple[np.ndarray, np.ndarray]
"""of the kernels, of dense products times masks."""
COLUMNS = {
    "passes": "<{part}",
    "cases": ">{cases:,}",
    "kernels chosen %": ">{chosen_percent:.0f}",
    "wrong choice %": ">{wrong_percent:.1f}",
    "time over the best": ">{mean_regret:.3f}",
    "with kernels always": ">{mean_regret_of_always_kernels:.3f}",
    "slower than unmasked dense %": ">{slower_percent:.0f}",
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
    output_major: bool = False
    """weights as torch.nn.Linear holds them, instead of as the package's networks do."""


def grid() -> Iterator[Point]:
    """The whole grid; batches run slowest, so that operands of one size follow each other."""
    for batch, (n, m), size, density, sides in itertools.product(
        BATCHES, SHAPES, BLOCK_SIZES, DENSITIES, SIDES
    ):
        kept = [
            density * width / size if sides in (side, "both") else 1.0
            for side, width in (("in", n), ("out", m))
        ]
        if n % size or m % size or batch * kept[0] * kept[1] > MOST_PAIRS:
            continue
        point = Point(batch, n, m, size, density, sides, training=False)
        is_coarse = density in COARSE_DENSITIES
        is_taken = batch < SLOW_BATCH or (is_coarse and size in COARSE_SIZES)
        if is_taken:
            yield point
        if is_coarse and size in LAID_SIZES:
            yield replace(point, output_major=True)
        if is_taken and sides != "in" and size in TRAINED_SIZES and batch in TRAINED_BATCHES:
            for output_major in (False, True):
                yield replace(point, training=True, output_major=output_major)


def quick_grid() -> Iterator[Point]:
    """One point for each combination of sides and passes."""
    return (Point(16, 64, 32, 8, 0.3, *asked) for asked in itertools.product(SIDES, (False, True)))


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every point of the grid in turn."""
    return (time_routes(point, rounds) for point in (quick_grid() if quick else grid()))


def time_routes(point: Point, rounds: int) -> Row:
    """Times the three routes in turns; medians.

    Returns:
        The point, blocks and realised densities of both sides (an unmasked side is one block that
        is kept), kept pairs of blocks and MACs of the forward product of all rows, and seconds.
    """
    pool = side_masks(point)
    in_blocks, out_blocks = (1 if mask is None else mask.shape[1] for mask in pool[0])
    full = torch.ones(point.batch, 1, dtype=torch.bool)
    filled = [[full if mask is None else mask for mask in masks] for masks in pool]
    in_density, out_density = mean_densities(filled)
    pairs = kept_pairs(filled)
    times = seconds_in_turns(route_passes(point, pool), rounds, SECONDS, work_clock())
    return {
        **vars(point),
        "in_blocks": in_blocks,
        "out_blocks": out_blocks,
        "in_density": in_density,
        "out_density": out_density,
        "pairs": pairs,
        "macs": pairs * point.in_features / in_blocks * point.out_features / out_blocks,
        **{f"{route}_seconds": statistics.median(found) for route, found in times.items()},
    }


def side_masks(point: Point) -> list[list[Tensor | None]]:
    """Input and output masks of several passes, None on a side without."""
    blocks = [width // point.block_size for width in (point.in_features, point.out_features)]
    masked = [point.sides in (side, "both") for side in ("in", "out")]
    passes = max(4, min(POOL, 1024 // point.batch))
    pool = draw_pool(point.batch, blocks, point.asked_density, passes=passes)
    return [[m if has else None for m, has in zip(masks, masked, strict=True)] for masks in pool]


def route_passes(point: Point, pool: Sequence[Sequence[Tensor | None]]) -> dict[str, Pass]:
    """A pass of the kernels, of a dense product times masks and of torch's own layer."""
    layer = make_layer(point.in_features, point.out_features).requires_grad_(point.training)
    plain = plain_layers((point.in_features, point.out_features)).requires_grad_(point.training)
    if point.output_major:
        layer.weight = nn.Parameter(layer.weight.detach().contiguous(), point.training)
    elif not point.training:
        keep_panels(layer)
    x = torch.randn(point.batch, point.in_features, generator=stream(0, "inputs"))
    x.requires_grad_(point.training)
    slopes, turns = torch.ones(point.batch, point.out_features), itertools.cycle(pool)

    def kernels() -> Tensor:
        return block_sparse_linear(x, layer.weight, layer.bias, *next(turns), backend="cpu")

    def masked_dense() -> Tensor:
        in_mask, out_mask = next(turns)
        operands = x, layer.weight, layer.bias, in_mask, out_mask
        return dense_linear(*operands, is_training=point.training)

    def as_pass(product: Callable[[], Tensor], model: nn.Module) -> Pass:
        if not point.training:
            return product
        return lambda: torch.autograd.grad(product(), [x, *model.parameters()], slopes)

    return {
        "kernel": as_pass(kernels, layer),
        "masked_dense": as_pass(masked_dense, layer),
        "dense": as_pass(functools.partial(plain, x), plain),
    }


def layer_of(row: Row) -> Layer:
    """Sizes of a measured layer."""
    ins, outs = (
        (row[f"{s}_blocks"], row[f"{s}_features"] // row[f"{s}_blocks"]) for s in ("in", "out")
    )
    return Layer(row["batch"], *ins, *outs, row["output_major"])


def regime_of(row: Row) -> str:
    """Which prices a measured layer goes into."""
    return regime(layer_of(row), is_training=row["training"])


def counts(rows: Sequence[Row]) -> Pair:
    """What `KernelCosts` and `DenseCosts` have prices for, in their order: [rows, prices] each."""
    kernel_units = [KernelCosts(*unit) for unit in np.eye(len(fields(KernelCosts)))]
    dense_units = [DenseCosts(*unit) for unit in np.eye(len(fields(DenseCosts)))]
    kernel, dense = [], []
    for row in rows:
        layer = layer_of(row)
        kernel.append([unit.seconds(layer, row["pairs"]) for unit in kernel_units])
        dense.append([unit.seconds(layer) for unit in dense_units])
    return np.array(kernel), np.array(dense)


def fitted(counted: Pair, seconds: Pair) -> Pair:
    """Prices of both routes: weighted least squares of relative errors, no price below zero."""
    # Only the order of the two times is asked for, so cases near the border count most.
    weights = np.exp(-np.abs(np.log(seconds[0] / seconds[1])) / BORDER)
    kernel, dense = (
        nnls(found * (weights / times)[:, None], weights)[0]
        for found, times in zip(counted, seconds, strict=True)
    )
    return kernel, dense


def chosen_unseen(layers: Sequence[int], counted: Pair, seconds: Pair) -> np.ndarray:
    """Whether the kernels are chosen for each row, by prices fitted to other layers.

    Args:
        layers: number of each row's layer; its rows, one a density, are left out together.
        counted: see `counts`.
        seconds: of both routes.
    """
    chosen = np.zeros(len(layers), dtype=bool)
    folds = GroupKFold(n_splits=min(FOLDS, len(set(layers))))
    for seen, unseen in folds.split(layers, groups=layers):
        prices = fitted(*((a[seen], b[seen]) for a, b in (counted, seconds)))
        kernel, dense = (c[unseen] @ p for c, p in zip(counted, prices, strict=True))
        chosen[unseen] = kernel <= dense
    return chosen


def fit_part(rows: Sequence[Row]) -> Row:
    """Prices of both routes, and what choosing costs by prices fitted to other layers."""
    kernel, dense, plain = (
        np.array([row[f"{route}_seconds"] for row in rows])
        for route in ("kernel", "masked_dense", "dense")
    )
    counted = counts(rows)
    kernel_prices, dense_prices = fitted(counted, (kernel, dense))
    names = [tuple(row[name] for name in LAYER) for row in rows]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    unseen = chosen_unseen([numbers[name] for name in names], counted, (kernel, dense))
    chosen, best = np.where(unseen, kernel, dense), np.minimum(kernel, dense)
    return {
        "kernels": asdict(KernelCosts(*map(rounded, kernel_prices))),
        "dense": asdict(DenseCosts(*map(rounded, dense_prices))),
        "cases": len(rows),
        "kernels_chosen": float(unseen.mean()),
        "wrong": float((chosen / best > SLOWER).mean()),
        "mean_regret": float((chosen / best).mean()),
        "mean_regret_of_always_kernels": float((kernel / best).mean()),
        "slower_than_dense_without_masks": float((chosen / plain > SLOWER).mean()),
    }


def rounded(price: float) -> float:
    """To six digits, as the model's file has them."""
    return float(f"{price:.5e}")


def fit(rows: Sequence[Row]) -> list[Row]:
    """What is recorded of a measured grid: prices, and how well they choose, of either passes."""
    parts = {name: [row for row in rows if regime_of(row) == name] for name in REGIMES}
    return [{"part": name} | fit_part(found) for name, found in parts.items() if found]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How well the cost model chooses, in Markdown."""
    shares = {"chosen": "kernels_chosen", "wrong": "wrong"}
    shares |= {"slower": "slower_than_dense_without_masks"}
    percents = [{f"{k}_percent": 100 * row[v] for k, v in shares.items()} for row in rows]
    return formatted(COLUMNS, [{**row, **more} for row, more in zip(rows, percents, strict=True)])


ROUTES = benchmark(
    "routes",
    "the ways to compute a layer over a grid, and what is fitted to it to choose between them",
    measured,
    table,
    kind="route-costs",
    recorded_as="route-costs",
    rounds=ROUNDS,
    kept=fit,
)
