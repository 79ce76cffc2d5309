"""Weights' gradients without pairs of blocks: one side's blocks by all units of the other side.

A pair of blocks costs as much as hundreds of products, whatever its size. Where blocks are small or
nearly all are kept, each block of one side, the one along whose units the gradient lies apart, is
multiplied with whole rows of the other, zero where these skip: more products, no pairs. Zero times
an infinite number is none, so inputs that are not finite are left to the other way.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.blank_kernels import blank_copy
from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer
from ccenv.sparse.cpu.gradient_tiles import outer_tile
from ccenv.sparse.cpu.lists import rows_of_blocks

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
