"""Stages of a `GatedSequential`: (features, block mask) -> features; a stage says what a block is.

class ScaledUnit(Stage):                       # one block, skipped means identity
    skipped = "identity"

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x, mask=None, before=None, weights=None, backend="auto"):
        return on_kept_rows(self.body, x, mask, weights)
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

LOOK_SIDE = 2
"""Maps are averaged to so many pixels a side before a policy sees them."""


class Stage(nn.Module):
    """One gate of a network: what its blocks are, what a skipped one means, what they cost.

    `forward(x, mask=None, before=None, weights=None, backend="auto")` computes it:

    - x: [rows, ...]; never changed in place.
    - mask: bool [rows, num_blocks], True = computed; None keeps everything: the plain module.
    - before: bool [rows, blocks of the stage before]; which blocks of x are not zero, None for all.
      Only stages whose `marks_output` is True tell the next one.
    - weights: float [rows, num_blocks]; outputs of kept blocks are multiplied with them.
    - backend: "reference" computes everything and masks; "cpu" and "gpu" what is kept and nothing
      else; "auto" whichever is faster. What is skipped reaches no output, NaN included.
    """

    skipped: ClassVar[str] = "zero"
    """see `ccenv.networks.protocol.Gate`."""
    marks_output: ClassVar[bool] = False
    """whether the output consists of the blocks, side by side along dimension 1."""
    num_blocks: int = 1
    """bits of its mask."""
    full_macs: int = 0
    """of one input with everything kept; set by `measure`."""

    def measure(self, x: Tensor) -> Tensor:
        """Learns what it costs from an example: [1, ...] -> its output with everything kept."""
        self.full_macs, y = counted(self, x)
        return y

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """What `forward` executes under masks: int64 [rows]; blocks of equal cost by default."""
        return mask.sum(dim=1) * (self.full_macs // self.num_blocks)

    def least_macs(self) -> int:
        """MACs that are spent even if nothing is kept, here or before."""
        return 0

    def look(self, x: Tensor) -> Tensor:
        """What is cheap to see of its input: [rows, ...] -> float [rows, look_size]."""
        return pooled(x)

    def block_norms(self, y: Tensor) -> Tensor:
        """Root mean square of each block of its output: [rows, ...] -> [rows, num_blocks]."""
        return y.flatten(1).unflatten(1, (self.num_blocks, -1)).square().mean(dim=2).sqrt()


def counted(function: Callable[..., Any], *inputs: Any) -> tuple[int, Any]:
    """Multiply-accumulates of a call by torch's own counter, and what it gave.

    Products and convolutions count; biases, norms and activations do not.
    """
    # torch's fused transformer layer would hide its products from the counter.
    is_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            found = function(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
    return counter.get_total_flops() // 2, found


def pooled(x: Tensor) -> Tensor:
    """Features without their places: maps averaged to 2 x 2, tokens over the sequence.

    >>> pooled(torch.zeros(3, 16, 8, 8)).shape, pooled(torch.zeros(3, 7, 16)).shape
    (torch.Size([3, 64]), torch.Size([3, 16]))
    """
    if x.ndim == 4:
        return nn.functional.adaptive_avg_pool2d(x, LOOK_SIDE).flatten(1)
    return x.mean(dim=1) if x.ndim == 3 else x.flatten(1)


def on_kept_rows(
    body: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor | None, weights: Tensor | None = None
) -> Tensor:
    """What a body adds to its input, computed for the rows that keep it: x + body(x).

    Args:
        body: [rows, ...] -> a tensor of the same shape.
        x: [rows, ...].
        mask: bool [rows, 1]; None keeps every row.
        weights: float [rows, 1]; the body's output is multiplied with it.
    """
    return add_kept_rows(x, body, x, mask, weights)


def add_kept_rows(
    base: Tensor,
    body: Callable[[Tensor], Tensor],
    x: Tensor,
    mask: Tensor | None,
    weights: Tensor | None = None,
) -> Tensor:
    """Adds body(x) to the rows of a base that keep it; the others are not computed."""
    keep = None if mask is None else mask.flatten()
    if keep is None or bool(keep.all()):
        return base + scaled(body(x), weights)
    rows = keep.nonzero().squeeze(1)
    if not len(rows):
        return base
    some = None if weights is None else weights.index_select(0, rows)
    return base.index_add(0, rows, scaled(body(x.index_select(0, rows)), some))


def scaled(y: Tensor, weights: Tensor | None) -> Tensor:
    """Multiplies each row with its weight: [rows, ...], [rows, 1] or None."""
    return y if weights is None else y * weights.reshape(-1, *[1] * (y.ndim - 1))
