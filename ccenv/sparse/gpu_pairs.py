"""Exact pairs of blocks on the GPU: (lists) -> steps, and which chunks of rows are worth them.

Tiles of an output block multiply all its rows with every input block that one of them keeps. Where
rows keep few input blocks each, most of these products are zeros. By steps only rows that keep both
blocks of a pair are multiplied, but their sums travel to memory and back at every step. Which is
cheaper is decided on the device, chunk by chunk, because only the device knows the masks.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.sparse import triton_pairs, triton_steps
from ccenv.sparse.gpu_launch import launch
from ccenv.sparse.gpu_lists import LayerLists, MaskLists
from ccenv.sparse.gpu_plan import Cut, power_of_two
from ccenv.sparse.gpu_step_plan import StepPlan


@dataclass(frozen=True)
class Steps:
    """Steps of all chunks."""

    plan: StepPlan
    """how they were cut."""
    rows: Tensor
    """int32 [chunks, capacity, plan.rows]; rows of each step."""
    blocks: Tensor
    """int32 [chunks, capacity]; a step's input block times 256, plus its number of rows."""
    counts: Tensor
    """int32 [chunks]; how many steps, -1 where tiles are taken."""


def list_steps(
    plan: StepPlan,
    ins: MaskLists,
    outs: MaskLists | None,
    merged: int,
    num_needed: Tensor,
    tile_rows: int,
) -> Steps:
    """Lists the steps of every chunk and decides which chunks take them.

    Args:
        plan: how the layer is cut.
        ins: of the input side.
        outs: of the output side, None where every row is in every chunk's block.
        merged: input blocks that share a code.
        num_needed: int32 [out_blocks * tiles]; groups of input blocks that each tile needs.
        tile_rows: rows of a tile.
    """
    in_blocks, batch = ins.rows.shape
    chunks = math.ceil(batch / plan.chunk) * (1 if outs is None else outs.rows.shape[0])
    made = Steps(
        plan=plan,
        rows=ins.rows.new_empty(chunks, plan.capacity, plan.rows),
        blocks=ins.rows.new_empty(chunks, plan.capacity),
        counts=ins.rows.new_empty(chunks),
    )
    launch(
        triton_steps.list_steps,
        chunks,
        ins.codes,
        None if outs is None else outs.rows,
        None if outs is None else outs.counts,
        num_needed,
        made.rows,
        made.blocks,
        made.counts,
        batch,
        in_blocks,
        plan.capacity,
        plan.step_price,
        plan.row_price,
        plan.tile_price,
        MERGED=merged,
        CHUNK=plan.chunk,
        TILE=tile_rows,
        ROWS=plan.rows,
        STEP=min(16, power_of_two(in_blocks)),
    )
    return made


def multiply_steps(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lists: LayerLists,
    steps: Steps,
    outer: Cut,
    activation: str | None,
    precision: str,
    y: Tensor,
) -> None:
    """Writes into y the outputs of chunks that are taken by steps, and touches no others.

    Args:
        x: [batch, in_features], rows without gaps.
        weight: [out_features, in_features], any strides.
        bias: [out_features] without gaps, or None.
        lists: of both sides.
        steps: of all chunks.
        outer: how the side of the results is cut.
        activation: None, "tanh" or "relu".
        precision: how float32 is multiplied.
        y: [batch, out_features] of x's dtype; float32 serves as the place of the sums as well.
    """
    plan, outs = steps.plan, lists.outs
    sums = y if y.dtype == torch.float32 else torch.empty_like(y, dtype=torch.float32)
    launch(
        triton_pairs.multiply_steps,
        math.ceil(x.shape[0] / plan.chunk) * outer.num_tiles,
        x,
        weight,
        bias,
        sums,
        y,
        None if outs is None else outs.rows,
        None if outs is None else outs.counts,
        steps.rows,
        steps.blocks,
        steps.counts,
        x.shape[0],
        weight.shape[0],
        outer.num_tiles,
        plan.capacity,
        x.stride(0),
        y.stride(0),
        *weight.stride(),
        IN_BLOCK=plan.inner.block,
        PIECES=plan.inner.pieces,
        OUT_BLOCK=outer.block,
        OUT_PIECES=outer.pieces,
        CHUNK=plan.chunk,
        ROWS=plan.rows,
        COLUMNS=outer.step,
        INNER=plan.inner.step,
        PRECISION=precision,
        ACTIVATION=activation,
    )
