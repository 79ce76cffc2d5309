"""Triton kernel: (dense product, masks, operands) -> act(x W + b) where kept, zero elsewhere."""

import triton
import triton.language as tl

from ccenv.sparse.gpu.kernels.tiles import activated


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
