"""This machine's factors: (nothing) -> by how much its times differ from the shipped prices.

A few layers are timed with the kernels and as dense products, in turns, the least time of each
counts, and factors are fitted to the logarithms: least squares, drawn a little towards one common
factor, so that what was hardly seen is as much slower as the rest.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ccenv.base.clock import Clock, time_calls, work_clock
from ccenv.base.seeding import stream
from ccenv.sparse.cost_model import Costs, Factors
from ccenv.sparse.layer_costs import Layer

SECONDS = 2.2
"""of timing, about; a busy machine's rounds are fewer."""
MOST_ROUNDS, LEAST_TIMING = 24, 0.0004
MOST_CALLS = 16
MASKS = 4
"""Different masks of each probe, so that branch predictors learn none."""
DRAWN, RANGE = 0.4, 3.0
"""How strongly factors are drawn together, and the largest logarithm of one."""
STEPS, SMALL = 12, 1e-4
BORDER = 1.0
"""A probe counts a third (1 / e) where one way takes exp(BORDER) times as long as the other."""
Array = NDArray[np.float64]


class Probe(NamedTuple):
    """A layer that is timed; blocks on both sides."""

    layer: Layer
    """its sizes."""
    density: float
    """share of blocks kept on each side."""
    is_training: bool
    """forward and backward."""


def probes() -> list[Probe]:
    """Few rows and many, few blocks kept and nearly all, small blocks and large."""
    sizes = (
        (1, 32, 32, (0.1, 0.9)),
        (32, 32, 32, (0.1, 0.5, 0.95)),
        (128, 64, 8, (0.2, 0.7)),
        (512, 16, 32, (0.1, 0.5, 0.95)),
        (2048, 16, 16, (0.3, 0.9)),
    )
    trained = ((32, 32, 32, (0.2, 0.9)), (128, 32, 16, (0.5,)), (512, 16, 32, (0.2, 0.9)))
    found = []
    for is_training, cases in ((False, sizes), (True, trained)):
        for batch, blocks, size, densities in cases:
            layer = Layer(batch, blocks, size, blocks, size)
            found += [Probe(layer, density, is_training) for density in densities]
        turned = Layer(64, 16, 32, 16, 32, output_major=True)
        found.append(Probe(turned, 0.3, is_training))
    return found


@dataclass
class Timed:
    """What was measured of a probe."""

    probe: Probe
    """what."""
    pairs: float
    """pairs of blocks that its rows keep together, mean over its masks."""
    kernels: float = math.inf
    """least seconds with the kernels."""
    dense: float = math.inf
    """least seconds of a dense product times masks."""


class Subject:
    """A probe's operands and its two passes."""

    def __init__(self, probe: Probe) -> None:
        """Draws operands and masks."""
        from ccenv.sparse.cpu.packed_weights import keep_panels

        layer = probe.layer
        width, out = layer.in_blocks * layer.in_size, layer.out_blocks * layer.out_size
        draw = stream(0, "calibration")
        weight = torch.randn(out, width, generator=draw) / width**0.5
        if not layer.output_major:
            weight = weight.t().contiguous().t()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(out))
        self.x = torch.randn(layer.batch, width, generator=draw).requires_grad_(probe.is_training)
        self.masks = [
            [self._mask(layer.batch, n, probe.density, draw) for n in layer[1:4:2]]
            for _ in range(MASKS)
        ]
        self.slopes, self.turn = torch.ones(layer.batch, out), 0
        kept = [float((a.sum(1) * b.sum(1)).sum()) for a, b in self.masks]
        self.timed = Timed(probe, sum(kept) / len(kept))
        # The parameters need an owner that promises that they stay; it goes with the subject.
        self.owner = nn.Module()
        self.owner.weight, self.owner.bias = self.weight, self.bias
        if not probe.is_training:
            self.owner.requires_grad_(False)
            if not layer.output_major:
                keep_panels(self.owner)

    def _mask(self, batch: int, blocks: int, density: float, draw: torch.Generator) -> Tensor:
        return torch.rand(batch, blocks, generator=draw) < density

    def kernels(self) -> None:
        """A pass with the kernels."""
        from ccenv.sparse.cpu.layer import kernel_linear

        training = self.timed.probe.is_training
        in_mask, out_mask = self._masks()
        y = kernel_linear(self.x, self.weight, self.bias, in_mask, out_mask, None, training)
        self._back(y)

    def dense(self) -> None:
        """A dense product times masks."""
        from ccenv.sparse.few_rows import dense_linear

        training = self.timed.probe.is_training
        operands = self.x, self.weight, self.bias, *self._masks()
        self._back(dense_linear(*operands, is_training=training))

    def _masks(self) -> list[Tensor]:
        self.turn += 1
        return self.masks[self.turn % MASKS]

    def _back(self, y: Tensor) -> None:
        if self.timed.probe.is_training:
            torch.autograd.grad(y, [self.x, self.weight, self.bias], self.slopes)

    def time(self, clock: Clock) -> None:
        """Times either pass once more, and keeps the least."""
        self.timed.kernels = least(self.kernels, self.timed.kernels, clock)
        self.timed.dense = least(self.dense, self.timed.dense, clock)


