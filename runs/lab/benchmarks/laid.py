"""A layer with its weights laid one way or the other: (cell, masks) -> passes to time."""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.runs.speed.kernels import Pass
from ccenv.runs.speed.masks import draw_pool, make_layer, plain_layers
from ccenv.sparse.cpu.buffers import keep_panels
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.masked_dense import masked_dense_linear

LAYOUTS = ("as networks keep them", "as nn.Linear holds them")
"""of weights: frozen ones of the package lie panel by panel, trained ones input by input."""
Masks = tuple[Tensor | None, Tensor | None]
"""of the input and of the output side."""


@dataclass(frozen=True)
class Cell:
    """Where in a grid of layers."""

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
    """which sides have masks: "in", "out" or "both"."""
    training: bool
    """forward and backward instead of forward alone."""
    layout: str = LAYOUTS[0]
    """of the weights."""


def side_masks(cell: Cell, passes: int) -> list[Masks]:
    """Input and output masks of several passes, None on a side without."""
    blocks = [width // cell.block_size for width in (cell.in_features, cell.out_features)]
    has_in, has_out = (cell.sides in (side, "both") for side in ("in", "out"))
    pool = draw_pool(cell.batch, blocks, cell.density, passes=passes)
    return [(ins if has_in else None, outs if has_out else None) for ins, outs in pool]


class Laid:
    """A cell's layer with its inputs, and what is timed of it, other masks in every pass."""

    def __init__(self, cell: Cell, pool: Sequence[Masks]) -> None:
        """Lays the weights as the cell says, and torch's own layer beside them."""
        sizes, training = (cell.in_features, cell.out_features), cell.training
        self.cell, self.turns = cell, itertools.cycle(pool)
        self.layer = make_layer(*sizes).requires_grad_(training)
        self.plain = plain_layers(sizes)[0].requires_grad_(training)
        if cell.layout == LAYOUTS[1]:
            self.layer.weight = nn.Parameter(self.layer.weight.detach().contiguous(), training)
        elif not training:
            keep_panels(self.layer)
        self.x = torch.randn(cell.batch, cell.in_features, generator=stream(0, "inputs"))
        self.x.requires_grad_(training)
        self.slopes = torch.ones(cell.batch, cell.out_features)

    def gated(self, backend: str) -> Tensor:
        """The product under the next masks."""
        weight, bias = self.layer.weight, self.layer.bias
        return block_sparse_linear(self.x, weight, bias, *next(self.turns), backend=backend)

    def masked_dense(self) -> Tensor:
        """The same as a dense product times masks."""
        in_mask, out_mask = next(self.turns)
        operands = self.x, self.layer.weight, self.layer.bias, in_mask, out_mask
        return masked_dense_linear(*operands, is_training=self.cell.training)

    def as_pass(self, product: Callable[[], Tensor], model: nn.Module) -> Pass:
        """A product, with its gradients where the cell trains."""
        if not self.cell.training:
            return product
        return lambda: torch.autograd.grad(product(), [self.x, *model.parameters()], self.slopes)

    def passes(self) -> dict[str, Pass]:
        """By torch's own layer, a dense product times masks, the kernels, and what `auto` takes."""
        return {
            "dense": self.as_pass(functools.partial(self.plain, self.x), self.plain),
            "masked_dense": self.as_pass(self.masked_dense, self.layer),
            "kernels": self.as_pass(functools.partial(self.gated, "cpu"), self.layer),
            "auto": self.as_pass(functools.partial(self.gated, "auto"), self.layer),
        }
