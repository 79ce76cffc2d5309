"""A dense product between masks for training: of few rows by the kernels, of many by torch.

Of few rows torch's products spend most of their time on calls, and on weights that they put in
order. The kernels multiply each kept block of inputs with all outputs at once, skipped blocks are
set to zero afterwards, and backwards the same; the weight's gradient is made for kept blocks. So
nothing that a row skips reaches it, not even NaN. Up to `FEW_ROWS` rows this was the faster way by
what `python -m ccenv.runs.lab auto` times, on an AMD EPYC.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.sparse.cpu.addresses import once, sizes_of, weights_of
from ccenv.sparse.cpu.buffers import new_result
from ccenv.sparse.cpu.codegen.floats import NONE
from ccenv.sparse.cpu.layer import gradients_of, run_forward, run_transposed
from ccenv.sparse.masked_dense import blank, masked_dense_linear

FEW_ROWS = 32
"""rows up to which a dense product between masks runs in the kernels while training."""


def dense_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    *,
    is_training: bool,
) -> Tensor:
    """As `masked_dense_linear`; of few rows in training to rounding."""
    if not is_training or len(x) > FEW_ROWS:
        return masked_dense_linear(x, weight, bias, in_mask, out_mask, is_training=is_training)
    y: Tensor = FewRows.apply(x.contiguous(), weight, bias, in_mask, out_mask)
    return y


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
        sizes = len(x), *sizes_of(x.shape[1], in_mask), *sizes_of(len(weight), out_mask)
        wanted = False, need_weight, need_bias and ctx.has_bias
        found = gradients_of(x, weight, in_mask, out_mask, grad, grad, NONE, sizes, wanted)
        return grad_x, *found[1:], None, None
