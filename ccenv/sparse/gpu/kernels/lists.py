"""Triton kernels: (block masks) -> lists of the rows and blocks that are kept, on the device.

Lists have a fixed stride, so that places never depend on a mask and no kernel waits for a count.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["items"])
def list_items(
    mask,
    order,
    lists,
    counts,
    codes,
    groups,
    items,
    group_stride,
    item_stride,
    MERGED: tl.constexpr,
    STEP: tl.constexpr,
):
    """Lists, for each group (a block), the items (rows) that keep it, then those that skip it.

    A program takes MERGED neighbouring groups, and packs what each item keeps of them in the bits
    of one code. `order` says in which order items are listed, None for their own.
    """
    chunk = tl.program_id(0)
    for group in range(chunk * MERGED, tl.minimum(chunk * MERGED + MERGED, groups)):
        bits = mask + tl.cast(group, tl.int64) * group_stride
        into = lists + tl.cast(group, tl.int64) * items
        kept = 0
        for start in range(0, items, STEP):
            at = start + tl.arange(0, STEP)
            valid = at < items
            item = at if order is None else tl.load(order + at, mask=valid, other=0)
            keep = tl.load(bits + item.to(tl.int64) * item_stride, mask=valid, other=0)
            keep = keep.to(tl.int32)
            rank = kept + tl.cumsum(keep, 0) - keep
            # Those that skip fill the list from its end: each item has one place.
            place = tl.where(keep != 0, rank, items - 1 - (at - rank))
            tl.store(into + place, item, mask=valid)
            kept += tl.sum(keep, 0)
        tl.store(counts + group, kept)
    if codes is not None:
        for start in range(0, items, STEP):
            at = start + tl.arange(0, STEP)
            valid = at < items
            code = tl.full((STEP,), 0, tl.int32)
            for merged in range(tl.minimum(MERGED, groups - chunk * MERGED)):
                group = chunk * MERGED + merged
                bits = mask + tl.cast(group, tl.int64) * group_stride
                keep = tl.load(bits + at.to(tl.int64) * item_stride, mask=valid, other=0)
                code |= keep.to(tl.int32) << merged
            tl.store(codes + tl.cast(chunk, tl.int64) * items + at, code, mask=valid)


@triton.jit(do_not_specialize=["batch"])
def list_needed(
    codes,
    rows,
    counts,
    needed,
    needed_bits,
    num_needed,
    batch,
    num_groups,
    MERGED: tl.constexpr,
    ROWS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Lists, for each tile of ROWS listed rows, the groups of input blocks that any of them keeps.

    A group of several blocks has the bits of those that are kept. Without `rows` a tile
    takes its rows as they lie.
    """
    tile = tl.program_id(0)
    tiles = tl.cdiv(batch, ROWS)
    block = tile // tiles
    first = (tile % tiles) * ROWS
    at = first + tl.arange(0, ROWS)
    count = batch if rows is None else tl.load(counts + block)
    listed = at < count
    into = tl.cast(tile, tl.int64) * num_groups
    kept = 0
    if first < count:
        if rows is None:
            row = at
        else:
            row = tl.load(rows + tl.cast(block, tl.int64) * batch + at, mask=listed, other=0)
        for start in range(0, num_groups, STEP):
            group = start + tl.arange(0, STEP)
            valid = (group < num_groups)[:, None] & listed[None, :]
            places = codes + tl.cast(group, tl.int64)[:, None] * batch + row[None, :]
            code = tl.load(places, mask=valid, other=0)
            if MERGED == 1:
                bits = tl.max(code, axis=1)
            else:
                bits = tl.full((STEP,), 0, tl.int32)
                for merged in range(MERGED):
                    bits |= tl.max((code >> merged) & 1, axis=1) << merged
            need = (bits != 0).to(tl.int32)
            place = into + kept + tl.cumsum(need, 0) - need
            tl.store(needed + place, group, mask=need != 0)
            if needed_bits is not None:
                tl.store(needed_bits + place, bits, mask=need != 0)
            kept += tl.sum(need, 0)
    tl.store(num_needed + tile, kept)


@triton.jit(do_not_specialize=["batch", "first_block"])
def list_pairs(
    rows,
    counts,
    codes,
    pair_rows,
    pair_counts,
    batch,
    first_block,
    in_blocks,
    MERGED: tl.constexpr,
    STEP: tl.constexpr,
):
    """Lists, for each pair of an output and an input block, the rows that keep both."""
    pair = tl.program_id(0)
    out_block = first_block + pair // in_blocks
    in_block = pair % in_blocks
    count = tl.load(counts + out_block)
    source = rows + tl.cast(out_block, tl.int64) * batch
    bits = codes + tl.cast(in_block // MERGED, tl.int64) * batch
    into = pair_rows + tl.cast(pair, tl.int64) * batch
    kept = 0
    for start in range(0, count, STEP):
        at = start + tl.arange(0, STEP)
        row = tl.load(source + at, mask=at < count, other=0)
        code = tl.load(bits + row, mask=at < count, other=0)
        keep = (code >> (in_block % MERGED)) & 1
        place = kept + tl.cumsum(keep, 0) - keep
        tl.store(into + place, row, mask=keep != 0)
        kept += tl.sum(keep, 0)
    tl.store(pair_counts + pair, kept)
