"""A step's numbers in one compiled call each: tensors on the CPU -> MACs, answers, observations."""

import torch
from torch import Tensor

from ccenv.sparse.buffers import kept_memory
from ccenv.sparse.cpu.step_kernels import add_layer_macs, compare, write_looks


def layer_costs(
    mask: Tensor,
    size: int,
    before: Tensor | None,
    before_size: int,
    head: int,
    fixed: int,
    total: int,
    spent: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Adds what a mask of a fully connected layer costs to the MACs spent before.

    Args:
        mask: bool [rows, blocks], blocks of `size` units.
        size: see `mask`.
        before: that of the layer before; None where the layer reads all `before_size` inputs.
        before_size: units of a block before, or all inputs.
        head: units behind the layer that read each unit kept.
        fixed: MACs that are executed in any case.
        total: MACs of the dense network.
        spent: int64 [rows].

    Returns:
        MACs so far int64 [rows], and as shares of `total` this layer's and those so far, float32
        [rows] each.
    """
    rows = mask.shape[0]
    macs = torch.empty(rows, dtype=torch.int64)
    layer_cost, compute_cost = torch.empty(rows), torch.empty(rows)
    # The names keep copies without gaps alive until they are read.
    mask = mask if mask.stride(1) == 1 else mask.contiguous()
    spent = spent.contiguous()
    if before is None:
        source = 0, 0, 0, before_size
    else:
        before = before if before.stride(1) == 1 else before.contiguous()
        source = before.data_ptr(), before.shape[1], before.stride(0), before_size
    add_layer_macs(
        mask.data_ptr(),
        mask.shape[1],
        mask.stride(0),
        size,
        *source,
        head,
        fixed,
        total,
        spent.data_ptr(),
        rows,
        macs.data_ptr(),
        layer_cost.data_ptr(),
        compute_cost.data_ptr(),
    )
    return macs, layer_cost, compute_cost


def answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Compares logits float32 [rows, classes] with labels int64 [rows] (else IndexError).

    Returns:
        The first of the likeliest classes int64 [rows], 1 where it is the label and the label's
        logit float32 [rows] each, and whether all logits are numbers.
    """
    logits, labels = logits.contiguous(), labels.contiguous()
    prediction, right = torch.empty_like(labels), torch.empty(labels.shape)
    chosen = torch.empty(labels.shape)
    are_finite = compare(
        logits.data_ptr(),
        labels.data_ptr(),
        *logits.shape,
        prediction.data_ptr(),
        right.data_ptr(),
        chosen.data_ptr(),
    )
    if are_finite < 0:
        raise IndexError(f"expected labels in 0..{logits.shape[1] - 1}, got others")
    return prediction, right, chosen, bool(are_finite)


def observation(looks: Tensor, columns: int, gate: int) -> Tensor:
    """Looks float32 [rows, width], zeros up to `columns` and a one at column `gate` (-1: none)."""
    looks = looks if looks.stride(1) == 1 else looks.contiguous()
    rows, width = looks.shape
    shown = kept_memory(rows, columns)
    source = looks.data_ptr(), looks.stride(0), width
    write_looks(*source, rows, columns, gate, shown.data_ptr())
    return shown
