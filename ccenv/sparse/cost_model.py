"""How long a layer takes: (shape, masks) -> seconds with the kernels, and by one dense product.

Linear in what is counted, fitted by `ccenv benchmark routes --record` to times of some
four thousand layers on one machine of each kind (`runs/results/route-costs.json`,
`route-costs-8-lanes.json`). Only the order of two times is used, and only by `backend="auto"`:
elsewhere it may be wrong near the border, never the result.
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
    single: float
    """of a product with an output unit that is left over by vectors of four."""
    total: float
    """of an output unit of a kept pair, whose sum is read and written."""
    any_pair: float
    """of a pair of blocks, whether a row keeps it or not."""

    def seconds(self, layer: Layer, pairs: float) -> float:
        """Of a layer of which rows keep that many pairs of blocks together."""
        fixed = (
            self.call
            + self.list * layer.batch * (layer.in_blocks + layer.out_blocks)
            + self.output * layer.batch * layer.out_blocks * layer.out_size
            + self.weight * layer.weights
            + self.any_pair * layer.in_blocks * layer.out_blocks
        )
        products = self.mac * layer.out_size + self.single * (layer.out_size % 4)
        of_pair = self.pair + self.total * layer.out_size + layer.in_size * (self.step + products)
        return fixed + pairs * of_pair


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

    def seconds(self, layer: Layer) -> float:
        """Of a layer, whatever its rows keep."""
        units = layer.in_blocks * layer.in_size + layer.out_blocks * layer.out_size
        return (
            self.call
            + self.unit * layer.batch * units
            + self.mac * layer.batch * layer.weights
            + self.weight * layer.weights
        )


class Costs(NamedTuple):
    """Prices of one kind of machine, with vectors of eight floats or of sixteen."""

    forward: tuple[KernelCosts, DenseCosts]
    """without gradients."""
    training: tuple[KernelCosts, DenseCosts]
    """forward and backward; the kernels then read weights where they lie."""


EIGHT = Costs(
    forward=(
        KernelCosts(
            call=1.67286e-05,
            list=3.71559e-09,
            output=6.29305e-10,
            pair=4.18492e-09,
            step=9.57276e-11,
            mac=2.78507e-11,
            weight=1.1252e-10,
            single=1.53534e-10,
            total=1.78836e-10,
            any_pair=0.0,
        ),
        DenseCosts(
            call=6.39764e-05,
            unit=3.29643e-10,
            mac=2.85249e-11,
            weight=1.99264e-10,
        ),
    ),
    training=(
        KernelCosts(
            call=0.000203326,
            list=2.64888e-09,
            output=1.70532e-09,
            pair=3.41518e-08,
            step=2.94908e-09,
            mac=1.11329e-10,
            weight=1.21616e-09,
            single=9.59395e-10,
            total=0.0,
            any_pair=5.07048e-08,
        ),
        DenseCosts(
            call=0.00027725,
            unit=4.23946e-09,
            mac=8.0901e-11,
            weight=9.59978e-10,
        ),
    ),
)
SIXTEEN = Costs(
    forward=(
        KernelCosts(
            call=8.88535e-06,
            list=2.6202e-09,
            output=0.0,
            pair=4.00404e-09,
            step=5.76485e-11,
            mac=2.18042e-11,
            weight=1.04706e-10,
            single=1.84387e-10,
            total=9.69564e-11,
            any_pair=0.0,
        ),
        DenseCosts(
            call=3.75275e-05,
            unit=0.0,
            mac=2.63494e-11,
            weight=1.52043e-10,
        ),
    ),
    training=(
        KernelCosts(
            call=6.74489e-05,
            list=1.15652e-09,
            output=0.0,
            pair=1.57607e-08,
            step=1.91989e-09,
            mac=7.47722e-11,
            weight=1.51006e-09,
            single=0.0,
            total=0.0,
            any_pair=3.84778e-08,
        ),
        DenseCosts(
            call=0.000137677,
            unit=7.74802e-10,
            mac=7.42039e-11,
            weight=1.00285e-09,
        ),
    ),
)


@functools.cache
def costs() -> Costs:
    """Those of this kind of machine; looked up on use, because numba takes half a second."""
    from ccenv.sparse.cpu.codegen.registers import WIDE

    return SIXTEEN if WIDE else EIGHT


def dense_seconds(layer: Layer, *, is_training: bool) -> float:
    """Expected time of a dense product times masks."""
    _, cost = costs().training if is_training else costs().forward
    return cost.seconds(layer)


def kernel_seconds(layer: Layer, pairs: float, *, is_training: bool) -> float:
    """Expected time of the kernels, where rows keep that many pairs of blocks together."""
    cost, _ = costs().training if is_training else costs().forward
    return cost.seconds(layer, pairs)


@functools.lru_cache(maxsize=4096)
def most_pairs(layer: Layer, *, is_training: bool) -> float:
    """Kept pairs of blocks up to which the kernels are expected to be faster; may be negative."""
    empty = kernel_seconds(layer, 0, is_training=is_training)
    one = kernel_seconds(layer, 1, is_training=is_training)
    return (dense_seconds(layer, is_training=is_training) - empty) / (one - empty)
