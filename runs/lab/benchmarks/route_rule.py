"""Fits the shares by which `auto` chooses to the recorded times of layers.

Times are those that the recorded prices of `python -m ccenv.runs.lab routes` tell, with vectors of
8 floats and of 16, and of 16 on two machines on which the kernels take longer. Layers of which some
block is probably kept by no row are left out: they take the kernels anyway. `EDGE` and `LISTED` are
chosen by hand: with them the mean is 0.4 % above that of the best pair, and recorded runs of small
networks keep the routes that they had.
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.benchmarks import routes
from ccenv.runs.lab.benchmarks.layer_costs import DenseCosts, KernelCosts, Layer, regime
from ccenv.runs.show.tables import formatted
from ccenv.sparse import cost_model

RESULTS = Path(__file__).parents[2] / "results"
RECORDED = ("route-costs", "route-costs-8-lanes")
SLOWEST = {"route-costs": 3, "route-costs-8-lanes": 1}
"""Recorded result -> how many of the machines in `SLOWER` it stands for."""
SHAPES = (*routes.SHAPES, (640, 10))
"""widths of layers: those of the grid, and a head of ten classes."""
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SLOWER = ((1.0, 1.0), (1.2, 1.8), (1.5, 2.5))
"""By how much the kernels take longer than recorded, of 16 rows and of 1,024. The second is about
what a Cascade Lake Xeon was seen to do."""
SHARES = tuple(round(0.05 * step, 2) for step in range(4, 41))
NUMBERS = ("FORWARD", "FEW_TRAINING", "TRAINING")
"""Names of the shares in `cost_model`, in the order of `part_of`."""
UNREAD = 0.7
"""blocks that no row is expected to keep, from which on a layer is left out."""
COLUMNS = {
    "number": "<{number}",
    "cases": ">{cases:,}",
    "shipped": ">{shipped:g}",
    "fitted": ">{fitted:g}",
    "time over the best": ">{over:.3f}",
    "as recorded": ">{recorded:.3f}",
    "blocks of less than 8 units": ">{small:.3f}",
    "kernels always": ">{always:.3f}",
}


@dataclass(frozen=True)
class Cases:
    """Layers and the times of both ways; arrays of one length."""

    part: np.ndarray
    """int, which share decides: a place in `NUMBERS`."""
    is_small: np.ndarray
    """bool, whether blocks of a masked side have less than 8 units."""
    is_recorded: np.ndarray
    """bool, whether the kernels take what was recorded, and not longer."""
    sizes: np.ndarray
    """[cases, 2] units of an input and of an output block."""
    ratio: np.ndarray
    """share of the pairs of blocks that are kept."""
    listed: np.ndarray
    """blocks of a row over MACs of a dense product of one, forward; 0 in training."""
    kernels: np.ndarray
    """seconds."""
    dense: np.ndarray
    """seconds."""

    def where(self, chosen: np.ndarray) -> "Cases":
        """Some of them."""
        return Cases(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def over_best(self, chosen: np.ndarray) -> np.ndarray:
        """Times over those of the faster way, by whether the kernels are chosen."""
        taken = np.where(chosen, self.kernels, self.dense)
        over: np.ndarray = taken / np.minimum(self.kernels, self.dense)
        return over

    def counted(self) -> np.ndarray:
        """Shares of a dense product's MACs as which the kernels' work counts."""
        counted: np.ndarray = self.ratio * (1 + cost_model.EDGE / self.sizes).prod(axis=1)
        return counted + cost_model.LISTED * self.listed


def part_of(batch: int, training: bool) -> int:
    """Which share decides about a layer: a place in `NUMBERS`."""
    return 0 if not training else 1 if batch <= cost_model.FEW_ROWS else 2


def recorded_prices(name: str) -> dict[str, tuple[KernelCosts, DenseCosts]]:
    """Kind of passes -> prices of a recorded grid."""
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    return {
        row["part"]: (KernelCosts(**row["kernels"]), DenseCosts(**row["dense"])) for row in rows
    }


def grid() -> Iterator[tuple[Layer, float, bool]]:
    """Layers, their expected kept pairs, and whether they train."""
    for batch, (n, m), size, density, sides, training in itertools.product(
        routes.BATCHES, SHAPES, routes.BLOCK_SIZES, DENSITIES, routes.SIDES, (False, True)
    ):
        is_head = m == SHAPES[-1][1]
        # The grid trained no layers of which the input alone has masks.
        if n % size or (is_head and sides != "in") or (training and sides == "in" and not is_head):
            continue
        if m % size and not is_head:
            continue
        (ins, kept_in), (outs, kept_out) = (
            ((width // size, size), density) if sides in (side, "both") else ((1, width), 1.0)
            for side, width in (("in", n), ("out", m))
        )
        unread = ins[0] * (1 - kept_in) ** batch + outs[0] * (1 - kept_out) ** batch
        if unread < UNREAD:
            layer = Layer(batch, *ins, *outs)
            yield layer, layer.all_pairs * kept_in * kept_out, training


def recorded_cases() -> Cases:
    """Layers with both kinds of vectors, timed by the recorded prices."""
    prices = {name: recorded_prices(name) for name in RECORDED}
    rows = []
    layers = list(grid())
    machines = [(name, slower) for name in RECORDED for slower in SLOWER[: SLOWEST[name]]]
    for (name, slower), (layer, pairs, training) in itertools.product(machines, layers):
        part = regime(layer, is_training=training)
        kernel, dense = prices[name][part]
        blocks = 0 if training else layer.in_blocks + layer.out_blocks
        rows.append(
            (
                part_of(layer.batch, training),
                part.endswith("tiny"),
                slower == SLOWER[0],
                layer.in_size,
                layer.out_size,
                pairs / layer.all_pairs,
                blocks / layer.weights,
                kernel.seconds(layer, pairs) * between(*slower, layer.batch),
                dense.seconds(layer),
            )
        )
    part_, is_small, is_recorded, in_size, out_size, *rest = np.array(rows).T
    sizes = np.stack([in_size, out_size], axis=1)
    flags = is_small.astype(bool), is_recorded.astype(bool)
    return Cases(part_.astype(int), *flags, sizes, *rest)


def between(few: float, many: float, batch: int) -> float:
    """The factor at so many rows: straight in the logarithms from 16 rows to 1,024.

    >>> between(1.0, 4.0, 1), between(1.0, 4.0, 128), between(1.0, 4.0, 4096)
    (1.0, 2.0, 4.0)
    """
    share = min(1.0, max(0.0, math.log2(batch / 16) / 6))
    return few ** (1.0 - share) * many**share


def fitted(cases: Cases) -> dict[str, float]:
    """The shares with the least mean time over the best: name in `cost_model` -> value."""
    found, counted = {}, cases.counted()
    for place, name in enumerate(NUMBERS):
        here = cases.part == place
        some = cases.where(here)
        times = [some.over_best(counted[here] <= share).mean() for share in SHARES]
        found[name] = SHARES[int(np.argmin(times))]
    return found


def over_best(cases: Cases, numbers: Mapping[str, float]) -> np.ndarray:
    """Times over the best of all cases by such shares."""
    shares = np.array([numbers[name] for name in NUMBERS])[cases.part]
    return cases.over_best(cases.counted() <= shares)


def shipped() -> dict[str, float]:
    """The shares of `cost_model`."""
    return {name: getattr(cost_model, name) for name in NUMBERS}


def measured(_: Options) -> Iterable[Row]:
    """A row for each share: shipped, fitted, and what choosing by it costs."""
    cases = recorded_cases()
    old, new, over = shipped(), fitted(cases), over_best(cases, shipped())
    always = cases.over_best(np.ones(len(over), dtype=bool))
    for place, number in enumerate(NUMBERS):
        here = cases.part == place
        yield {
            "number": number,
            "cases": int(here.sum()),
            "shipped": old[number],
            "fitted": new[number],
            "over": float(over[here].mean()),
            "recorded": float(over[here & cases.is_recorded].mean()),
            "small": float(over[here & cases.is_recorded & cases.is_small].mean()),
            "always": float(always[here & cases.is_recorded].mean()),
        }


def table(rows: Any) -> str:
    """The shares, in Markdown."""
    return formatted(COLUMNS, rows)


RULE = Experiment(
    name="route-rule",
    about="the shares by which auto chooses, fitted to the recorded times of layers",
    measured=measured,
    table=table,
)
