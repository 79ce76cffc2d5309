"""Gradients on the GPU: (gradient of the outputs) -> those of pre-activations, bias and weights.

Sums run over the exact rows of a block or of a pair of blocks, in a fixed order.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ccenv.annexes.sparse_gpu.lists import LayerLists, MaskLists, rows_and_counts, rows_of_pairs
from ccenv.annexes.sparse_gpu.plan import (
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


@triton.jit(do_not_specialize=["batch"])
def through_activation(
    grad_y,
    y,
    grad_z,
    sums,
    rows,
    counts,
    batch,
    out_features,
    out_tiles,
    stride,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """Writes gradients of pre-activations that are kept, and their sums over each tile of rows.

    What is skipped is not written: it is never read. The derivative follows from the output.
    """
    pid = tl.program_id(0)
    tile = pid // out_tiles
    block = (pid % out_tiles) // OUT_PIECES
    offset = (pid % OUT_PIECES) * COLUMNS + tl.arange(0, COLUMNS)
    column = block * OUT_BLOCK + offset
    real_column = (offset < OUT_BLOCK) & (column < out_features)
    at = tile * ROWS + tl.arange(0, ROWS)
    if rows is None:
        count = batch
        row = at
    else:
        count = tl.load(counts + block)
        row = tl.load(rows + tl.cast(block, tl.int64) * batch + at, mask=at < count, other=0)
    total = tl.full((COLUMNS,), 0.0, tl.float32)
    if tile * ROWS < count:
        places = row.to(tl.int64)[:, None] * stride + column[None, :]
        valid = (at < count)[:, None] & real_column[None, :]
        grad = tl.load(grad_y + places, mask=valid, other=0.0).to(tl.float32)
        if ACTIVATION is not None:
            out = tl.load(y + places, mask=valid, other=0.0).to(tl.float32)
            if ACTIVATION == "tanh":
                grad = grad * (1.0 - out * out)
            else:
                grad = tl.where(out > 0, grad, 0.0)
            tl.store(grad_z + places, grad.to(grad_z.dtype.element_ty), mask=valid)
        total = tl.sum(grad, 0)
    if sums is not None:
        tl.store(sums + tl.cast(tile, tl.int64) * out_features + column, total, mask=real_column)


@triton.jit(do_not_specialize=["batch", "first_block"])
def multiply_pairs(
    grad_z,
    x,
    grad_weight,
    lists,
    counts,
    batch,
    first_block,
    in_features,
    out_features,
    in_tiles,
    z_stride,
    x_stride,
    out_stride,
    in_stride,
    list_out_stride,
    list_in_stride,
    IN_BLOCK: tl.constexpr,
    IN_PIECES: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    OUT_PIECES: tl.constexpr,
    ROWS: tl.constexpr,
    OUTER: tl.constexpr,
    INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradient of the weights of a pair of blocks: the sum over its listed rows, zero if none.

    The list of output block j, input block i is number j list_out_stride + i list_in_stride.
    """
    pid = tl.program_id(0)
    out_piece = pid // in_tiles
    in_piece = pid % in_tiles
    out_block = out_piece // OUT_PIECES
    in_block = in_piece // IN_PIECES
    out_offset = (out_piece % OUT_PIECES) * OUTER + tl.arange(0, OUTER)
    in_offset = (in_piece % IN_PIECES) * INNER + tl.arange(0, INNER)
    n = (first_block + out_block) * OUT_BLOCK + out_offset
    k = in_block * IN_BLOCK + in_offset
    real_n = (out_offset < OUT_BLOCK) & (n < out_features)
    real_k = (in_offset < IN_BLOCK) & (k < in_features)
    which = out_block * list_out_stride + in_block * list_in_stride
    count = batch if lists is None else tl.load(counts + which)
    total = tl.full((OUTER, INNER), 0.0, tl.float32)
    for start in range(0, count, ROWS):
        at = start + tl.arange(0, ROWS)
        listed = at < count
        row = at
        if lists is not None:
            row = tl.load(lists + tl.cast(which, tl.int64) * batch + at, mask=listed, other=0)
        row = row.to(tl.int64)
        z_places = grad_z + row[None, :] * z_stride + n[:, None]
        x_places = x + row[:, None] * x_stride + k[None, :]
        a = tl.load(z_places, mask=listed[None, :] & real_n[:, None], other=0.0)
        b = tl.load(x_places, mask=listed[:, None] & real_k[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    places = (
        grad_weight + n.to(tl.int64)[:, None] * out_stride + k.to(tl.int64)[None, :] * in_stride
    )
    value = total.to(grad_weight.dtype.element_ty)
    tl.store(places, value, mask=real_n[:, None] & real_k[None, :])


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
        through_activation,
        tiles * outer.num_tiles,
        grad_y,
        y,
        grad_z,
        sums,
        *rows_and_counts(outs),
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
            listed = rows_of_pairs(ins, outs, merged, first, part)
            sum_pairs(grad_z, x, grad_weight, PairLists(*listed, num_ins, 1, first, part), lists)
        return grad_weight
    # With a mask on one side only, the rows of a pair are those of its block on that side.
    by_output = int(outs is not None)
    pairs = PairLists(*rows_and_counts(ins or outs), by_output, 1 - by_output)
    sum_pairs(grad_z, x, grad_weight, pairs, lists)
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
        multiply_pairs,
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
