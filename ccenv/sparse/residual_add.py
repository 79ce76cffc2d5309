"""Residual sums of the rows that keep a unit: (base, added, rows) -> features of all rows."""

import torch
from torch import Tensor

from ccenv.sparse.operands import on_use

LEAST_FLOATS = 1 << 16
"""Fewer are added faster by torch's own operations."""


def can_merge(base: Tensor, added: Tensor) -> bool:
    """Whether `merged` may be used: large float32 on the CPU in one order, without gradients."""
    return (
        base.numel() >= LEAST_FLOATS
        and base.dtype == added.dtype == torch.float32
        and base.device.type == added.device.type == "cpu"
        and not (base.requires_grad or added.requires_grad)
        and base.shape[1:] == added.shape[1:]
        and lines(base) is not None
        and lines(added) is not None
        and base.is_contiguous() == added.is_contiguous()
    )


def lines(x: Tensor) -> Tensor | None:
    """Rows as they lie in memory: [n, ...] -> a view [n, size]; None where rows lie otherwise."""
    if x.is_contiguous():
        return x.flatten(1)
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).flatten(1)
    return None


def merged(base: Tensor, added: Tensor, rows: Tensor, *, relu: bool) -> Tensor:
    """Base, with base + added in some rows: every row is written once.

    Torch's own operations write the sums, their ReLU, a copy of the base and the sums again.

    Args:
        base: [n, ...]; see `can_merge`.
        added: [kept, ...].
        rows: int64 [kept], rising.
        relu: of the sums; the other rows stay as they are.
    """
    y = torch.empty_like(base)
    arrays = [x.numpy() for x in map(lines, (base, added)) if x is not None]
    out = lines(y)
    assert out is not None
    on_use("ccenv.sparse.cpu.elementwise_kernels:merge")(*arrays, rows.numpy(), out.numpy(), relu)
    return y
