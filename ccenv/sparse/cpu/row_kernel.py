"""Products row by row, for masks so sparse that rows hardly share a weight: one row's sums at once.

Sorting rows by pairs of blocks costs more than it saves where a pair has one row or two. Here a
row's output block is summed in registers over all input blocks that the row keeps; output blocks
come one after the other, so that the weights of one are in cache for all of its rows.

Weights that lie output by output are read so, neighbouring kept blocks of a row as one run; blocks
of a few inputs, which would leave most of a vector empty, are turned on their side when the first
row needs them.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, called_by_name, compiled
from ccenv.sparse.cpu.codegen.floats import call_activate, call_zero_columns
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, sum_blocks, sum_runs
from ccenv.sparse.cpu.elementwise_kernels import call_transpose


class LayerAddresses(NamedTuple):
    """Where a layer's numbers lie, and their sizes; see `ccenv.sparse.cpu.kernels`."""

    x: int
    """address of [batch, in_blocks * in_size]."""
    w: int
    """address of the weights."""
    ldw: int
    """floats from an input's weights to those of the next one."""
    ldc: int
    """floats from an output's weights to those of the next one; this or `ldw` is 1."""
    panel: int
    """floats from an output block's weights to those of the next one."""
    bias: int
    """address of [out_blocks * out_size]; 0 for none, as of the masks."""
    in_mask: int
    """address of bool [batch, in_blocks]."""
    out_mask: int
    """address of bool [batch, out_blocks]."""
    y: int
    """address of [batch, out_blocks * out_size]."""
    in_blocks: int
    """1 without a mask."""
    in_size: int
    """units of an input block."""
    out_blocks: int
    """1 without a mask."""
    out_size: int
    """units of an output block."""
    activation: int
    """a code of `ccenv.sparse.cpu.codegen.floats`."""


class Inputs(NamedTuple):
    """The input blocks that rows keep, as `blocks_of_rows` and `gather_inputs` list them."""

    held: Any
    """memory that x may point to: it lives on while it is read."""
    x: int
    """address of the first row."""
    ldx: int
    """bytes from row to row."""
    entries: Any
    """int64 [batch, in_blocks]; a block in the upper half, its row in the lower half."""
    kept: Any
    """int64 [batch]; blocks of a row."""
    starts: Any
    """int64 [in_blocks]; units of a block size from x to a block's first row."""


# Inputs of a block from which on its weights are read as they lie, output by output.
LEAST_ACROSS = 8


@compiled
def sum_one_row(
    places: int, weights: int, num: int, in_size: int, ldw: int, begin: int, to: int, out_size: int
) -> None:
    """Writes begin + the products of `num` listed blocks.

    Places, weights: addresses of int64 [num], where the blocks of a row and of the weights lie.
    """
    sum_blocks(places, weights, num, in_size, ldw, begin, to, out_size)


@compiled
def sum_row_across(
    places: int, weights: int, lengths: int, num: int, ldc: int, begin: int, to: int, out_size: int
) -> None:
    """`sum_one_row` for weights that lie output by output, and runs of inputs of any lengths."""
    sum_runs(places, weights, lengths, num, ldc, begin, to, out_size)


call_row, call_row_across = called_by_name(sum_one_row), called_by_name(sum_row_across)


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
def multiply_row(s: LayerAddresses, clear: int, first: int, last: int) -> None:
    """`forward` of the kernels for a single row: nothing is sorted, and one list is enough."""
    # First units, lengths, addresses of inputs and of weights.
    runs = np.empty((4, s.in_blocks), np.int64)
    at_lengths = np.int64(runs.ctypes.data) + 8 * s.in_blocks
    at_places, at_weights = at_lengths + 8 * s.in_blocks, at_lengths + 16 * s.in_blocks
    size, across = s.out_size, s.ldc != 1
    zeros = np.zeros(size if s.bias == 0 else 0, np.float32)
    writes = carray(as_pointer(s.out_mask), (s.out_blocks,), np.uint8)
    num = list_runs(s.in_mask, s.in_blocks, s.in_size, across, runs)
    for q in range(num):
        runs[2, q] = s.x + 4 * runs[0, q]
    if clear != 0 and s.out_mask != 0:
        call_zero_columns(s.y, 1, s.out_blocks * size, first * size, last * size)
    for j in range(first, last):
        if s.out_mask == 0 or writes[j]:
            begin = np.int64(zeros.ctypes.data) if s.bias == 0 else s.bias + 4 * j * size
            to = s.y + 4 * j * size
            for q in range(num):
                runs[3, q] = s.w + 4 * (j * s.panel + runs[0, q] * s.ldw)
            if across:
                call_row_across(at_places, at_weights, at_lengths, num, s.ldc, begin, to, size)
            else:
                call_row(at_places, at_weights, num, s.in_size, s.ldw, begin, to, size)
            call_activate(to, size, s.activation)
    # Keep what was read by its address alive: numba frees an array after its last use.
    runs[0, :1] = 0


@compiled
def is_read_across(in_size: int, ldc: int) -> bool:
    """Whether several rows by themselves read weights output by output, as they lie."""
    return ldc != 1 and in_size >= LEAST_ACROSS


@compiled
def multiply_rows(s: LayerAddresses, listed: Inputs, rows: Any, counts: Any) -> None:
    """As `multiply_blocks` of the kernels, without sorting rows by the blocks they share."""
    in_blocks, in_size, out_size = s.in_blocks, s.in_size, s.out_size
    # Addresses of inputs and of weights, lengths.
    runs = np.empty((3, in_blocks), np.int64)
    at_places = np.int64(runs.ctypes.data)
    at_weights, at_lengths = at_places + 8 * in_blocks, at_places + 16 * in_blocks
    zeros = np.zeros(out_size if s.bias == 0 else 0, np.float32)
    across = is_read_across(in_size, s.ldc)
    is_turned = s.ldc != 1 and not across
    column = np.empty(in_blocks * in_size * out_size if is_turned else 0, np.float32)
    at_column, row = np.int64(column.ctypes.data), out_size if is_turned else s.ldw
    # The output block for which a block of weights was turned last.
    turned = np.full(in_blocks * is_turned, -1)
    for j in range(s.out_blocks):
        begin = np.int64(zeros.ctypes.data) if s.bias == 0 else s.bias + 4 * j * out_size
        for r in range(counts[j]):
            b, num = np.int64(rows[j, r]), 0
            for q in range(listed.kept[b]):
                entry = listed.entries[b, q]
                i = entry >> 32
                place = (
                    listed.x + 4 * in_size * listed.starts[i] + (entry & LOWER_HALF) * listed.ldx
                )
                weight = s.w + 4 * (j * s.panel + i * in_size * s.ldw)
                if is_turned:
                    at, weight = weight, at_column + 4 * i * in_size * out_size
                    if turned[i] != j:
                        call_transpose(at, s.ldc, weight, out_size, out_size, in_size)
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
            to = s.y + 4 * (b * s.out_blocks + j) * out_size
            if across:
                call_row_across(at_places, at_weights, at_lengths, num, s.ldc, begin, to, out_size)
            else:
                call_row(at_places, at_weights, num, in_size, row, begin, to, out_size)
            call_activate(to, out_size, s.activation)
    # Keep what was read by its address alive: numba frees an array after its last use.
    column[:1] = 0
    runs[0, :1] = 0
