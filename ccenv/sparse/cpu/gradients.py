"""Gradients of the CPU kernels: addresses of a layer's tensors and masks -> its gradients in place.

Several callers may share a layer. Each owns a range of input units: these rows of the weight's
gradient. So every sum is made by one caller and in the order of rows, and the gradients are the
same, bit for bit, however many share.

Weights' gradients are made pair by pair of blocks, or, as a pair costs as much as hundreds of
products, without pairs where blocks are small or nearly all are kept: each block of one side, the
one along whose units the gradient lies apart, is multiplied with whole rows of the other, zero
where these skip. Zero times an infinite number is none, so inputs that are not finite are left to
the pairs.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled
from ccenv.sparse.cpu.codegen.floats import NONE, copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF
from ccenv.sparse.cpu.elementwise_kernels import add_up_rows, blank_copy, slope_blocks, slope_rows
from ccenv.sparse.cpu.kernels import call_multiply_kept
from ccenv.sparse.cpu.row_lists import blocks_of_rows, bucket, count_kept_blocks, list_block_rows
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


class GradientAddresses(NamedTuple):
    """Where a layer's numbers and its gradients lie, and their sizes; else as `LayerAddresses`.

    Addresses are 0 for none.
    """

    x: int
    across: int
    """whether grad_w is [out_features, in_features], not [in_features, out_features]; no gaps."""
    in_mask: int
    out_mask: int
    y: int
    grad_y: int
    """address of the results' gradients."""
    grad_w: int
    """address of the weights' gradient."""
    grad_b: int
    """address of the bias' gradient."""
    batch: int
    """rows."""
    in_blocks: int
    in_size: int
    out_blocks: int
    out_size: int
    activation: int


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

    For units start to stop of a [batch, blocks * size]; rows and counts as `list_block_rows` lists
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
    # Keep what was read by its address alive: numba frees an array after its last use.
    items[:1, :1] = 0


