"""What a layer's time is linear in: (prices, a layer, what its rows keep) -> seconds."""

from dataclasses import dataclass
from typing import NamedTuple

from ccenv.sparse.cost_model import FEW_ROWS

TINY = 8
"""Units of a block below which a pair of blocks is mostly what is not products."""
REGIMES = ("forward", "forward_tiny", "training_few", "training_many", "training_tiny")
"""Kinds of passes that have prices of their own: blocks are tiny, rows are few, or neither."""
TURNED_ROWS = 8
"""Rows up to which weights that lie output by output are mostly read so."""


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


def regime(layer: Layer, *, is_training: bool) -> str:
    """Which prices a layer has: a name in `REGIMES`.

    >>> regime(Layer(16, 8, 32, 8, 32), is_training=True)
    'training_few'
    """
    sides = (layer.in_blocks, layer.in_size), (layer.out_blocks, layer.out_size)
    is_tiny = any(blocks > 1 and size < TINY for blocks, size in sides)
    if not is_training:
        return "forward_tiny" if is_tiny else "forward"
    few = "training_few" if layer.batch <= FEW_ROWS else "training_many"
    return "training_tiny" if is_tiny else few


def pieces(width: int) -> int:
    """Pieces of 16, 8, 4 and 1 units that the kernels cut a block's outputs into.

    >>> pieces(64), pieces(12), pieces(7)
    (4, 2, 4)
    """
    return width // 16 + (width % 16 >= 8) + (width % 8 >= 4) + width % 4


def panels(width: int) -> int:
    """Panels of 64, 32, 16, 8, 4 and 1 units that do.

    >>> panels(64), panels(12), panels(100)
    (1, 2, 3)
    """
    return width // 64 + (width % 64 >= 32) + (width % 32 >= 16) + pieces(width % 16)


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
    """of an input unit of such a pair, for each of the pieces of its outputs."""
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
    panel: float
    """of such a pair, for each of the panels that its outputs are cut into."""
    turn: float
    """of a weight that is turned on its side: from some rows on, where weights lie output by
    output."""

    def seconds(self, layer: Layer, pairs: float) -> float:
        """Of a layer of which rows keep that many pairs of blocks together."""
        fixed = (
            self.call
            + self.list * layer.batch * (layer.in_blocks + layer.out_blocks)
            + self.output * layer.batch * layer.out_blocks * layer.out_size
            + self.weight * layer.weights
            + self.any_pair * layer.in_blocks * layer.out_blocks
        )
        if layer.output_major and layer.batch > TURNED_ROWS:
            fixed += self.turn * layer.weights
        products = self.mac * layer.out_size + self.single * (layer.out_size % 4)
        products += self.step * pieces(layer.out_size)
        of_pair = self.pair + self.panel * panels(layer.out_size)
        of_pair += self.total * layer.out_size + layer.in_size * products
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
