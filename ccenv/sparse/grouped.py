"""Block-sparse layer in plain torch: the images that keep a block are gathered and multiplied once.

Nothing is computed for a block that no image keeps, forward or backward: its weights are not read.
Works on any device and dtype: the route of tensors that no compiled kernel takes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccenv.sparse.reference import zero_where_skipped

ACTIVATIONS = {"tanh": (torch.tanh, torch.tanh_), "relu": (torch.relu, torch.relu_)}
"""Name -> the function that makes a tensor, and the one that works in place."""


@dataclass(frozen=True)
class Group:
    """The rows that share one small dense product."""

    block: int
    """number of the block."""
    rows: Tensor
    """int64 [group]; the images that keep this block."""
    units: Tensor | None
    """int64 [used]; input units that any of these images keeps, None for all."""


def rows_of_blocks(mask: Tensor) -> list[tuple[int, Tensor]]:
    """Lists each block that is kept in some row, with those rows: [(block, rows int64)]."""
    _, rows = mask.t().nonzero(as_tuple=True)
    counts = mask.sum(dim=0).tolist()
    return [(j, r) for j, r in enumerate(rows.split(counts)) if len(r)]


def groups_of_output(in_mask: Tensor | None, out_mask: Tensor, in_features: int) -> list[Group]:
    """Groups rows by output block, each with the input units that the group needs."""
    return [
        Group(j, rows, None if in_mask is None else used_units(in_mask[rows], in_features))
        for j, rows in rows_of_blocks(out_mask)
    ]


def used_units(in_mask: Tensor, in_features: int) -> Tensor | None:
    """Units of the blocks that at least one row keeps: int64 [used], None where that is all."""
    used = in_mask.any(dim=0)
    if bool(used.all()):
        return None
    return used.repeat_interleave(in_features // in_mask.shape[1]).nonzero().squeeze(1)


def pick(matrix: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """Copies rows and columns out of a matrix; None stands for all."""
    if rows is not None and len(rows) != matrix.shape[0]:
        matrix = matrix.index_select(0, rows)
    return matrix if columns is None else matrix.index_select(1, columns)


def activate(z: Tensor, activation: str | None) -> Tensor:
    """Applies tanh or relu in place."""
    return z if activation is None else ACTIVATIONS[activation][1](z)


def slope(y: Tensor, activation: str | None) -> Tensor | float:
    """Derivative of the activation, from its output."""
    if activation == "tanh":
        return 1 - y * y
    return 1.0 if activation is None else (y > 0).to(y.dtype)


class SparseOutput(torch.autograd.Function):
    """Output blocks chosen by `out_mask`; input blocks by `in_mask` or all."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        in_mask: Tensor | None,
        out_mask: Tensor,
        activation: str | None,
    ) -> Tensor:
        """Multiplies, for each output block, the rows that keep it with its weights."""
        x = zero_where_skipped(x, in_mask)
        groups = groups_of_output(in_mask, out_mask, x.shape[1])
        num_blocks = out_mask.shape[1]
        weights = weight.reshape(num_blocks, -1, weight.shape[1])
        y = x.new_zeros(x.shape[0], *weights.shape[:2])
        for group in groups:
            z = pick(x, group.rows, group.units) @ pick(weights[group.block], None, group.units).t()
            if bias is not None:
                z += bias.reshape(num_blocks, -1)[group.block]
            y[:, group.block].index_copy_(0, group.rows, activate(z, activation))
        y = y.flatten(1)
        ctx.save_for_backward(x, weight, in_mask, y)
        ctx.groups, ctx.num_blocks, ctx.activation = groups, num_blocks, activation
        ctx.has_bias = bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Walks the same groups of rows; blocks without a group get no gradient."""
        x, weight, in_mask, y = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        weights = weight.reshape(ctx.num_blocks, -1, weight.shape[1])
        grad_z = (grad_y * slope(y, ctx.activation)).unflatten(1, weights.shape[:2])
        grad_x = torch.zeros_like(x) if need_x else None
        grad_weight = torch.zeros_like(weights) if need_weight else None
        grad_bias = weight.new_zeros(weights.shape[:2]) if need_bias and ctx.has_bias else None
        for group in ctx.groups:
            grad = grad_z[:, group.block].index_select(0, group.rows)
            if grad_x is not None:
                part = grad @ pick(weights[group.block], None, group.units)
                add_at(grad_x, group.rows, group.units, part)
            if grad_weight is not None:
                part = grad.t() @ pick(x, group.rows, group.units)
                add_at(grad_weight[group.block], None, group.units, part)
            if grad_bias is not None:
                grad_bias[group.block] = grad.sum(dim=0)
        if grad_x is not None:
            grad_x = zero_where_skipped(grad_x, in_mask)
        return (
            grad_x,
            None if grad_weight is None else grad_weight.reshape(weight.shape),
            None if grad_bias is None else grad_bias.view(-1),
            None,
            None,
            None,
        )


class SparseInput(torch.autograd.Function):
    """Input blocks chosen by `in_mask`, every output computed: a dense layer after gated ones."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, in_mask: Tensor
    ) -> Tensor:
        """Adds up, over input blocks, the products of the rows that keep them."""
        size = x.shape[1] // in_mask.shape[1]
        groups = [(slice(i * size, (i + 1) * size), rows) for i, rows in rows_of_blocks(in_mask)]
        y = x.new_zeros(x.shape[0], weight.shape[0])
        for units, rows in groups:
            y.index_add_(0, rows, pick(x[:, units], rows, None) @ weight[:, units].t())
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.has_bias = groups, bias is not None
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Walks the same groups of rows; weights of blocks without a group get no gradient."""
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_x = torch.zeros_like(x) if need_x else None
        grad_weight = torch.zeros_like(weight) if need_weight else None
        for units, rows in ctx.groups:
            grad = pick(grad_y, rows, None)
            if grad_x is not None:
                grad_x[:, units].index_copy_(0, rows, grad @ weight[:, units])
            if grad_weight is not None:
                grad_weight[:, units] = grad.t() @ pick(x[:, units], rows, None)
        grad_bias = grad_y.sum(dim=0) if need_bias and ctx.has_bias else None
        return grad_x, grad_weight, grad_bias, None


def add_at(target: Tensor, rows: Tensor | None, columns: Tensor | None, part: Tensor) -> None:
    """Adds a small matrix into the rows and columns of a larger one, in place."""
    if columns is None:
        if rows is None:
            target += part
        else:
            target.index_add_(0, rows, part)
    elif rows is None:
        target.index_add_(1, columns, part)
    else:
        target.index_put_((rows[:, None], columns), part, accumulate=True)


def grouped_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
) -> Tensor:
    """Computes only the blocks that somebody keeps; arguments as `block_sparse_linear`, checked."""
    if out_mask is not None:
        return SparseOutput.apply(x, weight, bias, in_mask, out_mask, activation)
    assert in_mask is not None
    y = SparseInput.apply(x, weight, bias, in_mask)
    return y if activation is None else ACTIVATIONS[activation][0](y)
