"""Products on the GPU: (x, weight, masks, lists) -> act(x W + b) on kept blocks.

Many rows: output block by output block, by tiles of the rows that keep it. Few rows: each row on
its own, with the weights of its own pairs of blocks and no others; no tensor cores. One program
computes each output, in a fixed order: no atomics, and repeats are equal bit by bit.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ccenv.annexes.sparse_gpu.lists import LayerLists, list_blocks, needed_groups, rows_and_counts
from ccenv.annexes.sparse_gpu.plan import (
    OUTER_UNITS,
    VECTOR_INNER,
    VECTOR_OUTER,
    choose_tile,
    cut_inner,
    cut_outer,
    launch,
    power_of_two,
    product_precision,
)
from ccenv.sparse.operands import Operands


@triton.jit
def activated(z, ACTIVATION: tl.constexpr):
    """Applies tanh, relu or nothing; NaN stays NaN."""
    if ACTIVATION == "relu":
        z = tl.where(z < 0, 0.0, z)
    if ACTIVATION == "tanh":
        size = tl.abs(z)
        shrunk = tl.exp(-2.0 * size)
        large = (1.0 - shrunk) / (1.0 + shrunk)
        # Near 0 that would cancel; the Taylor series to the ninth power does not.
        square = z * z
        series = 62.0 / 2835.0
        series = -17.0 / 315.0 + square * series
        series = 2.0 / 15.0 + square * series
        series = -1.0 / 3.0 + square * series
        small = size + size * square * series
        value = tl.where(size < 0.25, small, large)
        z = tl.where(z < 0, -value, value)
    return z


@triton.jit
def summed(
    x,
    weight,
    codes,
    needed,
    needed_bits,
    steps,
    row,
    listed,
    column,
    real_column,
    batch,
    in_features,
    x_stride,
    out_stride,
    in_stride,
    IN_BLOCK: tl.constexpr,
    MERGED: tl.constexpr,
    PIECES: tl.constexpr,
    EVEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
    APART: tl.constexpr,
):
    """Sums products over the needed input blocks, float32 [ROWS, COLUMNS].

    A row that skips a block reads zeros in its place. Where weights are finite that is enough;
    APART also multiplies each block apart and selects the rows that keep it, so that infinite or
    NaN weights cannot reach the others (0 times NaN is NaN).
    """
    total = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    unit = tl.arange(0, INNER)
    from_row = x + row.to(tl.int64)[:, None] * x_stride
    to_column = weight + column.to(tl.int64)[None, :] * out_stride
    for step in tl.range(0, steps, num_stages=1 if APART else None):
        place = step // PIECES
        group = place if needed is None else tl.load(needed + place)
        start = group * (MERGED * IN_BLOCK) + (step % PIECES) * INNER
        k = start + unit
        # A group ends where the next one begins, and the last one where the layer does.
        end = tl.minimum((group + 1) * (MERGED * IN_BLOCK), in_features)
        inside = k < end
        x_mask = listed[:, None]
        if not EVEN:
            x_mask = x_mask & inside[None, :]
        if codes is not None:
            code = tl.load(codes + tl.cast(group, tl.int64) * batch + row, mask=listed, other=0)
            if MERGED == 1:
                x_mask = x_mask & (code != 0)[:, None]
            else:
                x_mask = x_mask & (((code[:, None] >> (unit // IN_BLOCK)[None, :]) & 1) != 0)
        w_mask = real_column[None, :]
        if not EVEN:
            w_mask = w_mask & inside[:, None]
        if needed_bits is not None:
            # Of a group only the blocks that a row of the tile keeps are read.
            bits = tl.load(needed_bits + place)
            w_mask = w_mask & (((bits >> (unit // IN_BLOCK)) & 1) != 0)[:, None]
        x_places = from_row + k[None, :]
        w_places = to_column + k.to(tl.int64)[:, None] * in_stride
        if APART:
            for block in tl.range(0, MERGED, num_stages=1):
                mine = unit // IN_BLOCK == block
                if MERGED == 1:
                    mine = unit >= 0
                a = tl.load(x_places, mask=x_mask & mine[None, :], other=0.0)
                b = tl.load(w_places, mask=w_mask & mine[:, None], other=0.0)
                part = tl.dot(a, b, input_precision=PRECISION)
                keep = ((code >> block) & 1) != 0
                total += tl.where(keep[:, None], part, 0.0)
        else:
            a = tl.load(x_places, mask=x_mask, other=0.0)
            b = tl.load(w_places, mask=w_mask, other=0.0)
            total = tl.dot(a, b, total, input_precision=PRECISION)
    return total


@triton.jit(do_not_specialize=["batch"])
def multiply_tiles(
    x,
    weight,
    bias,
    y,
    rows,
    counts,
    codes,
    needed,
    needed_bits,
    num_needed,
    batch,
    in_features,
    out_features,
    out_tiles,
    in_groups,
    x_stride,
    y_stride,
    out_stride,
    in_stride,
    IN_BLOCK: tl.constexpr,
    MERGED: tl.constexpr,
    PIECES: tl.constexpr,
    EVEN: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Writes every output of a block once: computed for rows that keep it, zero for the others.

    Programs of the first tiles, which have work, come first.
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
        row = tl.load(rows + tl.cast(block, tl.int64) * batch + at, mask=at < batch, other=0)
    listed = at < count
    z = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    if tile * ROWS < count:
        steps = in_groups * PIECES
        if needed is not None:
            # All blocks share the tiles of rows that are not listed, and what these need.
            which = tile if rows is None else block * tl.cdiv(batch, ROWS) + tile
            steps = tl.load(num_needed + which) * PIECES
            needed += tl.cast(which, tl.int64) * in_groups
            if needed_bits is not None:
                needed_bits += tl.cast(which, tl.int64) * in_groups
        z = summed(
            x, weight, codes, needed, needed_bits, steps, row, listed, column, real_column,
            batch, in_features, x_stride, out_stride, in_stride,
            IN_BLOCK, MERGED, PIECES, EVEN, ROWS, COLUMNS, INNER, PRECISION, False,
        )  # fmt: skip
        # Two conditions, because the first is known when the kernel is compiled.
        if codes is not None:  # noqa: SIM102
            # NaN tells that something was not finite. It is computed once more, block by block.
            if tl.sum(tl.sum((z != z).to(tl.int32), 1), 0) > 0:
                z = summed(
                    x, weight, codes, needed, needed_bits, steps, row, listed, column, real_column,
                    batch, in_features, x_stride, out_stride, in_stride,
                    IN_BLOCK, MERGED, PIECES, EVEN, ROWS, COLUMNS, INNER, PRECISION, True,
                )  # fmt: skip
        if bias is not None:
            z += tl.load(bias + column, mask=real_column, other=0.0).to(tl.float32)[None, :]
        z = tl.where(listed[:, None], activated(z, ACTIVATION), 0.0)
    places = y + row.to(tl.int64)[:, None] * y_stride + column[None, :]
    tl.store(places, z.to(y.dtype.element_ty), mask=(at < batch)[:, None] & real_column[None, :])


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


def mask_blocks(mask: Tensor | None) -> int | None:
    """Blocks of a mask [batch, blocks], None without one."""
    return None if mask is None else mask.shape[1]


def mask_bytes(mask: Tensor | None) -> Tensor | None:
    """A mask as kernels read it."""
    return None if mask is None else mask.view(torch.uint8)


def mask_strides(mask: Tensor | None) -> tuple[int, ...]:
    """Strides of a mask, 0 without one."""
    return (0, 0) if mask is None else mask.stride()


def multiply_few(operands: Operands, activation: str | None) -> Tensor:
    """Product of few rows, each with the weights of its own pairs of blocks.

    Rows of x and the bias lie without gaps.
    """
    x, weight, bias, in_mask, out_mask = operands
    batch, (out_features, in_features) = x.shape[0], weight.shape
    # Without a mask the blocks are those that the sum takes at once.
    in_blocks = mask_blocks(in_mask) or math.ceil(in_features / VECTOR_INNER)
    in_block = VECTOR_INNER if in_mask is None else in_features // in_blocks
    outer = cut_outer(out_features, mask_blocks(out_mask), VECTOR_OUTER)
    blocks, counts = (None, None) if in_mask is None else list_blocks(in_mask)
    y = x.new_empty(batch, out_features)
    launch(
        multiply_vectors,
        batch * outer.num_tiles,
        x,
        weight,
        bias,
        y,
        blocks,
        counts,
        mask_bytes(out_mask),
        in_features,
        out_features,
        outer.num_tiles,
        in_blocks,
        x.stride(0),
        y.stride(0),
        *weight.stride(),
        *mask_strides(out_mask),
        IN_BLOCK=in_block,
        PADDED=power_of_two(in_block),
        OUT_BLOCK=outer.block,
        OUT_PIECES=outer.pieces,
        COLUMNS=outer.step,
        INNER=VECTOR_INNER,
        ACTIVATION=activation,
    )
    return y


def multiply_listed(operands: Operands, lists: LayerLists, activation: str | None) -> Tensor:
    """Product of many rows, by tiles; the masks are read as lists."""
    x, weight, bias, in_mask, out_mask = operands
    batch, (out_features, in_features) = x.shape[0], weight.shape
    ins, outs = lists.ins, lists.outs
    inner = cut_inner(in_features, mask_blocks(in_mask), x.itemsize)
    outer = cut_outer(out_features, mask_blocks(out_mask), OUTER_UNITS[x.itemsize])
    tile = choose_tile(batch, inner, outer, x.itemsize, is_listed=ins is not None)
    needed: tuple[Tensor | None, ...] = (None, None, None)
    if ins is not None:
        needed = needed_groups(ins, outs, inner.merged, batch, tile.rows)
    y = x.new_empty(batch, out_features)
    launch(
        multiply_tiles,
        math.ceil(batch / tile.rows) * outer.num_tiles,
        x,
        weight,
        bias,
        y,
        *rows_and_counts(outs),
        None if ins is None else ins.codes,
        *needed,
        batch,
        in_features,
        out_features,
        outer.num_tiles,
        inner.num_groups,
        x.stride(0),
        y.stride(0),
        *weight.stride(),
        warps=tile.warps,
        stages=tile.stages,
        IN_BLOCK=inner.block,
        MERGED=inner.merged,
        PIECES=inner.pieces,
        EVEN=inner.is_even,
        OUT_BLOCK=outer.block,
        OUT_PIECES=outer.pieces,
        ROWS=tile.rows,
        COLUMNS=outer.step,
        INNER=inner.step,
        PRECISION=product_precision(x.dtype),
        ACTIVATION=activation,
    )
    return y
