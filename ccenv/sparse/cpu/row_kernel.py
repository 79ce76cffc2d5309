"""Products row by row, for masks so sparse that rows hardly share a weight: one row's sums at once.

Sorting rows by pairs of blocks costs more than it saves where a pair has one row or two. Here a
row's output block is summed in registers over all input blocks that the row keeps; output blocks
come one after the other, so that the weights of one are in cache for all of its rows.

Weights that lie output by output are read so, neighbouring kept blocks of a row as one run; blocks
of a few inputs, which would leave most of a vector empty, are turned on their side when the first
row needs them.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import LANES, compiled
from ccenv.sparse.cpu.codegen.floats import activate, zero_columns
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, as_pointer, make_row, make_row_across
from ccenv.sparse.cpu.elementwise_kernels import transpose_floats

row_64, row_32, row_16 = make_row(64), make_row(32), make_row(16)
row_8, row_4, row_1 = make_row(8), make_row(4), make_row(1)
across_16, across_8 = make_row_across(min(16, LANES)), make_row_across(8)
across_4, across_1 = make_row_across(4), make_row_across(1)
# Inputs of a block from which on its weights are read as they lie, output by output.
LEAST_ACROSS = 8


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
    places: int,
    weights: int,
    lengths: int,
    num: int,
    ldc: int,
    begin: int,
    to: int,
    out_size: int,
) -> None:
    """`sum_row` for weights that lie output by output, and runs of inputs of any lengths."""
    listed = carray(as_pointer(weights), (num,), np.int64)
    c = 0
    while c < out_size:
        left, at, y = out_size - c, begin + 4 * c, to + 4 * c
        if left >= LANES:
            across_16(places, weights, lengths, num, ldc, at, y)
            step = LANES
        elif left >= 8:
            across_8(places, weights, lengths, num, ldc, at, y)
            step = 8
        elif left >= 4:
            across_4(places, weights, lengths, num, ldc, at, y)
            step = 4
        else:
            across_1(places, weights, lengths, num, ldc, at, y)
            step = 1
        c += step
        if c < out_size:
            for q in range(num):
                listed[q] += 4 * step * ldc


@compiled
def list_runs(in_mask: int, in_blocks: int, in_size: int, together: bool, runs: Any) -> int:
    """Lists the kept input blocks, neighbours as one run if `together`; how many there are.

    runs: int64 [2 or more, in_blocks]; the first units and the lengths of runs are written.
    """
    reads = carray(as_pointer(in_mask), (in_blocks,), np.uint8)
    num = 0
    for i in range(in_blocks):
        if in_mask == 0 or reads[i]:
            if together and num > 0 and runs[0, num - 1] + runs[1, num - 1] == i * in_size:
                runs[1, num - 1] += in_size
            else:
                runs[0, num] = i * in_size
                runs[1, num] = in_size
                num += 1
    return num


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
    # First units, lengths, addresses of inputs and of weights.
    runs = np.empty((4, in_blocks), np.int64)
    at_lengths = np.int64(runs.ctypes.data) + 8 * in_blocks
    at_places, at_weights = at_lengths + 8 * in_blocks, at_lengths + 16 * in_blocks
    zeros = np.zeros(out_size if bias == 0 else 0, np.float32)
    writes = carray(as_pointer(out_mask), (out_blocks,), np.uint8)
    num = list_runs(in_mask, in_blocks, in_size, ldc != 1, runs)
    for q in range(num):
        runs[2, q] = x + 4 * runs[0, q]
    if clear != 0 and out_mask != 0:
        zero_columns(y, 1, out_blocks * out_size, first * out_size, last * out_size)
    for j in range(first, last):
        if out_mask == 0 or writes[j]:
            begin = np.int64(zeros.ctypes.data) if bias == 0 else bias + 4 * j * out_size
            to = y + 4 * j * out_size
            for q in range(num):
                runs[3, q] = w + 4 * (j * panel + runs[0, q] * ldw)
            if ldc != 1:
                sum_row_across(at_places, at_weights, at_lengths, num, ldc, begin, to, out_size)
            else:
                sum_row(at_places, at_weights, num, in_size, ldw, begin, to, out_size)
            activate(to, out_size, activation)
    # Numba frees an array after its last use, and an address is none.
    runs[0, :1] = 0


@compiled
def is_read_across(in_size: int, ldc: int) -> bool:
    """Whether several rows by themselves read weights output by output, as they lie."""
    return ldc != 1 and in_size >= LEAST_ACROSS


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
    out_blocks, in_blocks = len(rows), len(starts)
    # Addresses of inputs and of weights, lengths.
    runs = np.empty((3, in_blocks), np.int64)
    at_places = np.int64(runs.ctypes.data)
    at_weights, at_lengths = at_places + 8 * in_blocks, at_places + 16 * in_blocks
    zeros = np.zeros(out_size if bias == 0 else 0, np.float32)
    across = is_read_across(in_size, ldc)
    is_turned = ldc != 1 and not across
    column = np.empty(in_blocks * in_size * out_size if is_turned else 0, np.float32)
    at_column, row = np.int64(column.ctypes.data), out_size if is_turned else ldw
    # The output block for which a block of weights was turned last.
    turned = np.full(in_blocks * is_turned, -1)
    for j in range(out_blocks):
        begin = np.int64(zeros.ctypes.data) if bias == 0 else bias + 4 * j * out_size
        for r in range(counts[j]):
            b, num = np.int64(rows[j, r]), 0
            for q in range(kept[b]):
                i = entries[b, q] >> 32
                place = x + 4 * in_size * starts[i] + (entries[b, q] & LOWER_HALF) * ldx
                weight = w + 4 * (j * panel + i * in_size * ldw)
                if is_turned:
                    at, weight = weight, at_column + 4 * i * in_size * out_size
                    if turned[i] != j:
                        transpose_floats(at, ldc, weight, out_size, out_size, in_size)
                        turned[i] = j
                shift = 4 * runs[2, num - 1] if across and num > 0 else 0
                if (
                    shift > 0
                    and runs[0, num - 1] + shift == place
                    and runs[1, num - 1] + shift == weight
                ):
                    runs[2, num - 1] += in_size
                else:
                    runs[0, num], runs[1, num], runs[2, num] = place, weight, in_size
                    num += 1
            to = y + 4 * (b * out_blocks + j) * out_size
            if across:
                sum_row_across(at_places, at_weights, at_lengths, num, ldc, begin, to, out_size)
            else:
                sum_row(at_places, at_weights, num, in_size, row, begin, to, out_size)
            activate(to, out_size, activation)
    # Numba frees an array after its last use, and an address is none.
    column[:1] = 0
    runs[0, :1] = 0
