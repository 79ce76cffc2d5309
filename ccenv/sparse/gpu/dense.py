"""One dense product between masks on the GPU: (x, weight, bias, masks) -> act(x W + b) where kept.

For layers so small, or batches so middling, that every weight is read anyway. It computes what is
skipped, but nothing of it is seen: weights that are not finite change no row that skips them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ccenv.sparse.cpu.addresses import Gradients, Kept, differentiable
from ccenv.sparse.gpu.kernels import dense as triton_dense
from ccenv.sparse.gpu.plan import OUTER_UNITS, cut_blocks, cut_outer, launch, product_precision
from ccenv.sparse.gpu.products import blocks_of
from ccenv.sparse.reference import zero_where_skipped

# Rows of a tile of the elementwise kernel.
FINISHED_ROWS = 32


def finish(
    z: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
) -> None:
    """Turns the dense product z [batch, out_features], bias included, into the layer's outputs.

    In place, and without a look at the operands unless there is a NaN in a kept output; other
    arguments as `block_sparse_linear`, rows of x and z without gaps.
    """
    batch, (out_features, in_features) = x.shape[0], weight.shape
    in_blocks = blocks_of(in_mask) or 1
    inner = cut_blocks(in_features, in_blocks, x.itemsize)
    outer = cut_outer(out_features, blocks_of(out_mask), OUTER_UNITS[x.itemsize])
    launch(
        triton_dense.finish_dense,
        math.ceil(batch / FINISHED_ROWS) * outer.num_tiles,
        z,
        x,
        weight,
        bias,
        None if in_mask is None else in_mask.view(torch.uint8),
        None if out_mask is None else out_mask.view(torch.uint8),
        batch,
        out_features,
        outer.num_tiles,
        in_blocks,
        z.stride(0),
        x.stride(0),
        *weight.stride(),
        *((0, 0) if in_mask is None else in_mask.stride()),
        *((0, 0) if out_mask is None else out_mask.stride()),
        IN_BLOCK=inner.block,
        PIECES=inner.pieces,
        OUT_BLOCK=outer.block,
        OUT_PIECES=outer.pieces,
        ROWS=FINISHED_ROWS,
        COLUMNS=outer.step,
        INNER=inner.step,
        PRECISION=product_precision(x.dtype),
        ACTIVATION=activation,
    )


def gradient_of_products(
    grad_y: Tensor, y: Tensor, out_mask: Tensor | None, activation: str | None
) -> Tensor:
    """Gradient of pre-activations, [batch, out_features], exactly zero where skipped."""
    if activation == "tanh":
        grad_y = torch.ops.aten.tanh_backward(grad_y, y)
    if activation == "relu":
        grad_y = torch.ops.aten.threshold_backward(grad_y, y, 0)
    return zero_where_skipped(grad_y, out_mask).contiguous()


def run_dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
) -> tuple[Tensor, Kept, tuple[str | None]]:
    """Multiplies everything and hides what is skipped; with what `gradients_of_dense` needs."""
    with torch.cuda.device_of(x):
        kept_x = zero_where_skipped(x, in_mask).contiguous()
        y = torch.nn.functional.linear(kept_x, weight, bias)
        finish(y, kept_x, weight, bias, in_mask, out_mask, activation)
    return y, (kept_x, weight, in_mask, out_mask, y), (activation,)


def gradients_of_dense(
    kept: Kept, grad_y: Tensor, wanted: Sequence[bool], activation: str | None
) -> Gradients:
    """Gradients of x, weight and bias, those that are wanted: dense products too."""
    kept_x, weight, in_mask, out_mask, y = kept
    need_x, need_weight, need_bias = wanted[:3]
    grad_x = grad_weight = grad_bias = None
    with torch.cuda.device_of(kept_x):
        grad_z = gradient_of_products(grad_y, y, out_mask, activation)
        if need_x:
            grad_x = grad_z @ weight
            finish(grad_x, grad_z, weight.t(), None, out_mask, in_mask, None)
        if need_weight:
            # Laid out as the weight is, so that no optimizer has to copy it.
            in_major = weight.stride(0) < weight.stride(1)
            grad_weight = (kept_x.t() @ grad_z).t() if in_major else grad_z.t() @ kept_x
        if need_bias:
            grad_bias = grad_z.sum(dim=0)
    return grad_x, grad_weight, grad_bias


trained = differentiable(run_dense, gradients_of_dense)
