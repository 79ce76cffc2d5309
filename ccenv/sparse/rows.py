"""Activations copied for several masks of an input, and residual sums of some rows."""

import torch
from torch import Tensor

from ccenv.sparse import cpu
from ccenv.sparse.reference import zero_where_skipped

LEAST_FLOATS = 1 << 16
"""Fewer are added faster by torch's own operations."""


def repeat_for_masks(shared: Tensor, mask: Tensor) -> Tensor:
    """Gives every mask of an input the blocks that it keeps of the input's activations.

    Differentiable in the activations. What a mask skips never reaches its row, nor that row's
    gradient the input's.

    Args:
        shared: [n, width] float; blocks that no mask of the input keeps may be anything.
        mask: bool [n * group, num_blocks]; neighbouring rows belong to the same input. n and
            num_blocks divide the rows and the width.

    Returns:
        [n * group, width], exactly zero where skipped.

    Raises:
        TypeError: if the mask is not a bool tensor.
        ValueError: if rows or blocks do not divide.
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"expected a bool mask (True = kept), got {mask.dtype}; use mask.bool()")
    if len(mask) % max(1, len(shared)) or shared.shape[1] % mask.shape[1]:
        raise ValueError(
            f"expected rows for a multiple of {len(shared)} inputs and blocks that divide "
            f"{shared.shape[1]} units, got a mask of shape {list(mask.shape)}"
        )
    on_cpu = shared.device.type == mask.device.type == "cpu"
    if shared.dtype == torch.float32 and on_cpu and len(shared) and len(mask):
        return cpu.repeated(shared.contiguous(), mask.contiguous())
    return zero_where_skipped(shared.repeat_interleave(len(mask) // max(1, len(shared)), 0), mask)


def can_merge(base: Tensor, added: Tensor) -> bool:
    """Whether `merged` may be used: large float32 on the CPU in one order, without gradients."""
    return (
        base.numel() >= LEAST_FLOATS
        and base.dtype == added.dtype == torch.float32
        and base.device.type == added.device.type == "cpu"
        and not (base.requires_grad or added.requires_grad)
        and base.shape[1:] == added.shape[1:]
        and as_lines(base) is not None
        and as_lines(added) is not None
        and base.is_contiguous() == added.is_contiguous()
    )


def as_lines(x: Tensor) -> Tensor | None:
    """Rows as they lie in memory: [n, ...] -> a view [n, size]; None where rows lie otherwise."""
    if x.is_contiguous():
        return x.flatten(1)
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).flatten(1)
    return None


def merged(base: Tensor, added: Tensor, rows: Tensor, *, relu: bool) -> Tensor:
    """Base [n, ...] with base + added [kept, ...] in the rows int64 [kept], which rise.

    Every row is written once: torch's own operations write the sums, their ReLU, a copy of the base
    and the sums again. See `can_merge`.
    """
    y = torch.empty_like(base)
    arrays = [x.numpy() for x in map(as_lines, (base, added)) if x is not None]
    out = as_lines(y)
    assert out is not None
    cpu.merge(*arrays, rows.numpy(), out.numpy(), relu)
    return y
