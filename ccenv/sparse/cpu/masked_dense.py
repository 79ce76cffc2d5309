"""One dense product between masks on the CPU: as `reference_linear`, bit for bit.

The masks are applied by a compiled kernel, in place where no other code holds what the product has
written: where all weights are read anyway, torch's own masking took a tenth of the product's time,
and of few rows as much as the product.

Of few rows in training torch's products spend most of their time on calls, and on weights that they
put in order. The kernels multiply each kept block of inputs with all outputs at once, skipped
blocks are set to zero afterwards, and backwards the same; the weight's gradient is made for kept
blocks. So nothing that a row skips reaches it, not even NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ccenv.sparse.buffers import new_result
from ccenv.sparse.cpu.addresses import Gradients, differentiable_layer, share_rows, weights_of
from ccenv.sparse.cpu.codegen.floats import NONE
from ccenv.sparse.cpu.elementwise_kernels import blank_copy
from ccenv.sparse.cpu.layer import gradients_of, run_forward, run_transposed
from ccenv.sparse.operands import Operands, layer_sizes, side_sizes, without_gaps

FEW_ROWS = 32
"""rows up to which training by the kernels was faster in what `python -m ccenv.runs.lab auto` times
(AMD EPYC)."""


def masked_dense_linear(
    operands: Operands, *, is_training: bool, few_rows: int = FEW_ROWS
) -> Tensor:
    """Computes everything and throws the skipped blocks away; float32 on the CPU.

    `is_training` says whether gradients are wanted. Up to `few_rows` rows train by the kernels,
    which round otherwise.
    """
    x, weight, bias, in_mask, out_mask = operands
    if not is_training:
        return blanked_product(blanked(x, in_mask), weight, bias, out_mask)
    if len(x) <= few_rows:
        return of_few_rows((x.contiguous(), *operands[1:]))
    return of_many_rows(operands)


def blanked_product(
    kept: Tensor, weight: Tensor, bias: Tensor | None, out_mask: Tensor | None
) -> Tensor:
    """A dense layer's result, zero in the skipped output blocks."""
    y = torch.nn.functional.linear(kept, weight, bias)
    return y if out_mask is None else blank_skipped(y, out_mask, y)


def blanked(x: Tensor, mask: Tensor | None) -> Tensor:
    """A copy of x that is zero in the skipped blocks; x itself without a mask."""
    return x if mask is None else blank_skipped(x.contiguous(), mask, new_result(*x.shape))


def blank_skipped(x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
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


Kept = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""What gradients need: x, or what is kept of it, weight and the masks on both sides."""
Run = tuple[Tensor, Kept, tuple[()]]


def run_many_rows(operands: Operands) -> Run:
    """The product, with the kept inputs for the weight's gradient."""
    x, weight, bias, in_mask, out_mask = operands
    kept = blanked(x, in_mask)
    return blanked_product(kept, weight, bias, out_mask), (kept, weight, in_mask, out_mask), ()


def gradients_of_many_rows(held: Kept, grad_y: Tensor, wanted: Sequence[bool]) -> Gradients:
    """Gradients of x, weight and bias, by the products that torch makes of a dense layer's."""
    kept, weight, in_mask, out_mask = held
    need_x, need_weight, need_bias = wanted[:3]
    grad = blanked(grad_y, out_mask)
    grad_x = grad.mm(weight) if need_x else None
    if grad_x is not None and in_mask is not None:
        blank_skipped(grad_x, in_mask, grad_x)
    grad_weight = None
    if need_weight:
        # As the weight lies, like torch: the optimiser then goes through both in one order.
        by_input = weight.t().is_contiguous()
        grad_weight = kept.t().mm(grad).t() if by_input else grad.t().mm(kept)
    return grad_x, grad_weight, grad.sum(0) if need_bias else None


def run_few_rows(operands: Operands) -> Run:
    """Kept blocks of inputs by all outputs, by the kernel."""
    x, weight, *others = operands
    bias, in_mask, out_mask = map(without_gaps, others)
    rows, in_width = x.shape
    sizes = rows, *side_sizes(in_width, in_mask), 1, len(weight)
    y = run_forward((x, weight, bias, in_mask, None), NONE, sizes, is_training=True)
    y = y if out_mask is None else blank_skipped(y, out_mask, y)
    return y, (x, weight, in_mask, out_mask), ()


def gradients_of_few_rows(held: Kept, grad_y: Tensor, wanted: Sequence[bool]) -> Gradients:
    """Gradients of x, weight and bias: backwards kept blocks of outputs by all inputs."""
    x, weight, in_mask, out_mask = held
    grad, grad_x = grad_y.contiguous(), None
    if wanted[0]:
        grad_x = new_result(*x.shape)
        run_transposed(grad, weights_of(weight, len(weight)), None, out_mask, grad_x)
        if in_mask is not None:
            blank_skipped(grad_x, in_mask, grad_x)
    sizes = layer_sizes((x, weight, None, in_mask, out_mask))
    grads = gradients_of((*held, grad), grad, (False, *wanted[1:3]), NONE, sizes)
    return grad_x, *grads[1:]


of_many_rows = differentiable_layer(run_many_rows, gradients_of_many_rows)
of_few_rows = differentiable_layer(run_few_rows, gradients_of_few_rows)
