"""Index lists of kept blocks on the GPU: (block masks) -> lists of rows, blocks and pairs.

Lists have a fixed stride, so that places never depend on a mask and no kernel waits for a count.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ccenv.annexes.sparse_gpu.plan import (
    SORTED_BLOCKS,
    SORTED_ROWS,
    cut_inner,
    launch,
    power_of_two,
)


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


@dataclass(frozen=True)
class MaskLists:
    """One side's mask, listed; the strides never depend on the mask."""

    rows: Tensor
    """int32 [num_blocks, batch]; rows that keep the block, then those that skip it."""
    counts: Tensor
    """int32 [num_blocks]; how many keep it."""
    codes: Tensor
    """int32 [num_groups, batch]; what a row keeps of a group's blocks, a bit for each."""


@dataclass(frozen=True)
class LayerLists:
    """Both sides of a layer; None for a side without a mask."""

    ins: MaskLists | None
    """of the input blocks."""
    outs: MaskLists | None
    """of the output blocks."""


def rows_and_counts(side: MaskLists | None) -> tuple[Tensor | None, Tensor | None]:
    """Lists of a side as kernels take them: None where all is kept."""
    return (None, None) if side is None else (side.rows, side.counts)


def list_layer(
    x: Tensor, weight: Tensor, in_mask: Tensor | None, out_mask: Tensor | None
) -> LayerLists:
    """Lists both masks of a layer, as its products in both directions read them."""

    def side(width: int, mask: Tensor | None, other: Tensor | None) -> MaskLists | None:
        if mask is None:
            return None
        merged = cut_inner(width, mask.shape[1], x.itemsize).merged
        return list_mask(mask, merged, kept_order(other))

    out_features, in_features = weight.shape
    return LayerLists(side(in_features, in_mask, out_mask), side(out_features, out_mask, in_mask))


def list_mask(mask: Tensor, merged: int, order: Tensor | None) -> MaskLists:
    """Lists the rows of each block, in an order int32 [batch] or their own; groups of so many."""
    batch, num_blocks = mask.shape
    groups = math.ceil(num_blocks / merged)
    made = MaskLists(
        rows=torch.empty(num_blocks, batch, dtype=torch.int32, device=mask.device),
        counts=torch.empty(num_blocks, dtype=torch.int32, device=mask.device),
        codes=torch.empty(groups, batch, dtype=torch.int32, device=mask.device),
    )
    launch(
        list_items,
        groups,
        mask.view(torch.uint8),
        order,
        made.rows,
        made.counts,
        made.codes,
        num_blocks,
        batch,
        mask.stride(1),
        mask.stride(0),
        MERGED=merged,
        STEP=min(2048, power_of_two(batch)),
    )
    return made


def kept_order(mask: Tensor | None) -> Tensor | None:
    """Rows sorted by what they keep of the other side, int32 [batch], where that pays.

    Neighbours in a list then need the same few blocks. With many blocks hardly two rows are alike.
    """
    if mask is None or mask.shape[1] > SORTED_BLOCKS or mask.shape[0] < SORTED_ROWS:
        return None
    bits = torch.arange(mask.shape[1], dtype=torch.int32, device=mask.device)
    codes = (mask.to(torch.int32) << bits).sum(dim=1, dtype=torch.int32)
    return codes.argsort(stable=True).to(torch.int32)


def list_blocks(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Lists the blocks of each row: int32 [batch, num_blocks] and how many it keeps, [batch]."""
    batch, num_blocks = mask.shape
    blocks = torch.empty(batch, num_blocks, dtype=torch.int32, device=mask.device)
    counts = torch.empty(batch, dtype=torch.int32, device=mask.device)
    launch(
        list_items,
        batch,
        mask.view(torch.uint8),
        None,
        blocks,
        counts,
        None,
        batch,
        num_blocks,
        mask.stride(0),
        mask.stride(1),
        MERGED=1,
        STEP=min(1024, power_of_two(num_blocks)),
    )
    return blocks, counts


def needed_groups(
    ins: MaskLists, outs: MaskLists | None, merged: int, batch: int, rows: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Lists, for each tile of so many listed rows, the groups of input blocks that they need.

    `outs` is None where every row is in every tile's block; `merged` blocks are a group. Gives the
    groups, int32 [out_blocks * tiles, in_groups]; where they have several blocks, the bits of those
    that are needed, of the same shape; how many groups, int32 [out_blocks * tiles].
    """
    num_groups = ins.codes.shape[0]
    tiles = math.ceil(batch / rows) * (1 if outs is None else outs.rows.shape[0])
    needed = ins.codes.new_empty(tiles, num_groups)
    bits = torch.empty_like(needed) if merged > 1 else None
    num_needed = ins.codes.new_empty(tiles)
    launch(
        list_needed,
        tiles,
        ins.codes,
        *rows_and_counts(outs),
        needed,
        bits,
        num_needed,
        batch,
        num_groups,
        MERGED=merged,
        ROWS=rows,
        STEP=min(64, power_of_two(num_groups)),
    )
    return needed, bits, num_needed


def rows_of_pairs(
    ins: MaskLists, outs: MaskLists, merged: int, first: int, num_blocks: int
) -> tuple[Tensor, Tensor]:
    """Lists the rows that keep both blocks of a pair, for `num_blocks` output blocks from `first`.

    int32 [num_blocks, in_blocks, batch], and how many, int32 [num_blocks, in_blocks].
    """
    in_blocks, batch = ins.rows.shape
    rows = torch.empty(num_blocks, in_blocks, batch, dtype=torch.int32, device=ins.rows.device)
    counts = torch.empty(num_blocks, in_blocks, dtype=torch.int32, device=ins.rows.device)
    launch(
        list_pairs,
        num_blocks * in_blocks,
        outs.rows,
        outs.counts,
        ins.codes,
        rows,
        counts,
        batch,
        first,
        in_blocks,
        MERGED=merged,
        STEP=min(1024, power_of_two(batch)),
    )
    return rows, counts
