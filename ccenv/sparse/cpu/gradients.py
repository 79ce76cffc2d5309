"""Gradients of the CPU kernels: addresses of a layer's tensors and masks -> its gradients in place.

Several callers may share a layer. Each owns a range of input units: these rows of the weight's
gradient. So every sum is made by one caller and in the order of rows, and the gradients are the
same, bit for bit, however many share.

Weights' gradients without pairs of blocks: one side's blocks by all units of the other side.

A pair of blocks costs as much as hundreds of products, whatever its size. Where blocks are small or
nearly all are kept, each block of one side, the one along whose units the gradient lies apart, is
multiplied with whole rows of the other, zero where these skip: more products, no pairs. Zero times
an infinite number is none, so inputs that are not finite are left to the other way.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.activation_grad import slope_blocks, slope_rows, sum_rows
from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import NONE, copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, as_pointer
from ccenv.sparse.cpu.elementwise_kernels import blank_copy
from ccenv.sparse.cpu.kernels import forward
from ccenv.sparse.cpu.row_lists import blocks_of_rows, bucket, count_kept, rows_of_blocks
from ccenv.sparse.cpu.tiles import outer_tile

# Columns that are multiplied for all blocks before the next ones, so that their rows stay in cache.
COLUMNS = 64
EXPONENT = np.int32(0x7F800000)
"""All of its bits are set in the words of infinite numbers and of NaN alone."""
# What pairs of blocks cost in products, fitted to times of both ways on 270 layers (AVX-512): a
# pair that a row keeps and each unit of it on the own side; a pair, kept or not, and each unit.
PAIR, PAIR_UNIT, ANY_PAIR, ANY_UNIT = 300, 6, 1100, 25
# The same of this way: a row's block, and a block, for each set of columns.
ROW, BLOCK = 32, 600


@compiled
def is_finite(at: int, width: int) -> bool:
    """Whether all of some floats are finite."""
    words = carray(as_pointer(at), (width,), np.int32)
    bad = 0
    for c in range(width):
        bad += (words[c] & EXPONENT) == EXPONENT
    return bad == 0


@compiled
def kept_are_finite(at: int, mask: int, batch: int, blocks: int, size: int) -> bool:
    """Whether the kept blocks of [batch, blocks * size] are."""
    if mask == 0:
        return is_finite(at, batch * blocks * size)
    kept = carray(as_pointer(mask), (batch * blocks,), np.uint8)
    for n in range(batch * blocks):
        if kept[n] and not is_finite(at + 4 * n * size, size):
            return False
    return True


@compiled
def add_outer(
    a: int, size: int, rows: Any, counts: Any, start: int, stop: int,
    b: int, ldb: int, width: int, g: int, ldg: int,
) -> None:  # fmt: skip
    """g[k, :width] = sum over rows that keep the block of unit k of a[row, k] * b[row, :width].

    For units start to stop of a [batch, blocks * size]; rows and counts as `rows_of_blocks` lists
    them.
    """
    blocks, batch = rows.shape
    items = np.empty((blocks, batch), np.int64)
    at_items, lda = np.int64(items.ctypes.data), blocks * size
    for i in range(blocks):
        for t in range(counts[i]):
            items[i, t] = np.int64(rows[i, t]) << 32 | rows[i, t]
    for c in range(0, width, COLUMNS):
        columns = min(COLUMNS, width - c)
        for i in range(start // size, -(-stop // size)):
            k = max(start, i * size)
            num_k = min(stop, (i + 1) * size) - k
            at, to = at_items + 8 * batch * i, g + 4 * (k * ldg + c)
            outer_tile(at, counts[i], a + 4 * k, lda, b + 4 * c, ldb, to, ldg, num_k, columns)
    # Numba frees an array after its last use, and an address is none.
    items[:1, :1] = 0


@compiled
def is_wide_faster(
    own: int, all_own: int, size: int, all_others: int, other_size: int, pairs: int
) -> bool:
    """Whether this way is expected to be faster.

    Args:
        own: kept blocks of all rows of the side whose blocks are used.
        all_own: its blocks.
        size: their units.
        all_others: the other side's blocks.
        other_size: their units.
        pairs: kept pairs of blocks of all rows.
    """
    sets = -(-all_others * other_size // COLUMNS)
    by_pairs = pairs * (PAIR + size * (PAIR_UNIT + other_size))
    by_pairs += all_own * all_others * (ANY_PAIR + ANY_UNIT * size)
    wide = own * (ROW * sets + size * all_others * other_size) + BLOCK * all_own * sets
    return wide < by_pairs


@compiled
def wide_gradients(
    x: int,
    across: int,
    in_mask: int,
    out_mask: int,
    z: int,
    grad_w: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    start: int,
    stop: int,
) -> None:
    """As `weight_gradients`; z [batch, out_features], slopes, are zero where blocks are skipped."""
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    if across == 0:
        rows, counts = np.empty((in_blocks, batch), np.int32), np.empty(in_blocks, np.int64)
        rows_of_blocks(in_mask, batch, in_blocks, rows, counts)
        add_outer(x, in_size, rows, counts, start, stop, z, out_width, out_width, grad_w, out_width)
        return
    rows, counts = np.empty((out_blocks, batch), np.int32), np.empty(out_blocks, np.int64)
    rows_of_blocks(out_mask, batch, out_blocks, rows, counts)
    filled = np.empty(batch * in_width if in_mask != 0 else 0, np.float32)
    at = x
    if in_mask != 0:
        at = np.int64(filled.ctypes.data)
        blank_copy(x, in_mask, at, in_blocks, in_size, 0, batch)
    b, g = at + 4 * start, grad_w + 4 * start
    add_outer(z, out_size, rows, counts, 0, out_width, b, in_width, stop - start, g, in_width)
    # Numba frees an array after its last use, and an address is none.
    filled[:1] = 0


@compiled
def keep_entries(entries: Any, kept: Any, first: int, last: int) -> None:
    """Drops the blocks outside first to last from the lists of `blocks_of_rows`."""
    for b in range(len(kept)):
        n = 0
        for q in range(kept[b]):
            entry = entries[b, q]
            if first <= entry >> 32 < last:
                entries[b, n] = entry
                n += 1
        kept[b] = n


@compiled
def pack_rows(pairs: Any, n: int, x: int, ldx: int, packed: int, width: int, items: Any) -> None:
    """Copies the listed rows' x[:width] side by side; items list place in z and place there.

    An item is int64, the row of the packed inputs in its upper half. Distances in floats.
    """
    for t in range(n):
        copy_floats(x + 4 * (pairs[t] & LOWER_HALF) * ldx, packed + 4 * t * width, width)
        items[t] = t << 32 | pairs[t] >> 32


@compiled
def pair_gradients(
    x: int,
    across: int,
    in_mask: int,
    out_mask: int,
    y: int,
    grad_y: int,
    grad_w: int,
    grad_b: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    activation: int,
    start: int,
    stop: int,
) -> None:
    """`weight_gradients` one pair of blocks after the other, for the rows that keep both."""
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    first, last = start // in_size, -(-stop // in_size)
    rows = np.empty((out_blocks, batch), np.int32)
    counts = np.empty(out_blocks, np.int64)
    rows_of_blocks(out_mask, batch, out_blocks, rows, counts)
    entries = np.empty((batch, in_blocks), np.int64)
    kept = np.empty(batch, np.int64)
    blocks_of_rows(in_mask, batch, in_blocks, entries, kept)
    if last - first < in_blocks:
        keep_entries(entries, kept, first, last)
    most = counts.max()
    pairs = np.empty((in_blocks, most), np.int64)
    sizes = np.empty(in_blocks, np.int64)
    # Gradients before the activation, of one output block after the other, from a line on.
    block = np.empty(most * out_size + 16, np.float32)
    z = (np.int64(block.ctypes.data) + 63) // 64 * 64
    packed = np.empty(most * in_size + 16 if across != 0 else 0, np.float32)
    at_packed = (np.int64(packed.ctypes.data) + 63) // 64 * 64
    items = np.empty(most, np.int64)
    at_items, at_pairs = np.int64(items.ctypes.data), np.int64(pairs.ctypes.data)
    for j in range(out_blocks):
        n, shift = counts[j], 4 * j * out_size
        slope_rows(rows[j], n, y + shift, grad_y + shift, z, 4 * out_width, out_size, activation)
        bucket(rows[j], 0, n, entries, kept, pairs, sizes)
        if grad_b != 0 and start == 0:
            sum_rows(z, n, out_size, grad_b + shift)
        for i in range(first, last if grad_w != 0 else first):
            k = max(start, i * in_size)
            num_k = min(stop, (i + 1) * in_size) - k
            if across != 0:
                pack_rows(pairs[i], sizes[i], x + 4 * k, in_width, at_packed, num_k, items)
                to = grad_w + 4 * (j * out_size * in_width + k)
                outer_tile(
                    at_items, sizes[i], z, out_size, at_packed, num_k, to, in_width,
                    out_size, num_k,
                )  # fmt: skip
            else:
                to = grad_w + shift + 4 * k * out_width
                outer_tile(
                    at_pairs + 8 * most * i, sizes[i], x + 4 * k, in_width, z, out_size, to,
                    out_width, num_k, out_size,
                )  # fmt: skip
    # Numba frees an array after its last use, and an address is none.
    block[0] = 0
    packed[:1] = 0
    items[:1] = 0
    pairs[:1, :1] = 0


@compiled
def is_wide(
    across: int,
    in_mask: int,
    out_mask: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
) -> bool:
    """Whether weights' gradients are made without pairs, see `wide_gradients`."""
    ins, outs, pairs = count_kept(in_mask, out_mask, batch, in_blocks, out_blocks)
    if across == 0:
        return is_wide_faster(ins, in_blocks, in_size, out_blocks, out_size, pairs)
    return is_wide_faster(outs, out_blocks, out_size, in_blocks, in_size, pairs)