@compiled
def is_wide(s: GradientAddresses) -> bool:
    """Whether weights' gradients are expected to be made faster without pairs."""
    ins, outs, pairs, _ = count_kept_blocks(
        s.in_mask, s.out_mask, s.batch, s.in_blocks, s.out_blocks
    )
    kept, all_blocks, size = ins, s.in_blocks, s.in_size
    all_others, other_size = s.out_blocks, s.out_size
    if s.across != 0:
        kept, all_blocks, size = outs, s.out_blocks, s.out_size
        all_others, other_size = s.in_blocks, s.in_size
    sets = -(-all_others * other_size // COLUMNS)
    by_pairs = pairs * (PAIR + size * (PAIR_UNIT + other_size))
    by_pairs += all_blocks * all_others * (ANY_PAIR + ANY_UNIT * size)
    wide = kept * (ROW * sets + size * all_others * other_size) + BLOCK * all_blocks * sets
    return wide < by_pairs


@compiled
def wide_gradients(s: GradientAddresses, z: int, start: int, stop: int) -> None:
    """`weight_gradients` without pairs; z [batch, out_features] is zero where it is skipped."""
    in_width, out_width, to = s.in_blocks * s.in_size, s.out_blocks * s.out_size, s.grad_w
    blocks, mask = s.in_blocks, s.in_mask
    if s.across != 0:
        blocks, mask = s.out_blocks, s.out_mask
    rows, counts = np.empty((blocks, s.batch), np.int32), np.empty(blocks, np.int64)
    list_block_rows(mask, s.batch, blocks, rows, counts)
    if s.across == 0:
        add_outer(s.x, s.in_size, rows, counts, start, stop, z, out_width, out_width, to, out_width)
        return
    filled = np.empty(s.batch * in_width if s.in_mask != 0 else 0, np.float32)
    at = s.x
    if s.in_mask != 0:
        at = np.int64(filled.ctypes.data)
        blank_copy(s.x, s.in_mask, at, s.in_blocks, s.in_size, 0, s.batch)
    b, g = at + 4 * start, to + 4 * start
    add_outer(z, s.out_size, rows, counts, 0, out_width, b, in_width, stop - start, g, in_width)
    # Keep what was read by its address alive: numba frees an array after its last use.
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
def pair_gradients(s: GradientAddresses, start: int, stop: int) -> None:
    """`weight_gradients` one pair of blocks after the other, for the rows that keep both."""
    in_size, out_size, x = s.in_size, s.out_size, s.x
    in_width, out_width = s.in_blocks * in_size, s.out_blocks * out_size
    first, last = start // in_size, -(-stop // in_size)
    rows = np.empty((s.out_blocks, s.batch), np.int32)
    counts = np.empty(s.out_blocks, np.int64)
    list_block_rows(s.out_mask, s.batch, s.out_blocks, rows, counts)
    entries = np.empty((s.batch, s.in_blocks), np.int64)
    kept = np.empty(s.batch, np.int64)
    blocks_of_rows(s.in_mask, s.batch, s.in_blocks, entries, kept)
    if last - first < s.in_blocks:
        keep_entries(entries, kept, first, last)
    most = counts.max()
    pairs = np.empty((s.in_blocks, most), np.int64)
    sizes = np.empty(s.in_blocks, np.int64)
    # Gradients before the activation, of one output block after the other, from a line on.
    block = np.empty(most * out_size + 16, np.float32)
    z = (np.int64(block.ctypes.data) + 63) // 64 * 64
    packed = np.empty(most * in_size + 16 if s.across != 0 else 0, np.float32)
    at_packed = (np.int64(packed.ctypes.data) + 63) // 64 * 64
    items = np.empty(most, np.int64)
    at_items, at_pairs = np.int64(items.ctypes.data), np.int64(pairs.ctypes.data)
    for j in range(s.out_blocks):
        n, shift = counts[j], 4 * j * out_size
        y, grad_y = s.y + shift, s.grad_y + shift
        slope_rows(rows[j], n, y, grad_y, z, 4 * out_width, out_size, s.activation)
        bucket(rows[j], 0, n, entries, kept, pairs, sizes)
        if s.grad_b != 0 and start == 0:
            add_up_rows(z, n, out_size, s.grad_b + shift)
        for i in range(first, last if s.grad_w != 0 else first):
            k = max(start, i * in_size)
            num_k, at = min(stop, (i + 1) * in_size) - k, x + 4 * k
            if s.across != 0:
                pack_rows(pairs[i], sizes[i], at, in_width, at_packed, num_k, items)
                g = s.grad_w + 4 * (j * out_size * in_width + k)
                outer_tile(
                    at_items, sizes[i], z, out_size, at_packed, num_k, g, in_width, out_size, num_k
                )
            else:
                listed, g = at_pairs + 8 * most * i, s.grad_w + shift + 4 * k * out_width
                outer_tile(
                    listed, sizes[i], at, in_width, z, out_size, g, out_width, num_k, out_size
                )
    # Keep what was read by its address alive: numba frees an array after its last use.
    block[0] = 0
    packed[:1] = 0
    items[:1] = 0
    pairs[:1, :1] = 0


@compiled
def weight_gradients(s: GradientAddresses, start: int, stop: int) -> None:
    """Gradients of weight and bias for input units start to stop.

    grad_w is written whole in these rows or columns; grad_b by the call with start = 0.
    """
    if s.grad_w != 0 and is_wide(s):
        slopes = np.zeros(s.batch * s.out_blocks * s.out_size, np.float32)
        z = np.int64(slopes.ctypes.data)
        slope_blocks(s.y, s.grad_y, z, s.out_mask, s.batch, s.out_blocks, s.out_size, s.activation)
        if s.across == 0:
            fits = kept_are_finite(s.x, s.in_mask, s.batch, s.in_blocks, s.in_size)
        else:
            fits = is_finite(z, len(slopes))
        if fits:
            if s.grad_b != 0 and start == 0:
                add_up_rows(z, s.batch, s.out_blocks * s.out_size, s.grad_b)
            wide_gradients(s, z, start, stop)
            # Keep what was read by its address alive: numba frees an array after its last use.
            slopes[:1] = 0
            return
    pair_gradients(s, start, stop)


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
        operands = GradientAddresses(
            x, across, in_mask, out_mask, y, grad_y, grad_w, grad_b, batch, *sizes, activation
        )
        weight_gradients(operands, 0, in_blocks * in_size)
    if grad_x == 0:
        return
    slopes = np.empty(batch * out_blocks * out_size if activation != NONE else 0, np.float32)
    z = grad_y
    if activation != NONE:
        z = np.int64(slopes.ctypes.data)
        slope_blocks(y, grad_y, z, out_mask, batch, out_blocks, out_size, activation)
    call_multiply_kept(
        z, w, ldc, ldw, in_size * ldw, 0, out_mask, in_mask, grad_x, out_blocks, out_size,
        in_blocks, in_size, NONE, 1, 0, batch, 0, in_blocks,
    )  # fmt: skip
    slopes[:1] = 0
