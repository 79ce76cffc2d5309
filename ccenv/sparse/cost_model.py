"""How long a layer takes: (shape, masks) -> seconds with the kernels, and by one dense product.

Linear in what is counted, fitted by `python -m runs.benchmark routes --fit` to times of some three
thousand layers on one machine (`runs/results/route-costs.json`). Only the order of two times is
used, and only by `backend="auto"`: elsewhere it may be wrong near the border, never the result.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple


class Layer(NamedTuple):
    """What a layer's time depends on, but for how many pairs of blocks are kept."""

    batch: int
    """rows."""
    in_blocks: int
    """input blocks; 1 without a mask."""
    in_size: int
    """units of an input block."""
    out_blocks: int
    """output blocks; 1 without a mask."""
    out_size: int
    """units of an output block."""

    @property
    def all_pairs(self) -> int:
        """Pairs of an input and an output block of all rows together."""
        return self.batch * self.in_blocks * self.out_blocks

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.in_blocks * self.in_size * self.out_blocks * self.out_size


@dataclass(frozen=True)
class KernelCosts:
    """Seconds of the kernels."""

    call: float
    """of a call."""
    list: float
    """of a row's block, kept or not, in the lists."""
    output: float
    """of an output unit, which is at least set to zero."""
    pair: float
    """of a kept pair of blocks of a row."""
    step: float
    """of an input unit of such a pair."""
    mac: float
    """of a product of such a pair."""
    weight: float
    """of a weight, which somebody reads."""


@dataclass(frozen=True)
class DenseCosts:
    """Seconds of a dense product times masks."""

    call: float
    """of a call."""
    unit: float
    """of an input or output unit of a row."""
    mac: float
    """of a product."""
    weight: float
    """of a weight, which is read once at least."""


FORWARD = (
    KernelCosts(
        call=5.6161e-06,
        list=1.20823e-08,
        output=0.0,
        pair=3.39679e-09,
        step=1.59982e-11,
        mac=2.24277e-11,
        weight=6.8154e-11,
    ),
    DenseCosts(call=2.32623e-05, unit=0.0, mac=2.35847e-11, weight=9.3744e-11),
)
TRAINING = (
    KernelCosts(
        call=5.00466e-05,
        list=1.60328e-08,
        output=0.0,
        pair=9.18064e-09,
        step=1.85162e-09,
        mac=6.94659e-11,
        weight=9.12721e-10,
    ),
    DenseCosts(call=0.000102454, unit=6.28738e-10, mac=7.10758e-11, weight=7.1879e-10),
)
"""Forward and backward; the kernels then read weights where they lie."""


def dense_seconds(layer: Layer, *, is_training: bool) -> float:
    """Expected time of a dense product times masks."""
    _, cost = TRAINING if is_training else FORWARD
    units = layer.in_blocks * layer.in_size + layer.out_blocks * layer.out_size
    return (
        cost.call
        + cost.unit * layer.batch * units
        + cost.mac * layer.batch * layer.weights
        + cost.weight * layer.weights
    )


def kernel_seconds(layer: Layer, pairs: float, *, is_training: bool) -> float:
    """Expected time of the kernels, where rows keep that many pairs of blocks together."""
    cost, _ = TRAINING if is_training else FORWARD
    fixed = (
        cost.call
        + cost.list * layer.batch * (layer.in_blocks + layer.out_blocks)
        + cost.output * layer.batch * layer.out_blocks * layer.out_size
        + cost.weight * layer.weights
    )
    of_pair = cost.pair + layer.in_size * (cost.step + cost.mac * layer.out_size)
    return fixed + pairs * of_pair


@functools.lru_cache(maxsize=4096)
def most_pairs(layer: Layer, *, is_training: bool) -> float:
    """Kept pairs of blocks up to which the kernels are expected to be faster; may be negative."""
    empty = kernel_seconds(layer, 0, is_training=is_training)
    one = kernel_seconds(layer, 1, is_training=is_training)
    return (dense_seconds(layer, is_training=is_training) - empty) / (one - empty)
