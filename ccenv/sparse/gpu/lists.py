"""Index lists of kept blocks on the GPU: (block masks) -> lists of rows, blocks and pairs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.sparse.gpu.kernels import lists as triton_lists
from ccenv.sparse.gpu.launch import launch
from ccenv.sparse.gpu.plan import SORTED_BLOCKS, SORTED_ROWS, Cut, power_of_two


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
    in_mask: Tensor | None, out_mask: Tensor | None, in_cut: Cut, out_cut: Cut
) -> LayerLists:
    """Lists both masks: bool [batch, blocks] or None, and how their sides are cut to be summed."""
    return LayerLists(
        ins=None if in_mask is None else list_mask(in_mask, in_cut.merged, kept_order(out_mask)),
        outs=None if out_mask is None else list_mask(out_mask, out_cut.merged, kept_order(in_mask)),
    )


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
    """Lists, for each tile of listed rows, the groups of input blocks that its rows need.

    Args:
        ins: of the input side.
        outs: of the output side, None where every row is in every tile's block.
        merged: input blocks of a group.
        batch: number of rows.
        rows: rows of a tile.

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
    """Lists the rows that keep both blocks of a pair, for some output blocks.

    Args:
        ins: of the input side.
        outs: of the output side.
        merged: input blocks of a group.
        first: the first output block.
        num_blocks: how many output blocks.

    Returns:
        int32 [num_blocks, in_blocks, batch] and int32 [num_blocks, in_blocks].
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
