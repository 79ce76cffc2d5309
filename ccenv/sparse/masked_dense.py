"""One dense product between masks on the CPU: as `reference_linear`, bit for bit.

The masks are applied by a compiled kernel, in place where nobody else holds what the product has
written: where all weights are read anyway, torch's own masking took a tenth of the product's time,
and of few rows as much as the product.

Of few rows in training torch's products spend most of their time on calls, and on weights that they
put in order. The kernels multiply each kept block of inputs with all outputs at once, skipped
blocks are set to zero afterwards, and backwards the same; the weight's gradient is made for kept
blocks. So nothing that a row skips reaches it, not even NaN.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.sparse.cpu.addresses import once, share_rows, weights_of
from ccenv.sparse.cpu.buffers import new_result
from ccenv.sparse.cpu.codegen.floats import NONE
from ccenv.sparse.cpu.elementwise_kernels import blank_copy
from ccenv.sparse.cpu.layer import gradients_of, run_forward, run_transposed
from ccenv.sparse.operands import layer_sizes, sizes_of

FEW_ROWS = 32
"""rows up to which training by the kernels was faster in what `python -m ccenv.runs.lab auto` times
(AMD EPYC)."""


def masked_dense_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    *,
    is_training: bool,
    few_rows: int = FEW_ROWS,
) -> Tensor:
    """Computes everything and throws the skipped blocks away; float32 on the CPU.

    Operands as `block_sparse_linear`; `is_training` says whether gradients are wanted. Up to
    `few_rows` rows train by the kernels, which round otherwise.
    """
    if not is_training:
        return blanked_product(blanked(x, in_mask), weight, bias, out_mask)
    y: Tensor
    if len(x) <= few_rows:
        y = FewRows.apply(x.contiguous(), weight, bias, in_mask, out_mask)
    else:
        y = MaskedDense.apply(x, weight, bias, in_mask, out_mask)
    return y


def blanked_product(
    kept: Tensor, weight: Tensor, bias: Tensor | None, out_mask: Tensor | None
) -> Tensor:
    """A dense layer's result, zero in the skipped output blocks."""
    y = torch.nn.functional.linear(kept, weight, bias)
    return y if out_mask is None else blank(y, out_mask, y)


def blanked(x: Tensor, mask: Tensor | None) -> Tensor:
    """A copy of x that is zero in the skipped blocks; x itself without a mask."""
    return x if mask is None else blank(x.contiguous(), mask, new_result(*x.shape))


def blank(x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
    """Writes y; x and y are contiguous, and may be the same."""
    (rows, width), blocks, mask = x.shape, mask.shape[1], mask.contiguous()
    addresses = x.data_ptr(), mask.data_ptr(), y.data_ptr()
    if torch.get_num_threads() == 1:
        blank_copy(*addresses, blocks, width // blocks, 0, rows)
        return y

    def work(first: int, last: int) -> None:
        blank_copy(*addresses, blocks, width // blocks, first, last)

    share_rows(work, rows, width)
    return y


class MaskedDense(torch.autograd.Function):
    """The product with its gradients, by the products that torch makes of a dense layer's."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
    ) -> Tensor:
        """Keeps the kept inputs for the weight's gradient."""
        kept = blanked(x, in_mask)
        ctx.save_for_backward(kept, weight, in_mask, out_mask)
        return blanked_product(kept, weight, bias, out_mask)

    @staticmethod
    @once
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, those that are wanted."""
        kept, weight, in_mask, out_mask = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad = blanked(grad_y, out_mask)
        grad_x = grad.mm(weight) if need_x else None
        if grad_x is not None and in_mask is not None:
            blank(grad_x, in_mask, grad_x)
        grad_weight = None
        if need_weight:
            # As the weight lies, like torch: the optimiser then goes through both in one order.
            by_input = weight.t().is_contiguous()
            grad_weight = kept.t().mm(grad).t() if by_input else grad.t().mm(kept)
        return grad_x, grad_weight, grad.sum(0) if need_bias else None, None, None


class FewRows(torch.autograd.Function):
    """Kept blocks of inputs by all outputs, and backwards kept blocks of outputs by all inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
    ) -> Tensor:
        """Runs the kernel for all outputs."""
        in_mask, out_mask = (None if m is None else m.contiguous() for m in (in_mask, out_mask))
        rows, in_width = x.shape
        sizes = rows, *sizes_of(in_width, in_mask), 1, len(weight)
        bias = None if bias is None else bias.contiguous()
        y = run_forward(x, weight, bias, in_mask, None, NONE, sizes, is_training=True)
        ctx.save_for_backward(x, weight, in_mask, out_mask)
        ctx.has_bias = bias is not None
        return y if out_mask is None else blank(y, out_mask, y)

    @staticmethod
    @once
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, those that are wanted."""
        x, weight, in_mask, out_mask = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad, grad_x = grad_y.contiguous(), None
        if need_x:
            grad_x = new_result(*x.shape)
            run_transposed(grad, weights_of(weight, len(weight)), None, out_mask, grad_x)
            if in_mask is not None:
                blank(grad_x, in_mask, grad_x)
        sizes = layer_sizes(x, weight, in_mask, out_mask)
        wanted = False, need_weight, need_bias and ctx.has_bias
        found = gradients_of(x, weight, in_mask, out_mask, grad, grad, NONE, sizes, wanted)
        return grad_x, *found[1:], None, None
