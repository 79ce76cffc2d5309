"""Block-sparse layers by torch: the dense product times its mask, and rows grouped by mask."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from ccenv.sparse.operands import Operands

Activation = Callable[[Tensor], Tensor]
MANY = 1 << 13
"""Units from which on tanh takes longer than to pick out those that are kept, if half are."""


def zero_where_skipped(x: Tensor, mask: Tensor | None, *, in_place: bool = False) -> Tensor:
    """Sets the units of skipped blocks to exactly 0: [batch, width], [batch, num_blocks].

    A tensor that is held nowhere else may be changed `in_place`.
    """
    if mask is None:
        return x
    if x.dtype == torch.float32 and not (x.requires_grad and torch.is_grad_enabled()):
        # The same by bits, NaN included, in a sixth of the time; but it has no gradient.
        bits = x.view(torch.int32).unflatten(1, (mask.shape[1], -1))
        keep = mask.unsqueeze(2).to(torch.int32).neg_()
        if in_place:
            bits.bitwise_and_(keep)
            return x
        return (bits & keep).view(torch.float32).flatten(1)
    blocks = x.unflatten(1, (mask.shape[1], -1))
    return torch.where(mask.unsqueeze(2), blocks, 0.0).flatten(1)


def reference_linear(operands: Operands, activation: Activation | None) -> Tensor:
    """Computes everything and throws the skipped blocks away: the definition, and the slow way."""
    x, weight, bias, in_mask, out_mask = operands
    y = linear(zero_where_skipped(x, in_mask), weight, bias)
    is_costly = activation is torch.tanh and y.numel() >= MANY
    if is_costly and out_mask is not None and y.is_cpu and not y.requires_grad:
        kept = out_mask.flatten().nonzero().squeeze(1)
        if 2 * len(kept) <= out_mask.numel():
            blocks = y.view(out_mask.numel(), -1)
            active = torch.tanh(blocks.index_select(0, kept))
            return torch.zeros_like(blocks).index_copy_(0, kept, active).view(y.shape)
    y = y if activation is None else activation(y)
    return zero_where_skipped(y, out_mask, in_place=True)


def rows_of_blocks(mask: Tensor) -> list[tuple[int, Tensor]]:
    """Lists each block that is kept in some row, with those rows: [(block, rows int64)]."""
    _, rows = mask.t().nonzero(as_tuple=True)
    counts = mask.sum(dim=0).tolist()
    return [(j, r) for j, r in enumerate(rows.split(counts)) if len(r)]


def used_units(mask: Tensor, width: int) -> Tensor:
    """Units of the blocks that at least one row keeps: int64 [used]."""
    used = mask.any(dim=0)
    return used.repeat_interleave(width // mask.shape[1]).nonzero().squeeze(1)


def empty_sum(*operands: Tensor | None) -> Tensor:
    """Zero, by sums of nothing: where nothing is kept, gradients are zero and not missing."""
    return torch.stack([t[:0].sum() for t in operands if t is not None]).sum()


def grouped_linear(operands: Operands, activation: Activation | None) -> Tensor:
    """Computes only the blocks that some row keeps, of operands that were checked."""
    x, weight, bias, in_mask, out_mask = operands
    if out_mask is None:
        assert in_mask is not None
        y = by_inputs(x, weight, in_mask) + empty_sum(x, weight)
        y = y if bias is None else y + bias
        return y if activation is None else activation(y)
    num_blocks, x = out_mask.shape[1], zero_where_skipped(x, in_mask)
    weights = weight.unflatten(0, (num_blocks, -1)).unbind()
    biases = [None] * num_blocks if bias is None else bias.unflatten(0, (num_blocks, -1)).unbind()
    nothing = x.new_zeros(len(x), len(weights[0])) + empty_sum(x, weight, bias)
    parts = [nothing] * num_blocks
    for block, rows in rows_of_blocks(out_mask):
        some, kept_weights = x.index_select(0, rows), weights[block]
        if in_mask is not None:
            units = used_units(in_mask[rows], x.shape[1])
            some, kept_weights = some.index_select(1, units), kept_weights.index_select(1, units)
        z = linear(some, kept_weights, biases[block])
        parts[block] = nothing.index_copy(0, rows, z if activation is None else activation(z))
    return torch.cat(parts, dim=1)


def by_inputs(x: Tensor, weight: Tensor, in_mask: Tensor) -> Tensor:
    """All outputs: sums over input blocks of the products of the rows that keep them."""
    inputs, weights = (t.unflatten(1, (in_mask.shape[1], -1)).unbind(1) for t in (x, weight))
    y = x.new_zeros(len(x), len(weight))
    for block, rows in rows_of_blocks(in_mask):
        y = y.index_add(0, rows, linear(inputs[block].index_select(0, rows), weights[block]))
    return y
