"""Index lists of kept blocks on the GPU: (block masks) -> lists of rows, blocks and pairs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.sparse.gpu.kernels import lists as triton_lists
from ccenv.sparse.gpu.plan import SORTED_BLOCKS, SORTED_ROWS, cut_inner, launch, power_of_two


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


def list_layer(
    x: Tensor, weight: Tensor, in_mask: Tensor | None, out_mask: Tensor | None
) -> LayerLists:
    """Lists both masks of a layer, as its products in both directions read them."""
    sides: list[MaskLists | None] = []
    for width, mask, other in (
        (weight.shape[1], in_mask, out_mask),
        (weight.shape[0], out_mask, in_mask),
    ):
        if mask is None:
            sides.append(None)
        else:
            merged = cut_inner(width, mask.shape[1], x.itemsize).merged
            sides.append(list_mask(mask, merged, kept_order(other)))
    return LayerLists(*sides)


def list_mask(mask: Tensor, merged: int, order: Tensor | None) -> MaskLists:
    """Lists the rows of each block.

    Args:
        mask: bool [batch, num_blocks].
        merged: blocks of a group.
        order: int32 [batch], the order in which rows are listed, None for their own.
    """
    batch, num_blocks = mask.shape
    groups = math.ceil(num_blocks / merged)
    made = MaskLists(
        rows=torch.empty(num_blocks, batch, dtype=torch.int32, device=mask.device),
        counts=torch.empty(num_blocks, dtype=torch.int32, device=mask.device),
        codes=torch.empty(groups, batch, dtype=torch.int32, device=mask.device),
    )
    launch(
        triton_lists.list_items,
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
        triton_lists.list_items,
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


def list_needed(
    ins: MaskLists, outs: MaskLists | None, merged: int, batch: int, rows: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Lists, for each tile of so many listed rows, the groups of input blocks that they need.

    `outs` is None where every row is in every tile's block; `merged` blocks are a group.

    Returns:
        Groups, int32 [out_blocks * tiles, in_groups]; where they have several blocks, the bits of
        those that are needed, of the same shape; how many groups, int32 [out_blocks * tiles].
    """
    num_groups = ins.codes.shape[0]
    tiles = math.ceil(batch / rows) * (1 if outs is None else outs.rows.shape[0])
    needed = ins.codes.new_empty(tiles, num_groups)
    bits = torch.empty_like(needed) if merged > 1 else None
    num_needed = ins.codes.new_empty(tiles)
    launch(
        triton_lists.list_needed,
        tiles,
        ins.codes,
        None if outs is None else outs.rows,
        None if outs is None else outs.counts,
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


def list_pairs(
    ins: MaskLists, outs: MaskLists, merged: int, first: int, num_blocks: int
) -> tuple[Tensor, Tensor]:
    """Lists the rows that keep both blocks of a pair, for `num_blocks` output blocks from `first`.

    Returns:
        int32 [num_blocks, in_blocks, batch] and how many, int32 [num_blocks, in_blocks].
    """
    in_blocks, batch = ins.rows.shape
    rows = torch.empty(num_blocks, in_blocks, batch, dtype=torch.int32, device=ins.rows.device)
    counts = torch.empty(num_blocks, in_blocks, dtype=torch.int32, device=ins.rows.device)
    launch(
        triton_lists.list_pairs,
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
