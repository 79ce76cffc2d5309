"""One dense product between masks on the GPU: (x, weight, bias, masks) -> act(x W + b) where kept.

For layers so small, or batches so middling, that every weight is read anyway. It computes what is
skipped, but nothing of it is seen: weights that are not finite change no row that skips them.
"""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ccenv.annexes.sparse_gpu.plan import (
    OUTER_UNITS,
    cut_blocks,
    cut_outer,
    launch,
    product_precision,
)
from ccenv.annexes.sparse_gpu.products import activated, mask_blocks, mask_bytes, mask_strides
from ccenv.sparse.cpu.addresses import Gradients, Kept, differentiable_layer
from ccenv.sparse.operands import Operands, without_gaps
from ccenv.sparse.reference import zero_where_skipped

# Rows of a tile of the elementwise kernel.
FINISHED_ROWS = 32


@triton.jit
def summed_apart(
    x,
    weight,
    in_mask,
    row,
    real_row,
    column,
    real_column,
    in_blocks,
    x_stride,
    out_stride,
    in_stride,
    in_row_stride,
    in_block_stride,
    IN_BLOCK: tl.constexpr,
    PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sums products block by block, each for the rows that keep it alone: float32 [ROWS, COLUMNS].

    Slow, and only for weights that are not finite: a row that skips them must not meet them.
    """
    total = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    unit = tl.arange(0, INNER)
    for step in tl.range(0, in_blocks * PIECES, num_stages=1):
        block = step // PIECES
        offset = (step % PIECES) * INNER + unit
        inside = offset < IN_BLOCK
        k = block * IN_BLOCK + offset
        bits = in_mask + row * in_row_stride + block * in_block_stride
        keep = tl.load(bits, mask=real_row, other=0) != 0
        x_places = x + row[:, None] * x_stride + k[None, :]
        w_places = (
            weight + column.to(tl.int64)[None, :] * out_stride + k.to(tl.int64)[:, None] * in_stride
        )
        a = tl.load(x_places, mask=keep[:, None] & inside[None, :], other=0.0)
        b = tl.load(w_places, mask=inside[:, None] & real_column[None, :], other=0.0)
        part = tl.dot(a, b, input_precision=PRECISION)
        total += tl.where(keep[:, None], part, 0.0)
    return total


@triton.jit(do_not_specialize=["batch"])
def finish_dense(
    z,
    x,
    weight,
    bias,
    in_mask,
    out_mask,
    batch,
    out_features,
    out_tiles,
    in_blocks,
    z_stride,
    x_stride,
    out_stride,
    in_stride,
    in_row_stride,
    in_block_stride,
    out_row_stride,
    out_block_stride,
    IN_BLOCK: tl.constexpr,
    PIECES: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Applies the activation and the output mask in place.

    The product multiplied skipped inputs as zeros, and 0 times a weight that is NaN or infinite is
    NaN. So NaN is the sign of a weight that is not finite: where it stands in a kept output, the
    output is computed once more, from the blocks that its row keeps.
    """
    pid = tl.program_id(0)
    tile = pid // out_tiles
    block = (pid % out_tiles) // OUT_PIECES
    offset = (pid % OUT_PIECES) * COLUMNS + tl.arange(0, COLUMNS)
    column = block * OUT_BLOCK + offset
    real_column = (offset < OUT_BLOCK) & (column < out_features)
    row = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    real_row = row < batch
    kept = real_row
    if out_mask is not None:
        bits = out_mask + row * out_row_stride + block * out_block_stride
        kept = tl.load(bits, mask=real_row, other=0) != 0
    inside = kept[:, None] & real_column[None, :]
    places = z + row[:, None] * z_stride + column[None, :]
    value = tl.load(places, mask=inside, other=0.0).to(tl.float32)
    # Two conditions, because the first is known when the kernel is compiled.
    if in_mask is not None:  # noqa: SIM102
        if tl.sum(tl.sum((value != value).to(tl.int32), 1), 0) > 0:
            again = summed_apart(
                x, weight, in_mask, row, kept, column, real_column, in_blocks, x_stride,
                out_stride, in_stride, in_row_stride, in_block_stride,
                IN_BLOCK, PIECES, ROWS, COLUMNS, INNER, PRECISION,
            )  # fmt: skip
            if bias is not None:
                again += tl.load(bias + column, mask=real_column, other=0.0).to(tl.float32)[None, :]
            value = tl.where(value != value, again, value)
    value = tl.where(inside, activated(value, ACTIVATION), 0.0)
    tl.store(places, value.to(z.dtype.element_ty), mask=real_row[:, None] & real_column[None, :])


def finish(z: Tensor, operands: Operands, activation: str | None) -> None:
    """Turns the dense product z [batch, out_features], bias included, into the layer's outputs.

    In place, and without a look at the operands unless there is a NaN in a kept output. Rows of x
    and z lie without gaps.
    """
    x, weight, bias, in_mask, out_mask = operands
    batch, (out_features, in_features) = x.shape[0], weight.shape
    in_blocks = mask_blocks(in_mask) or 1
    inner = cut_blocks(in_features, in_blocks, x.itemsize)
    outer = cut_outer(out_features, mask_blocks(out_mask), OUTER_UNITS[x.itemsize])
    launch(
        finish_dense,
        math.ceil(batch / FINISHED_ROWS) * outer.num_tiles,
        z,
        x,
        weight,
        bias,
        mask_bytes(in_mask),
        mask_bytes(out_mask),
        batch,
        out_features,
        outer.num_tiles,
        in_blocks,
        z.stride(0),
        x.stride(0),
        *weight.stride(),
        *mask_strides(in_mask),
        *mask_strides(out_mask),
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


def run_dense(operands: Operands, activation: str | None) -> tuple[Tensor, Kept, tuple[str | None]]:
    """Multiplies everything and hides what is skipped; with what `gradients_of_dense` needs."""
    x, weight, bias, in_mask, out_mask = operands
    with torch.cuda.device_of(x):
        kept_x = zero_where_skipped(x, in_mask).contiguous()
        y = torch.nn.functional.linear(kept_x, weight, bias)
        finish(y, (kept_x, *operands[1:]), activation)
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
            finish(grad_x, (grad_z, weight.t(), None, out_mask, in_mask), None)
        if need_weight:
            # Laid out as the weight is, so that no optimizer has to copy it.
            in_major = weight.stride(0) < weight.stride(1)
            grad_weight = (kept_x.t() @ grad_z).t() if in_major else grad_z.t() @ kept_x
        if need_bias:
            grad_bias = grad_z.sum(dim=0)
    return grad_x, grad_weight, grad_bias


trained = differentiable_layer(run_dense, gradients_of_dense)


def dense_linear(operands: Operands, activation: str | None) -> Tensor:
    """One dense product between masks; promises and dtypes as `triton_linear`.

    Rows that skip a block do not meet its weights, NaN or not, though they are multiplied. The
    gradient of the weights is a dense product as well: a kept unit that is not finite itself spoils
    it beyond its own pairs of blocks.
    """
    x, weight, bias, *_ = operands
    if not x.shape[0] or not min(weight.shape):
        return torch.nn.functional.linear(x, weight, bias)
    return trained((x, weight, without_gaps(bias), *operands[3:]), activation)
