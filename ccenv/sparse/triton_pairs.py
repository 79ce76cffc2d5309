"""Triton kernels: (rows that keep both blocks of a pair) -> act(x W + b) by exact pairs of blocks.

A program owns an output block of a few hundred rows, a chunk of the block's list, and walks over
input blocks: it multiplies the rows of the chunk that keep both and adds the products to sums of
its own in memory. Nobody else touches these sums: no atomics, and repeats are equal bit by bit.
"""

import triton
import triton.language as tl

from ccenv.sparse.triton_tiles import activated


@triton.jit
def step_at(steps, step_rows, step, number, PIECES: tl.constexpr, ROWS: tl.constexpr):
    """Input block of a step, how many rows it has, none beyond the last step, and the rows."""
    which = step // PIECES
    word = tl.load(steps + which, mask=step < number, other=0)
    place = tl.arange(0, ROWS)
    size = word % 256
    row = tl.load(step_rows + which * ROWS + place, mask=place < size, other=0)
    return word // 256, size, row.to(tl.int64)


@triton.jit
def operands_of(
    x,
    weight,
    block,
    piece,
    size,
    row,
    column,
    real_column,
    x_stride,
    out_stride,
    in_stride,
    IN_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Inputs [ROWS, INNER] and weights [INNER, COLUMNS] of a step, zero beyond its ends."""
    unit = piece * INNER + tl.arange(0, INNER)
    k = block * IN_BLOCK + unit
    # No weight is read for a step without rows.
    inside = unit < tl.where(size > 0, IN_BLOCK, 0)
    listed = tl.arange(0, ROWS) < size
    x_places = x + row[:, None] * x_stride + k[None, :]
    w_places = (
        weight + column.to(tl.int64)[None, :] * out_stride + k.to(tl.int64)[:, None] * in_stride
    )
    a = tl.load(x_places, mask=listed[:, None] & inside[None, :], other=0.0)
    b = tl.load(w_places, mask=inside[:, None] & real_column[None, :], other=0.0)
    return a, b


@triton.jit(do_not_specialize=["batch", "capacity"])
def multiply_steps(
    x,
    weight,
    bias,
    sums,
    y,
    rows,
    counts,
    step_rows,
    steps,
    num_steps,
    batch,
    out_features,
    out_tiles,
    capacity,
    x_stride,
    y_stride,
    out_stride,
    in_stride,
    IN_BLOCK: tl.constexpr,
    PIECES: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    CHUNK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Writes the outputs of the chunks whose steps are taken; other chunks are left to tiles.

    `sums` is float32, laid out as y, and may be y. Why no sum is lost, within a program: the rows
    of a step differ, so that no two threads add to the same sum between two barriers; a barrier
    ends every step, after which all threads see what it has stored. Loads of sums stand between
    barriers and are never brought forward: loops that store are not pipelined (one stage). What is
    fetched ahead by hand, inputs, weights and lists, is never written here.
    """
    pid = tl.program_id(0)
    part = pid // out_tiles
    block = (pid % out_tiles) // OUT_PIECES
    offset = (pid % OUT_PIECES) * COLUMNS + tl.arange(0, COLUMNS)
    column = block * OUT_BLOCK + offset
    real_column = (offset < OUT_BLOCK) & (column < out_features)
    # All blocks share the chunks of rows that are not listed.
    which = part if rows is None else block * tl.cdiv(batch, CHUNK) + part
    number = tl.load(num_steps + which) * PIECES
    if number >= 0:
        first = part * CHUNK
        count = batch if rows is None else tl.load(counts + block)
        listing = rows if rows is None else rows + tl.cast(block, tl.int64) * batch
        steps += tl.cast(which, tl.int64) * capacity
        step_rows += tl.cast(which, tl.int64) * capacity * ROWS
        slot = tl.arange(0, ROWS)
        for start in tl.range(first, tl.minimum(first + CHUNK, count), ROWS, num_stages=1):
            at = start + slot
            listed = at < count
            row = at if rows is None else tl.load(listing + at, mask=listed, other=0)
            places = sums + row.to(tl.int64)[:, None] * y_stride + column[None, :]
            zeros = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
            tl.store(places, zeros, mask=listed[:, None] & real_column[None, :])
        tl.debug_barrier()
        i, size, row = step_at(steps, step_rows, 0, number, PIECES, ROWS)
        a, b = operands_of(
            x, weight, i, 0, size, row, column, real_column, x_stride, out_stride, in_stride,
            IN_BLOCK, ROWS, INNER,
        )  # fmt: skip
        next_i, next_size, next_row = step_at(steps, step_rows, 1, number, PIECES, ROWS)
        for step in tl.range(0, number, num_stages=1):
            places = sums + row[:, None] * y_stride + column[None, :]
            mask = (slot < size)[:, None] & real_column[None, :]
            before = tl.load(places, mask=mask, other=0.0)
            next_a, next_b = operands_of(
                x, weight, next_i, (step + 1) % PIECES, next_size, next_row, column, real_column,
                x_stride, out_stride, in_stride, IN_BLOCK, ROWS, INNER,
            )  # fmt: skip
            after_i, after_size, after_row = step_at(
                steps, step_rows, step + 2, number, PIECES, ROWS
            )
            product = tl.dot(a, b, input_precision=PRECISION)
            tl.store(places, before + product, mask=mask)
            tl.debug_barrier()
            size, row, a, b = next_size, next_row, next_a, next_b
            next_i, next_size, next_row = after_i, after_size, after_row
        for start in tl.range(first, tl.minimum(first + CHUNK, batch), ROWS, num_stages=1):
            at = start + slot
            listed = at < count
            row = at if rows is None else tl.load(listing + at, mask=at < batch, other=0)
            row = row.to(tl.int64)
            places = row[:, None] * y_stride + column[None, :]
            z = tl.load(sums + places, mask=listed[:, None] & real_column[None, :], other=0.0)
            if bias is not None:
                z += tl.load(bias + column, mask=real_column, other=0.0).to(tl.float32)[None, :]
            z = tl.where(listed[:, None], activated(z, ACTIVATION), 0.0)
            mask = (at < batch)[:, None] & real_column[None, :]
            tl.store(y + places, z.to(y.dtype.element_ty), mask=mask)
