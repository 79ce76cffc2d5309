"""Triton kernel for few rows: (one row, one tile of outputs) -> act(x W + b) over its own blocks.

Each row reads the weights of its own pairs of blocks and no others; no tensor cores.
"""

import triton
import triton.language as tl

from ccenv.sparse.gpu.kernels.tiles import activated


@triton.jit
def multiply_vectors(
    x,
    weight,
    bias,
    y,
    blocks,
    counts,
    out_mask,
    in_features,
    out_features,
    out_tiles,
    in_blocks,
    x_stride,
    y_stride,
    out_stride,
    in_stride,
    mask_row_stride,
    mask_block_stride,
    IN_BLOCK: tl.constexpr,
    PADDED: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Computes a tile of outputs of a row, or writes zeros where the row skips their block.

    Listed input blocks lie side by side in the sum, each padded to a power of two.
    """
    pid = tl.program_id(0)
    row = (pid // out_tiles).to(tl.int64)
    block = (pid % out_tiles) // OUT_PIECES
    offset = (pid % OUT_PIECES) * COLUMNS + tl.arange(0, COLUMNS)
    column = block * OUT_BLOCK + offset
    real_column = (offset < OUT_BLOCK) & (column < out_features)
    keeps = 1
    if out_mask is not None:
        keeps = tl.load(out_mask + row * mask_row_stride + block * mask_block_stride).to(tl.int32)
    z = tl.full((COLUMNS,), 0.0, tl.float32)
    if keeps != 0:
        count = in_blocks if blocks is None else tl.load(counts + row)
        products = tl.full((INNER, COLUMNS), 0.0, tl.float32)
        for start in range(0, count * PADDED, INNER):
            at = start + tl.arange(0, INNER)
            place = at // PADDED
            unit = at % PADDED
            valid = (place < count) & (unit < IN_BLOCK)
            listed = place
            if blocks is not None:
                listed = tl.load(blocks + row * in_blocks + place, mask=valid, other=0)
            k = listed * IN_BLOCK + unit
            valid = valid & (k < in_features)
            a = tl.load(x + row * x_stride + k, mask=valid, other=0.0)
            w_places = (
                weight
                + k.to(tl.int64)[:, None] * in_stride
                + column.to(tl.int64)[None, :] * out_stride
            )
            b = tl.load(w_places, mask=valid[:, None] & real_column[None, :], other=0.0)
            products += a.to(tl.float32)[:, None] * b.to(tl.float32)
        z = tl.sum(products, 0)
        if bias is not None:
            z += tl.load(bias + column, mask=real_column, other=0.0).to(tl.float32)
        z = activated(z, ACTIVATION)
    tl.store(y + row * y_stride + column, z.to(y.dtype.element_ty), mask=real_column)
