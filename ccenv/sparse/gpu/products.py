"""Products on the GPU: (x, weight, masks, lists) -> act(x W + b) on kept blocks.

Many rows: output block by output block, by tiles of the rows that keep it. Few rows: each row on
its own.
"""

import math

import torch
from torch import Tensor

from ccenv.sparse.gpu.kernels import tiles as triton_tiles
from ccenv.sparse.gpu.kernels import vectors as triton_vectors
from ccenv.sparse.gpu.lists import LayerLists, list_blocks, list_needed
from ccenv.sparse.gpu.plan import (
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


def blocks_of(mask: Tensor | None) -> int | None:
    """Blocks of a mask [batch, blocks], None without one."""
    return None if mask is None else mask.shape[1]


def multiply_rows(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
) -> Tensor:
    """Product of few rows, each with the weights of its own pairs of blocks.

    Arguments as `block_sparse_linear`; rows of x and the bias lie without gaps.
    """
    batch, (out_features, in_features) = x.shape[0], weight.shape
    # Without a mask the blocks are those that the sum takes at once.
    in_blocks = blocks_of(in_mask) or math.ceil(in_features / VECTOR_INNER)
    in_block = VECTOR_INNER if in_mask is None else in_features // in_blocks
    outer = cut_outer(out_features, blocks_of(out_mask), VECTOR_OUTER)
    blocks, counts = (None, None) if in_mask is None else list_blocks(in_mask)
    y = x.new_empty(batch, out_features)
    launch(
        triton_vectors.multiply_vectors,
        batch * outer.num_tiles,
        x,
        weight,
        bias,
        y,
        blocks,
        counts,
        None if out_mask is None else out_mask.view(torch.uint8),
        in_features,
        out_features,
        outer.num_tiles,
        in_blocks,
        x.stride(0),
        y.stride(0),
        *weight.stride(),
        *((0, 0) if out_mask is None else out_mask.stride()),
        IN_BLOCK=in_block,
        PADDED=power_of_two(in_block),
        OUT_BLOCK=outer.block,
        OUT_PIECES=outer.pieces,
        COLUMNS=outer.step,
        INNER=VECTOR_INNER,
        ACTIVATION=activation,
    )
    return y


def multiply_listed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_blocks: int | None,
    lists: LayerLists,
    activation: str | None,
) -> Tensor:
    """Product of many rows, by tiles; arguments as `multiply_rows`, the masks as lists."""
    batch, (out_features, in_features) = x.shape[0], weight.shape
    ins, outs = lists.ins, lists.outs
    inner = cut_inner(in_features, in_blocks, x.itemsize)
    out_blocks = None if outs is None else outs.rows.shape[0]
    outer = cut_outer(out_features, out_blocks, OUTER_UNITS[x.itemsize])
    tile = choose_tile(batch, inner, outer, x.itemsize, is_listed=ins is not None)
    needed: tuple[Tensor | None, ...] = (None, None, None)
    if ins is not None:
        needed = list_needed(ins, outs, inner.merged, batch, tile.rows)
    y = x.new_empty(batch, out_features)
    launch(
        triton_tiles.multiply_tiles,
        math.ceil(batch / tile.rows) * outer.num_tiles,
        x,
        weight,
        bias,
        y,
        None if outs is None else outs.rows,
        None if outs is None else outs.counts,
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
