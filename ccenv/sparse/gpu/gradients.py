"""Gradients on the GPU: (gradient of the outputs) -> those of pre-activations, bias and weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.sparse.gpu.kernels import gradients as triton_gradients
from ccenv.sparse.gpu.lists import LayerLists, MaskLists, list_pairs
from ccenv.sparse.gpu.plan import (
    OUTER_UNITS,
    PAIR_ENTRIES,
    choose_pair_tile,
    cut_inner,
    cut_outer,
    launch,
    product_precision,
)

# Rows and units of a tile of the elementwise kernel.
SUMMED_ROWS, SUMMED_UNITS = 64, 128


@dataclass(frozen=True)
class PairLists:
    """Rows of pairs of an output and an input block: list number j out_stride + i in_stride."""

    rows: Tensor | None
    """int32 [..., batch]; None for all rows in every pair."""
    counts: Tensor | None
    """int32, one for each list."""
    out_stride: int
    """lists from an output block to the next."""
    in_stride: int
    """lists from an input block to the next."""
    first_out: int = 0
    """number of the first output block, which is j = 0."""
    num_outs: int | None = None
    """how many output blocks, None for all."""


def gradient_of_outputs(
    grad_y: Tensor,
    y: Tensor,
    outs: MaskLists | None,
    activation: str | None,
    *,
    wants_bias: bool,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of pre-activations, written only where kept, and of the bias, if it is wanted.

    Of grad_y and y, [batch, out_features] without gaps; `outs` is None where all is kept.
    """
    if activation is None and not wants_bias:
        return grad_y, None
    batch, out_features = y.shape
    outer = cut_outer(out_features, None if outs is None else outs.rows.shape[0], SUMMED_UNITS)
    tiles = math.ceil(batch / SUMMED_ROWS)
    grad_z = grad_y if activation is None else y.new_empty(y.shape)
    sums = y.new_empty(tiles, out_features, dtype=torch.float32) if wants_bias else None
    launch(
        triton_gradients.through_activation,
        tiles * outer.num_tiles,
        grad_y,
        y,
        grad_z,
        sums,
        None if outs is None else outs.rows,
        None if outs is None else outs.counts,
        batch,
        out_features,
        outer.num_tiles,
        y.stride(0),
        OUT_BLOCK=outer.block,
        OUT_PIECES=outer.pieces,
        ROWS=SUMMED_ROWS,
        COLUMNS=outer.step,
        ACTIVATION=activation,
    )
    return grad_z, None if sums is None else sums.sum(dim=0).to(y.dtype)


def gradient_of_weight(grad_z: Tensor, x: Tensor, weight: Tensor, lists: LayerLists) -> Tensor:
    """Gradient of the weights, laid out as they are; zero for pairs of blocks that no row keeps.

    Of gradients of pre-activations, [batch, out_features], and x, both without gaps.
    """
    grad_weight = torch.empty_like(weight)
    ins, outs = lists.ins, lists.outs
    if ins is not None and outs is not None:
        num_ins, batch = ins.rows.shape
        num_outs = outs.rows.shape[0]
        merged = cut_inner(x.shape[1], num_ins, x.itemsize).merged
        slab = max(1, min(num_outs, PAIR_ENTRIES // (num_ins * batch)))
        for first in range(0, num_outs, slab):
            part = min(slab, num_outs - first)
            pairs = list_pairs(ins, outs, merged, first, part)
            sum_pairs(grad_z, x, grad_weight, PairLists(*pairs, num_ins, 1, first, part), lists)
        return grad_weight
    # With a mask on one side only, the rows of a pair are those of its block on that side.
    side = ins or outs
    rows, counts = (None, None) if side is None else (side.rows, side.counts)
    by_output = int(outs is not None)
    sum_pairs(grad_z, x, grad_weight, PairLists(rows, counts, by_output, 1 - by_output), lists)
    return grad_weight


def sum_pairs(
    grad_z: Tensor, x: Tensor, grad_weight: Tensor, pairs: PairLists, lists: LayerLists
) -> None:
    """Writes the gradient of the weights of the listed pairs; arguments as `gradient_of_weight`."""
    limit = OUTER_UNITS[x.itemsize]
    out_features, in_features = grad_weight.shape
    in_cut = cut_outer(in_features, None if lists.ins is None else len(lists.ins.rows), limit)
    out_cut = cut_outer(out_features, None if lists.outs is None else len(lists.outs.rows), limit)
    tile = choose_pair_tile(in_cut, out_cut, x.itemsize)
    num_outs = out_cut.num_blocks if pairs.num_outs is None else pairs.num_outs
    launch(
        triton_gradients.multiply_pairs,
        num_outs * out_cut.pieces * in_cut.num_tiles,
        grad_z,
        x,
        grad_weight,
        pairs.rows,
        pairs.counts,
        x.shape[0],
        pairs.first_out,
        in_features,
        out_features,
        in_cut.num_tiles,
        grad_z.stride(0),
        x.stride(0),
        *grad_weight.stride(),
        pairs.out_stride,
        pairs.in_stride,
        warps=tile.warps,
        stages=tile.stages,
        IN_BLOCK=in_cut.block,
        IN_PIECES=in_cut.pieces,
        OUT_BLOCK=out_cut.block,
        OUT_PIECES=out_cut.pieces,
        ROWS=tile.rows,
        OUTER=out_cut.step,
        INNER=in_cut.step,
        PRECISION=product_precision(x.dtype),
    )
