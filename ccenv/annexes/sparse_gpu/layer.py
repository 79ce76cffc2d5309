"""Block-sparse layer on the GPU with its gradients: (x, weight, bias, masks) -> act(x W + b)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ccenv.annexes.sparse_gpu.gradients import gradient_of_outputs, gradient_of_weight
from ccenv.annexes.sparse_gpu.lists import LayerLists, list_layer
from ccenv.annexes.sparse_gpu.plan import VECTOR_ROWS
from ccenv.annexes.sparse_gpu.products import multiply_few, multiply_listed
from ccenv.sparse.cpu.addresses import Gradients, Kept, differentiable_layer
from ccenv.sparse.operands import Operands, without_gaps


def multiply(operands: Operands, activation: str | None, lists: LayerLists | None) -> Tensor:
    """Product by the way that suits the number of rows; only the one for few needs no lists."""
    if lists is None or len(operands[0]) <= VECTOR_ROWS:
        return multiply_few(operands, activation)
    return multiply_listed(operands, lists, activation)


def run_listed(
    operands: Operands, activation: str | None
) -> tuple[Tensor, Kept, tuple[LayerLists | None, str | None]]:
    """Lists the masks and multiplies; with what `gradients_of_listed` needs."""
    x, weight, _, in_mask, out_mask = operands
    with torch.cuda.device_of(x):
        is_small = x.shape[0] <= VECTOR_ROWS
        lists = None if is_small else list_layer(x, weight, in_mask, out_mask)
        y = multiply(operands, activation, lists)
    return y, (x, weight, in_mask, out_mask, y), (lists, activation)


def gradients_of_listed(
    kept: Kept,
    grad_y: Tensor,
    wanted: Sequence[bool],
    lists: LayerLists | None,
    activation: str | None,
) -> Gradients:
    """Gradients of x, weight and bias; lists made on the way out serve on the way back."""
    x, weight, in_mask, out_mask, y = kept
    need_x, need_weight, need_bias = wanted[:3]
    with torch.cuda.device_of(x):
        lists = lists or list_layer(x, weight, in_mask, out_mask)
        grad_z, grad_bias = gradient_of_outputs(
            grad_y.contiguous(), y, lists.outs, activation, wants_bias=need_bias
        )
        grad_x = grad_weight = None
        if need_x:
            back = LayerLists(ins=lists.outs, outs=lists.ins)
            grad_x = multiply((grad_z, weight.t(), None, out_mask, in_mask), None, back)
        if need_weight:
            grad_weight = gradient_of_weight(grad_z, x, weight, lists)
    return grad_x, grad_weight, grad_bias


trained = differentiable_layer(run_listed, gradients_of_listed)


def triton_linear(operands: Operands, activation: str | None) -> Tensor:
    """Computes only the pairs of blocks that each row keeps, as `block_sparse_linear`.

    Nothing here waits for the device: it can be captured in a CUDA graph once it has been called
    with operands of the same shapes, which compiles the kernels. Repeats are equal bit by bit.
    float32, float16 and bfloat16, all summed up in float32; float32 is multiplied in tf32 where
    torch's own products are.
    """
    x, weight, bias, *_ = operands
    if not x.shape[0] or not min(weight.shape):
        # Nothing to start a kernel for; torch's product is as empty, and has its gradients.
        return torch.nn.functional.linear(x, weight, bias)
    return trained((x.contiguous(), weight, without_gaps(bias), *operands[3:]), activation)
