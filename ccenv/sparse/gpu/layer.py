"""Block-sparse layer on the GPU with its gradients: (x, weight, bias, masks) -> act(x W + b)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccenv.sparse.gpu.gradients import gradient_of_outputs, gradient_of_weight
from ccenv.sparse.gpu.lists import LayerLists, list_layer
from ccenv.sparse.gpu.plan import VECTOR_ROWS
from ccenv.sparse.gpu.products import blocks_of, multiply_listed, multiply_rows


def multiply(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
    lists: LayerLists | None,
) -> Tensor:
    """Product by the way that suits the number of rows; only the one for few needs no lists."""
    if lists is None or x.shape[0] <= VECTOR_ROWS:
        return multiply_rows(x, weight, bias, in_mask, out_mask, activation)
    return multiply_listed(x, weight, bias, blocks_of(in_mask), lists, activation)


class TritonLinear(torch.autograd.Function):
    """The kernels with their gradients; lists made on the way out serve on the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        activation: str | None,
    ) -> Tensor:
        """Lists the masks, multiplies, and keeps what the gradients need."""
        with torch.cuda.device_of(x):
            is_small = x.shape[0] <= VECTOR_ROWS
            lists = None if is_small else list_layer(x, weight, in_mask, out_mask)
            y = multiply(x, weight, bias, in_mask, out_mask, activation, lists)
        ctx.save_for_backward(x, weight, in_mask, out_mask, y)
        ctx.lists, ctx.activation, ctx.has_bias = lists, activation, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, those that are wanted."""
        x, weight, in_mask, out_mask, y = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        with torch.cuda.device_of(x):
            lists = ctx.lists or list_layer(x, weight, in_mask, out_mask)
            grad_z, grad_bias = gradient_of_outputs(
                grad_y.contiguous(),
                y,
                lists.outs,
                ctx.activation,
                wants_bias=need_bias and ctx.has_bias,
            )
            grad_x = grad_weight = None
            if need_x:
                back = LayerLists(ins=lists.outs, outs=lists.ins)
                grad_x = multiply(grad_z, weight.t(), None, out_mask, in_mask, None, back)
            if need_weight:
                grad_weight = gradient_of_weight(grad_z, x, weight, lists)
        return grad_x, grad_weight, grad_bias, None, None, None
