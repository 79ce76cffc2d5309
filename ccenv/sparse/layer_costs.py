"""What a layer's time is linear in: (prices, a layer, what its rows keep) -> seconds."""

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
    output_major: bool = False
    """whether weights lie output by output, as `torch.nn.Linear` holds them, and no copy is kept
    that lies otherwise."""

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
