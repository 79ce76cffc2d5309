"""Products row by row, for masks so sparse that rows hardly share a weight: one row's sums at once.

Sorting rows by pairs of blocks costs more than it saves where a pair has one row or two. Here a
row's output block is summed in registers over all input blocks that the row keeps; output blocks
come one after the other, so that the weights of one are in cache for all of its rows.

Weights that lie output by output are read so where blocks are made of whole vectors; else a block
is turned on its side when the first row needs it.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.across_micro_kernels import make_row_across
from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import activate, zero_columns
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, as_pointer, make_row
from ccenv.sparse.cpu.codegen.registers import LANES
from ccenv.sparse.cpu.transposes import transpose_floats

row_64, row_32, row_16 = make_row(64), make_row(32), make_row(16)
row_8, row_4, row_1 = make_row(8), make_row(4), make_row(1)
row_across = make_row_across()


@compiled
def sum_row(
    places: int, weights: int, num: int, in_size: int, ldw: int, begin: int, to: int, out_size: int
) -> None:
    """Writes begin + the products of `num` listed blocks; the list of weights is used up.

    Places, weights: addresses of int64 [num], where the blocks of a row and of the weights lie.
    """
    listed = carray(as_pointer(weights), (num,), np.int64)
    c = 0
    while c < out_size:
        left, shift = out_size - c, 4 * c
        if left >= 64:
            row_64(places, weights, num, in_size, ldw, begin + shift, to + shift)
            step = 64
        elif left >= 32:
            row_32(places, weights, num, in_size, ldw, begin + shift, to + shift)
            step = 32
        elif left >= 16:
            row_16(places, weights, num, in_size, ldw, begin + shift, to + shift)
            step = 16
        elif left >= 8:
            row_8(places, weights, num, in_size, ldw, begin + shift, to + shift)
            step = 8
        elif left >= 4:
            row_4(places, weights, num, in_size, ldw, begin + shift, to + shift)
            step = 4
        else:
            row_1(places, weights, num, in_size, ldw, begin + shift, to + shift)
            step = 1
        c += step
        if c < out_size:
            for q in range(num):
                listed[q] += 4 * step


@compiled
def sum_row_across(
    places: int, weights: int, num: int, in_size: int, ldc: int, begin: int, to: int, out_size: int
) -> None:
    """`sum_row` for weights that lie output by output, for sizes that are multiples of LANES."""
    listed = carray(as_pointer(weights), (num,), np.int64)
    for c in range(0, out_size, LANES):
        row_across(places, weights, num, in_size, ldc, begin + 4 * c, to + 4 * c)
        for q in range(num):
            listed[q] += 4 * LANES * ldc


@compiled
def is_read_across(in_size: int, out_size: int, ldc: int) -> bool:
    """Whether rows read weights of blocks of these sizes output by output, as they lie."""
    return ldc != 1 and in_size % LANES == 0 and out_size % LANES == 0


@compiled
def multiply_row(
    x: int,
    w: int,
    ldw: int,
    ldc: int,
    panel: int,
    bias: int,
    in_mask: int,
    out_mask: int,
    y: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    activation: int,
    clear: int,
    first: int,
    last: int,
) -> None:
    """`forward` of the kernels for a single row: nothing is sorted, and one list is enough."""
    across = is_read_across(in_size, out_size, ldc)
    is_turned = ldc != 1 and not across
    end = 3 * in_blocks + (out_size if bias == 0 else 0)
    lists = np.empty(end + (in_blocks * in_size * out_size + 1) // 2 * is_turned, np.int64)
    lists[3 * in_blocks : end] = 0
    at_places = np.int64(lists.ctypes.data) + 8 * in_blocks
    at_weights, at_zeros = at_places + 8 * in_blocks, at_places + 16 * in_blocks
    reads = carray(as_pointer(in_mask), (in_blocks,), np.uint8)
    writes = carray(as_pointer(out_mask), (out_blocks,), np.uint8)
    at_column, row = at_places + 8 * (end - in_blocks), out_size if is_turned else ldw
    num = 0
    for i in range(in_blocks):
        if in_mask == 0 or reads[i]:
            lists[num] = i
            lists[in_blocks + num] = x + 4 * i * in_size
            num += 1
    if clear != 0 and out_mask != 0:
        zero_columns(y, 1, out_blocks * out_size, first * out_size, last * out_size)
    for j in range(first, last):
        if out_mask == 0 or writes[j]:
            begin = at_zeros if bias == 0 else bias + 4 * j * out_size
            to = y + 4 * j * out_size
            for q in range(num):
                lists[2 * in_blocks + q] = w + 4 * (j * panel + lists[q] * in_size * ldw)
            if is_turned:
                for q in range(num):
                    at, to_tile = lists[2 * in_blocks + q], at_column + 4 * q * in_size * out_size
                    transpose_floats(at, ldc, to_tile, out_size, out_size, in_size)
                    lists[2 * in_blocks + q] = to_tile
            if across:
                sum_row_across(at_places, at_weights, num, in_size, ldc, begin, to, out_size)
            else:
                sum_row(at_places, at_weights, num, in_size, row, begin, to, out_size)
            activate(to, out_size, activation)
    # Numba frees an array after its last use, and an address is none.
    lists[:1] = 0


@compiled
def multiply_rows(
    inputs: Any,
    x: int,
    ldx: int,
    in_size: int,
    entries: Any,
    kept: Any,
    starts: Any,
    w: int,
    ldw: int,
    ldc: int,
    panel: int,
    bias: int,
    rows: Any,
    counts: Any,
    y: int,
    out_size: int,
    activation: int,
) -> None:
    """As `multiply_blocks` of the kernels, without sorting rows by the blocks they share."""
    out_blocks = len(rows)
    places = np.empty(len(starts), np.int64)
    weights = np.empty(len(starts), np.int64)
    at_places, at_weights = np.int64(places.ctypes.data), np.int64(weights.ctypes.data)
    zeros = np.zeros(out_size if bias == 0 else 0, np.float32)
    across = is_read_across(in_size, out_size, ldc)
    is_turned = ldc != 1 and not across
    column = np.empty(len(starts) * in_size * out_size if is_turned else 0, np.float32)
    at_column, row = np.int64(column.ctypes.data), out_size if is_turned else ldw
    # The output block for which a block of weights was turned last.
    turned = np.full(len(starts) * is_turned, -1)
    for j in range(out_blocks):
        begin = np.int64(zeros.ctypes.data) if bias == 0 else bias + 4 * j * out_size
        for r in range(counts[j]):
            b = np.int64(rows[j, r])
            num = kept[b]
            for q in range(num):
                i = entries[b, q] >> 32
                places[q] = x + 4 * in_size * starts[i] + (entries[b, q] & LOWER_HALF) * ldx
                weights[q] = w + 4 * (j * panel + i * in_size * ldw)
                if is_turned:
                    at, weights[q] = weights[q], at_column + 4 * i * in_size * out_size
                    if turned[i] != j:
                        transpose_floats(at, ldc, weights[q], out_size, out_size, in_size)
                        turned[i] = j
            to = y + 4 * (b * out_blocks + j) * out_size
            if across:
                sum_row_across(at_places, at_weights, num, in_size, ldc, begin, to, out_size)
            else:
                sum_row(at_places, at_weights, num, in_size, row, begin, to, out_size)
            activate(to, out_size, activation)
    # Numba frees an array after its last use, and an address is none.
    column[:1] = 0
