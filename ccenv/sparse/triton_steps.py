"""Triton kernel: (rows of a block, what they keep) -> steps of exact pairs, if these pay."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["batch", "capacity", "step_price", "row_price", "tile_price"])
def list_steps(
    codes,
    rows,
    counts,
    num_needed,
    step_rows,
    steps,
    num_steps,
    batch,
    in_blocks,
    capacity,
    step_price,
    row_price,
    tile_price,
    MERGED: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Lists the steps of a chunk of listed rows, and decides whether they are taken.

    A step is an input block and at most ROWS rows of the chunk that keep it. The number of steps is
    written, or -1 where tiles of TILE rows are cheaper, or where there are more than `capacity`.
    """
    chunk = tl.program_id(0)
    parts = tl.cdiv(batch, CHUNK)
    block = chunk // parts
    first = (chunk % parts) * CHUNK
    at = first + tl.arange(0, CHUNK)
    count = batch if rows is None else tl.load(counts + block)
    listed = at < count
    row = at
    if rows is not None:
        row = tl.load(rows + tl.cast(block, tl.int64) * batch + at, mask=listed, other=0)
    base = tl.cast(chunk, tl.int64) * capacity
    made = 0
    kept = 0
    for start in range(0, in_blocks, STEP):
        i = start + tl.arange(0, STEP)
        valid = (i < in_blocks)[:, None] & listed[None, :]
        places = codes + (i // MERGED).to(tl.int64)[:, None] * batch + row[None, :]
        keep = (tl.load(places, mask=valid, other=0) >> (i % MERGED)[:, None]) & 1
        rank = tl.cumsum(keep, 1) - keep
        number = tl.sum(keep, 1)
        need = (number + ROWS - 1) // ROWS
        begin = made + tl.cumsum(need, 0) - need
        fits = begin + need <= capacity
        into = step_rows + (base + begin)[:, None] * ROWS + rank
        listing = tl.broadcast_to(row[None, :], (STEP, CHUNK))
        tl.store(into, listing, mask=(keep != 0) & fits[:, None])
        part = tl.arange(0, CHUNK // ROWS)
        # The block and the number of rows share a word, so that one load tells both.
        size = tl.minimum(number[:, None] - part[None, :] * ROWS, ROWS)
        mask = (part[None, :] < need[:, None]) & fits[:, None]
        tl.store(
            steps + (base + begin)[:, None] + part[None, :], i[:, None] * 256 + size, mask=mask
        )
        made += tl.sum(need, 0)
        kept += tl.sum(number, 0)
    tiles = tl.cdiv(batch, TILE)
    tile = first // TILE + tl.arange(0, CHUNK // TILE)
    needed = tl.sum(tl.load(num_needed + block * tiles + tile, mask=tile < tiles, other=0), 0)
    by_steps = made.to(tl.float32) * step_price + kept.to(tl.float32) * row_price
    by_tiles = needed.to(tl.float32) * tile_price
    is_taken = (made <= capacity) & (by_steps < by_tiles)
    tl.store(num_steps + chunk, tl.where(is_taken, made, -1))