def least(function: Callable[[], None], before: float, clock: Clock) -> float:
    """The lesser of a time and the mean of some calls now, after one that fills the caches."""
    first = time_calls(function, 1, clock)
    calls = min(MOST_CALLS, max(1, round(LEAST_TIMING / max(1e-9, min(first, before)))))
    return min(before, time_calls(function, calls, clock))


def measure(seconds: float = SECONDS) -> list[Timed]:
    """Times all probes in rounds until the seconds are over; at least one round."""
    subjects, clock = [Subject(probe) for probe in probes()], work_clock()
    for subject in subjects:
        # Kernels that were never compiled are, before the seconds count.
        subject.kernels()
    start = time.perf_counter()
    for number in range(MOST_ROUNDS):
        for subject in subjects:
            if number and time.perf_counter() - start > seconds:
                return [subject.timed for subject in subjects]
            subject.time(clock)
    return [subject.timed for subject in subjects]


def fit(timed: Sequence[Timed], known: Costs) -> tuple[Factors, Factors]:
    """Factors by which the shipped prices explain the times, forward and in training."""
    forward, training = (
        Factors(*(round(float(found), 4) for found in np.exp(fit_part(rows, known))))
        for rows in (
            [row for row in timed if row.probe.is_training is way] for way in (False, True)
        )
    )
    return forward, training


def fit_part(timed: Sequence[Timed], known: Costs) -> Array:
    """Logarithms of one pass's factors, by steps of Gauss and Newton."""
    wanted = np.log([[row.kernels, row.dense] for row in timed])
    # Only the order of the two times is asked for, so probes near the border count most.
    weights = np.exp(-np.abs(wanted[:, :1] - wanted[:, 1:]) / BORDER)

    def misses(logs: Array) -> Array:
        factors = Factors(*np.exp(logs).tolist())
        prices = known.on((factors, factors))
        off = (weights * (np.log([expected(row, prices) for row in timed]) - wanted)).ravel()
        # The kernels' and the dense product's are drawn to their own middles, that of the layout,
        # which is one of times that have theirs, to one.
        parts = logs[: OF_KERNELS - 1], logs[OF_KERNELS:]
        drawn = [*(part - part.mean() for part in parts), logs[OF_KERNELS - 1 : OF_KERNELS]]
        return np.concatenate([off, DRAWN * np.concatenate(drawn), DRAWN / 10 * logs])

    logs = np.zeros(len(astuple(Factors())))
    for _ in range(STEPS):
        now = misses(logs)
        slopes = np.stack(
            [(misses(logs + step) - now) / SMALL for step in SMALL * np.eye(len(logs))]
        )
        step = np.linalg.lstsq(slopes.T, -now, rcond=None)[0]
        logs = np.clip(logs + np.clip(step, -1.0, 1.0), -RANGE, RANGE)
    return logs


OF_KERNELS = 5
"""The first factors are the kernels', the last of them that of the layout; the others the dense
product's."""


def expected(row: Timed, prices: Costs) -> tuple[float, float]:
    """Seconds with the kernels and of a dense product, by prices."""
    layer, way = row.probe.layer, row.probe.is_training
    return (
        prices.kernel_seconds(layer, row.pairs, is_training=way),
        prices.dense_seconds(layer, is_training=way),
    )