@compiled
def weight_gradients(
    x: int,
    across: int,
    in_mask: int,
    out_mask: int,
    y: int,
    grad_y: int,
    grad_w: int,
    grad_b: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    activation: int,
    start: int,
    stop: int,
) -> None:
    """Gradients of weight and bias for input units start to stop; unwanted ones have address 0.

    grad_w, [in_features, out_features] without gaps, or [out_features, in_features] if `across`
    is not 0, is written whole in these rows or columns; grad_b is written by the call with
    start = 0.
    """
    sizes = in_blocks, in_size, out_blocks, out_size
    if grad_w != 0 and is_wide(across, in_mask, out_mask, batch, *sizes):
        slopes = np.zeros(batch * out_blocks * out_size, np.float32)
        z = np.int64(slopes.ctypes.data)
        slope_blocks(y, grad_y, z, out_mask, batch, out_blocks, out_size, activation)
        if across == 0:
            fits = kept_are_finite(x, in_mask, batch, in_blocks, in_size)
        else:
            fits = is_finite(z, len(slopes))
        if fits:
            if grad_b != 0 and start == 0:
                sum_rows(z, batch, out_blocks * out_size, grad_b)
            wide_gradients(x, across, in_mask, out_mask, z, grad_w, batch, *sizes, start, stop)
            # Numba frees an array after its last use, and an address is none.
            slopes[:1] = 0
            return
    pair_gradients(
        x, across, in_mask, out_mask, y, grad_y, grad_w, grad_b, batch, *sizes, activation,
        start, stop,
    )  # fmt: skip


