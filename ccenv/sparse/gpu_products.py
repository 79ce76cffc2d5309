"""Products on the GPU: (x, weight, masks, lists) -> act(x W + b) on kept blocks.

Many rows: output by output block, by tiles of the rows that keep it or, where these keep few input
blocks, by exact pairs of blocks. Few rows: each row on its own.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.sparse import triton_tiles, triton_vectors
from ccenv.sparse.gpu_launch import launch
from ccenv.sparse.gpu_lists import LayerLists, list_blocks, list_needed
from ccenv.sparse.gpu_pairs import Steps, list_steps, multiply_steps
from ccenv.sparse.gpu_plan import (
    OUTER_UNITS,
    VECTOR_INNER,
    VECTOR_OUTER,
    Cut,
    Tile,
    choose_tile,
    cut_inner,
    cut_outer,
    power_of_two,
    product_precision,
)
from ccenv.sparse.gpu_roofline import card_of
from ccenv.sparse.gpu_step_plan import plan_steps


@dataclass(frozen=True)
class Listed:
    """How the product of many rows is cut, and what its masks make of the cuts."""

    inner: Cut
    """the side that is summed over."""
    outer: Cut
    """the side of the results."""
    tile: Tile
    """of the product by tiles."""
    needed: tuple[Tensor | None, ...]
    """input blocks of each tile, their bits and their number; Nones without an input mask."""
    steps: Steps | None
    """exact pairs, and the chunks of rows that take them; None where no chunk may."""


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

    Args:
        x: [batch, in_features], rows without gaps.
        weight: [out_features, in_features], any strides.
        bias: [out_features] without gaps, or None.
        in_mask: bool [batch, in_blocks] or None.
        out_mask: bool [batch, out_blocks] or None.
        activation: None, "tanh" or "relu".
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


def list_product(x: Tensor, weight: Tensor, in_blocks: int | None, lists: LayerLists) -> Listed:
    """Cuts the product of many rows and lists what its tiles and steps need."""
    batch, (out_features, in_features) = x.shape[0], weight.shape
    ins, outs = lists.ins, lists.outs
    inner = cut_inner(in_features, in_blocks, x.itemsize)
    out_blocks = None if outs is None else outs.rows.shape[0]
    outer = cut_outer(out_features, out_blocks, OUTER_UNITS[x.itemsize])
    tile = choose_tile(batch, inner, outer, x.itemsize, is_listed=ins is not None)
    if ins is None:
        return Listed(inner, outer, tile, (None, None, None), None)
    needed = list_needed(ins, outs, inner.merged, batch, tile.rows)
    plan = plan_steps(
        batch,
        ins.rows.shape[0],
        inner,
        outer,
        tile,
        x.itemsize,
        card_of(x.device),
        is_listed=outs is not None,
        is_tf32=product_precision(x.dtype) == "tf32",
    )
    steps = None
    if plan is not None:
        steps = list_steps(plan, ins, outs, inner.merged, needed[2], tile.rows)
    return Listed(inner, outer, tile, needed, steps)


def multiply_listed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_blocks: int | None,
    lists: LayerLists,
    activation: str | None,
) -> Tensor:
    """Product of many rows; arguments as `multiply_rows`, the masks as lists."""
    listed = list_product(x, weight, in_blocks, lists)
    y = x.new_empty(x.shape[0], weight.shape[0])
    precision = product_precision(x.dtype)
    if listed.steps is not None:
        multiply_steps(x, weight, bias, lists, listed.steps, listed.outer, activation, precision, y)
    multiply_tiles(x, weight, bias, lists, listed, activation, precision, y)
    return y


def multiply_tiles(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lists: LayerLists,
    listed: Listed,
    activation: str | None,
    precision: str,
    y: Tensor,
) -> None:
    """Writes into y the outputs that are computed by tiles: all but those taken by steps."""
    batch, (out_features, in_features) = x.shape[0], weight.shape
    inner, outer, tile = listed.inner, listed.outer, listed.tile
    ins, outs, steps = lists.ins, lists.outs, listed.steps
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
        *listed.needed,
        None if steps is None else steps.counts,
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
        CHUNK=tile.rows if steps is None else steps.plan.chunk,
        ROWS=tile.rows,
        COLUMNS=outer.step,
        INNER=inner.step,
        PRECISION=precision,
        ACTIVATION=activation,
    )
