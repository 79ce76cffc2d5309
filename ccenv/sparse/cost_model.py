"""How long a layer takes: (shape, masks) -> seconds with the kernels, and by one dense product.

Linear in what is counted, fitted by `python -m ccenv.runs.lab routes --record` to times of some
five thousand layers on one machine of each kind (`runs/results/route-costs.json`,
`route-costs-8-lanes.json`, `ccenv.sparse.shipped_costs`); factors of another machine are measured
there (`ccenv.sparse.calibration`). Only the order of two times is used, and only by
`backend="auto"`: elsewhere it may be wrong near the border, never the result.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ccenv.sparse import shipped_costs
from ccenv.sparse.layer_costs import DenseCosts, KernelCosts, Layer, regime

FEW, MANY = 16, 1024
"""Rows at which products have factors of their own; between them factors change with log rows."""


@dataclass(frozen=True)
class Factors:
    """By how much the prices of one kind of pass are higher on a machine than those shipped."""

    call: float = 1.0
    """of a call of the kernels."""
    lists: float = 1.0
    """of lists, of writing results and of reading weights."""
    few: float = 1.0
    """of kept pairs of blocks, at few rows and below."""
    many: float = 1.0
    """of kept pairs of blocks, at many rows and above."""
    turned: float = 1.0
    """of all of it, where weights lie output by output."""
    dense_call: float = 1.0
    """of a dense product's call."""
    dense_few: float = 1.0
    """of the rest of a dense product, at few rows and below."""
    dense_many: float = 1.0
    """of the rest of a dense product, at many rows and above."""

    def kernels(self, cost: KernelCosts, batch: int) -> KernelCosts:
        """Prices of the kernels on the machine, for so many rows."""
        products = between(self.few, self.many, batch)
        return KernelCosts(
            call=cost.call * self.call,
            list=cost.list * self.lists,
            output=cost.output * self.lists,
            pair=cost.pair * products,
            step=cost.step * products,
            mac=cost.mac * products,
            weight=cost.weight * self.lists,
            single=cost.single * products,
            total=cost.total * products,
            any_pair=cost.any_pair * self.lists,
            panel=cost.panel * products,
            turn=cost.turn * self.lists,
        )

    def dense(self, cost: DenseCosts, batch: int) -> DenseCosts:
        """Prices of a dense product on the machine, for so many rows."""
        rest = between(self.dense_few, self.dense_many, batch)
        return DenseCosts(
            call=cost.call * self.dense_call,
            unit=cost.unit * rest,
            mac=cost.mac * rest,
            weight=cost.weight * rest,
        )


def between(few: float, many: float, batch: int) -> float:
    """The factor at so many rows: straight in the logarithms between the two that are given.

    >>> between(1.0, 4.0, 1), between(1.0, 4.0, 128), between(1.0, 4.0, 4096)
    (1.0, 2.0, 4.0)
    """
    share = math.log2(max(batch, 1) / FEW) / math.log2(MANY / FEW)
    share = min(1.0, max(0.0, share))
    return few ** (1.0 - share) * many**share


@dataclass(frozen=True, eq=False)
class Costs:
    """Prices of one kind of machine, with vectors of eight floats or of sixteen, and of one."""

    parts: Mapping[str, tuple[KernelCosts, DenseCosts]]
    """of the passes in `REGIMES`."""
    factors: tuple[Factors, Factors] = (Factors(), Factors())
    """of this machine, forward and in training."""
    caution: float = 1.0
    """The kernels are chosen where they are expected to take less than this share of the time of a
    dense product: a kernel that is slower than expected costs twice the time, one that was faster
    than the dense product by a few per cent gains just that."""

    def on(self, factors: tuple[Factors, Factors], caution: float = 1.0) -> "Costs":
        """The same kind of machine with factors that were measured."""
        return replace(self, factors=factors, caution=caution)

    def kernel_seconds(self, layer: Layer, pairs: float, *, is_training: bool) -> float:
        """See the function of that name."""
        cost, _ = self.parts[regime(layer, is_training=is_training)]
        found = self.factors[is_training]
        seconds = found.kernels(cost, layer.batch).seconds(layer, pairs)
        return seconds * (found.turned if layer.output_major else 1.0)

    def dense_seconds(self, layer: Layer, *, is_training: bool) -> float:
        """See the function of that name."""
        _, cost = self.parts[regime(layer, is_training=is_training)]
        return self.factors[is_training].dense(cost, layer.batch).seconds(layer)


EIGHT, SIXTEEN = Costs(shipped_costs.EIGHT), Costs(shipped_costs.SIXTEEN)


@functools.cache
def costs() -> Costs:
    """Those shipped for this kind of machine; looked up on use: numba takes half a second."""
    from ccenv.sparse.cpu.codegen.registers import WIDE

    return SIXTEEN if WIDE else EIGHT


def dense_seconds(layer: Layer, *, is_training: bool, known: Costs | None = None) -> float:
    """Expected time of a dense product times masks; by the shipped prices if none are known."""
    return (known or costs()).dense_seconds(layer, is_training=is_training)


def kernel_seconds(
    layer: Layer, pairs: float, *, is_training: bool, known: Costs | None = None
) -> float:
    """Expected time of the kernels, where rows keep that many pairs of blocks together."""
    return (known or costs()).kernel_seconds(layer, pairs, is_training=is_training)


@functools.lru_cache(maxsize=4096)
def most_pairs(layer: Layer, *, is_training: bool, known: Costs | None = None) -> float:
    """Kept pairs of blocks up to which the kernels are expected to be faster; may be negative."""
    empty = kernel_seconds(layer, 0, is_training=is_training, known=known)
    one = kernel_seconds(layer, 1, is_training=is_training, known=known)
    dense = dense_seconds(layer, is_training=is_training, known=known)
    return ((known or costs()).caution * dense - empty) / (one - empty)
