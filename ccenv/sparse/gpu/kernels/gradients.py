"""Triton kernels: (gradient of the outputs) -> gradients of pre-activations, bias and weights.

Sums run over the exact rows of a block or of a pair of blocks, in a fixed order.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["batch"])
def through_activation(
    grad_y,
    y,
    grad_z,
    sums,
    rows,
    counts,
    batch,
    out_features,
    out_tiles,
    stride,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Writes gradients of pre-activations that are kept, and their sums over each tile of rows.

    What is skipped is not written: it is never read. The derivative follows from the output.
    """
    pid = tl.program_id(0)
    tile = pid // out_tiles
    block = (pid % out_tiles) // OUT_PIECES
    offset = (pid % OUT_PIECES) * COLUMNS + tl.arange(0, COLUMNS)
    column = block * OUT_BLOCK + offset
    real_column = (offset < OUT_BLOCK) & (column < out_features)
    at = tile * ROWS + tl.arange(0, ROWS)
    if rows is None:
        count = batch
        row = at
    else:
        count = tl.load(counts + block)
        row = tl.load(rows + tl.cast(block, tl.int64) * batch + at, mask=at < count, other=0)
    total = tl.full((COLUMNS,), 0.0, tl.float32)
    if tile * ROWS < count:
        places = row.to(tl.int64)[:, None] * stride + column[None, :]
        valid = (at < count)[:, None] & real_column[None, :]
        grad = tl.load(grad_y + places, mask=valid, other=0.0).to(tl.float32)
        if ACTIVATION is not None:
            out = tl.load(y + places, mask=valid, other=0.0).to(tl.float32)
            if ACTIVATION == "tanh":
                grad = grad * (1.0 - out * out)
            else:
                grad = tl.where(out > 0, grad, 0.0)
            tl.store(grad_z + places, grad.to(grad_z.dtype.element_ty), mask=valid)
        total = tl.sum(grad, 0)
    if sums is not None:
        tl.store(sums + tl.cast(tile, tl.int64) * out_features + column, total, mask=real_column)


@triton.jit(do_not_specialize=["batch", "first_block"])
def multiply_pairs(
    grad_z,
    x,
    grad_weight,
    lists,
    counts,
    batch,
    first_block,
    in_features,
    out_features,
    in_tiles,
    z_stride,
    x_stride,
    out_stride,
    in_stride,
    list_out_stride,
    list_in_stride,
    IN_BLOCK: tl.constexpr,
    IN_PIECES: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    OUTER: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradient of the weights of a pair of blocks: the sum over its listed rows, zero if none.

    The list of output block j, input block i is number j list_out_stride + i list_in_stride.
    """
    pid = tl.program_id(0)
    out_piece = pid // in_tiles
    in_piece = pid % in_tiles
    out_block = out_piece // OUT_PIECES
    in_block = in_piece // IN_PIECES
    out_offset = (out_piece % OUT_PIECES) * OUTER + tl.arange(0, OUTER)
    in_offset = (in_piece % IN_PIECES) * INNER + tl.arange(0, INNER)
    n = (first_block + out_block) * OUT_BLOCK + out_offset
    k = in_block * IN_BLOCK + in_offset
    real_n = (out_offset < OUT_BLOCK) & (n < out_features)
    real_k = (in_offset < IN_BLOCK) & (k < in_features)
    which = out_block * list_out_stride + in_block * list_in_stride
    count = batch if lists is None else tl.load(counts + which)
    total = tl.full((OUTER, INNER), 0.0, tl.float32)
    for start in range(0, count, ROWS):
        at = start + tl.arange(0, ROWS)
        listed = at < count
        row = at
        if lists is not None:
            row = tl.load(lists + tl.cast(which, tl.int64) * batch + at, mask=listed, other=0)
        row = row.to(tl.int64)
        z_places = grad_z + row[None, :] * z_stride + n[:, None]
        x_places = x + row[:, None] * x_stride + k[None, :]
        a = tl.load(z_places, mask=listed[None, :] & real_n[:, None], other=0.0)
        b = tl.load(x_places, mask=listed[:, None] & real_k[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    places = (
        grad_weight + n.to(tl.int64)[:, None] * out_stride + k.to(tl.int64)[None, :] * in_stride
    )
    value = total.to(grad_weight.dtype.element_ty)
    tl.store(places, value, mask=real_n[:, None] & real_k[None, :])