@compiled
def all_gradients(
    x: int,
    w: int,
    ldw: int,
    ldc: int,
    in_mask: int,
    out_mask: int,
    y: int,
    grad_y: int,
    grad_x: int,
    grad_w: int,
    grad_b: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    activation: int,
) -> None:
    """All gradients of a layer in one call, for one thread; weights as `forward` finds them."""
    sizes = in_blocks, in_size, out_blocks, out_size
    if grad_w != 0 or grad_b != 0:
        across = 1 if ldc != 1 else 0
        weight_gradients(
            x, across, in_mask, out_mask, y, grad_y, grad_w, grad_b, batch, *sizes, activation,
            0, in_blocks * in_size,
        )  # fmt: skip
    if grad_x == 0:
        return
    slopes = np.empty(batch * out_blocks * out_size if activation != NONE else 0, np.float32)
    z = grad_y
    if activation != NONE:
        z = np.int64(slopes.ctypes.data)
        slope_blocks(y, grad_y, z, out_mask, batch, out_blocks, out_size, activation)
    forward(
        z, w, ldc, ldw, in_size * ldw, 0, out_mask, in_mask, grad_x, out_blocks, out_size,
        in_blocks, in_size, NONE, 1, 0, batch, 0, in_blocks,
    )  # fmt: skip
    slopes[:1] = 0
