"""CPU kernels in numba: addresses of tensors and masks -> block-sparse products in place.

For each output block, either each row that keeps it is summed by itself over the input blocks that
it keeps (`row_kernel`), or, where rows share weights, they are bucketed by the input blocks they
keep, and each pair of blocks is multiplied for just these rows, a few of which share every weight
they load. No pair is computed that a row does not keep, no weight of such a pair is read, and one
loop owns each output: results do not depend on the run, and on other rows only by rounding.

A layer without a mask on one side is a layer of one block there. Weights of an input lie `ldw`
floats behind those of the one before it, those of an output `ldc` floats; one of the two is 1.
Activations lie as [batch, features], contiguous.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, called_by_name, compiled
from ccenv.sparse.cpu.codegen.floats import call_activate, call_zero_columns, copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import ask_for
from ccenv.sparse.cpu.elementwise_kernels import call_transpose
from ccenv.sparse.cpu.row_kernel import (
    Inputs,
    LayerAddresses,
    is_read_across,
    multiply_row,
    multiply_rows,
)
from ccenv.sparse.cpu.row_lists import (
    blocks_of_rows,
    bucket,
    gather_inputs,
    list_block_rows,
)
from ccenv.sparse.cpu.tiles import LINE, TILE_COLUMNS, TILE_K, call_tile, longest_tile, times_block

# Sums of one pass: as many rows of a block as stay in the fast caches, side by side.
CHUNK_SUMS = 32768
# From so many rows on, and so many output blocks a row, inputs are gathered first.
GATHER_ROWS, GATHER_USES = 128, 3
# Up to so many rows a pair of blocks, on average, each row goes by itself; where weights would be
# turned on their side otherwise; and where these lie pages apart, on the same lines of the cache.
ALONE, ALONE_ACROSS, ALONE_PAGED = 2.7, 5.5, 4.1
PAGE = 1024
"""Floats."""


@compiled
def start_row(to: int, bias: int, width: int) -> None:
    """Sets a row of sums to the bias, or to zero where its address is 0."""
    if bias == 0:
        carray(as_pointer(to), (width,), np.float32)[:] = 0
    else:
        copy_floats(bias, to, width)


@compiled
def start_sums(sums: Any, n: int, bias: int, width: int) -> None:
    """Sets n rows of sums to the bias, or to zero where its address is 0."""
    if bias == 0:
        sums[: n * width] = 0
        return
    base = np.int64(sums.ctypes.data)
    for r in range(n):
        copy_floats(bias, base + 4 * r * width, width)


@compiled
def finish_sums(
    rows: Any, first: int, last: int, sums: Any, y: int, ldy: int, width: int, activation: int
) -> None:
    """Applies the activation to the sums of rows[first:last] and writes them where they belong."""
    base = np.int64(sums.ctypes.data)
    n = last - first
    call_activate(base, n * width, activation)
    for r in range(n):
        copy_floats(base + 4 * r * width, y + np.int64(rows[first + r]) * ldy, width)


@compiled
def ask_for_block(w: int, ldc: int, in_size: int, out_size: int) -> None:
    """Fetches the first tile of a block whose weights lie output by output."""
    for c in range(min(out_size, TILE_COLUMNS)):
        for k in range(0, min(in_size, TILE_K), LINE):
            ask_for(w + 4 * (c * ldc + k))


@compiled
def multiply_blocks(s: LayerAddresses, listed: Inputs, rows: Any, counts: Any) -> None:
    """The products of `multiply_kept`, one output block and a chunk of its rows after the other."""
    in_size, out_size = s.in_size, s.out_size
    out_blocks, batch = rows.shape
    num_chunks = max(1, (batch * out_size + CHUNK_SUMS // 2) // CHUNK_SUMS)
    chunk = max(1, min(batch, 16), -(-batch // num_chunks))
    pairs = np.empty((s.in_blocks, chunk), np.int64)
    sizes = np.empty(s.in_blocks, np.int64)
    tile = np.empty(TILE_K * TILE_COLUMNS, np.float32)
    sums = np.empty(chunk * out_size, np.float32)
    to, ld = np.int64(sums.ctypes.data), 4 * out_size
    # Slices of numba's arrays are counted references: for a few rows of a block these take longer
    # than its products.
    at_rows, at_pairs = np.int64(rows.ctypes.data), np.int64(pairs.ctypes.data)
    for j in range(out_blocks):
        own_rows = carray(as_pointer(at_rows + 4 * batch * j), (batch,), np.int32)
        column, own_bias = s.w + 4 * j * s.panel, 0 if s.bias == 0 else s.bias + j * ld
        for first in range(0, counts[j], chunk):
            last = min(first + chunk, counts[j])
            start_sums(sums, last - first, own_bias, out_size)
            bucket(own_rows, first, last, listed.entries, listed.kept, pairs, sizes)
            for i in range(s.in_blocks):
                if sizes[i] > 0:
                    if s.ldc != 1:
                        following = i + 1
                        while following < s.in_blocks and sizes[following] == 0:
                            following += 1
                        if following < s.in_blocks:
                            at = column + 4 * following * in_size * s.ldw
                            ask_for_block(at, s.ldc, in_size, out_size)
                    pair, place = (
                        at_pairs + 8 * chunk * i,
                        listed.x + 4 * in_size * listed.starts[i],
                    )
                    w, ldx = column + 4 * i * in_size * s.ldw, listed.ldx
                    times_block(
                        pair, sizes[i], place, ldx, w, s.ldw, s.ldc, to, ld, in_size, out_size, tile
                    )
            at = s.y + j * ld
            finish_sums(own_rows, first, last, sums, at, out_blocks * ld, out_size, s.activation)


@compiled
def multiply_in_place(s: LayerAddresses, rows: Any, counts: Any) -> None:
    """The same for an input without blocks and a tile of weights: sums lie where they belong.

    Nothing is sorted, and sums are written twice only: that is most of what a small layer costs.
    """
    in_size, out_size = s.in_size, s.out_size
    out_blocks, batch = rows.shape
    pairs = np.empty(batch, np.int64)
    tile = np.empty(0 if s.ldc == 1 else in_size * out_size, np.float32)
    at_tile, row = np.int64(tile.ctypes.data), s.ldw if s.ldc == 1 else out_size
    at_rows, ld = np.int64(rows.ctypes.data), 4 * out_blocks * out_size
    at_pairs = np.int64(pairs.ctypes.data)
    for j in range(out_blocks):
        own_rows = carray(as_pointer(at_rows + 4 * batch * j), (batch,), np.int32)
        n, column, to = counts[j], s.w + 4 * j * s.panel, s.y + 4 * j * out_size
        own_bias = 0 if s.bias == 0 else s.bias + 4 * j * out_size
        for r in range(n):
            b = np.int64(own_rows[r])
            pairs[r] = b << 32 | b
            start_row(to + b * ld, own_bias, out_size)
        if s.ldc != 1 and n > 0:
            call_transpose(column, s.ldc, at_tile, out_size, out_size, in_size)
            column = at_tile
        call_tile(at_pairs, n, s.x, 4 * in_size, column, row, to, ld, in_size, out_size)
        if out_blocks == 1 and n == batch:
            call_activate(s.y, n * out_size, s.activation)
        else:
            for r in range(n):
                call_activate(to + np.int64(own_rows[r]) * ld, out_size, s.activation)
    # Keep what was read by its address alive: numba frees an array after its last use.
    tile[:1] = 0
    pairs[:1] = 0


@compiled
def multiply_kept(
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
    start: int,
    stop: int,
    first: int,
    last: int,
) -> None:
    """Writes activation(x w + bias) on kept blocks; elsewhere zero, or nothing if `clear` is 0.

    For rows start to stop and output blocks first to last; a block's result does not depend on
    which others are asked for. Operands as in `LayerAddresses`, one by one: to hand over a tuple
    of them would take longer than a small layer takes.
    """
    batch = stop - start
    x += 4 * start * in_blocks * in_size
    y += 4 * start * out_blocks * out_size
    in_mask = 0 if in_mask == 0 else in_mask + start * in_blocks
    out_mask = 0 if out_mask == 0 else out_mask + start * out_blocks
    sizes = in_blocks, in_size, out_blocks, out_size
    layer = LayerAddresses(x, w, ldw, ldc, panel, bias, in_mask, out_mask, y, *sizes, activation)
    if batch == 1:
        multiply_row(layer, clear, first, last)
        return
    rows = np.empty((out_blocks, batch), np.int32)
    counts = np.empty(out_blocks, np.int64)
    list_block_rows(out_mask, batch, out_blocks, rows, counts)
    if clear != 0 and out_mask != 0:
        call_zero_columns(y, batch, out_blocks * out_size, first * out_size, last * out_size)
    uses = counts.sum()
    counts[:first] = 0
    counts[last:] = 0
    is_tile = out_size <= TILE_COLUMNS and in_size <= longest_tile(out_size)
    if in_mask == 0 and is_tile and (out_blocks == 1 or out_size >= 8):
        multiply_in_place(layer, rows, counts)
        return
    entries = np.empty((batch, in_blocks), np.int64)
    kept = np.empty(batch, np.int64)
    blocks_of_rows(in_mask, batch, in_blocks, entries, kept)
    starts = np.arange(in_blocks)
    held, base, ldx = np.empty(0, np.float32), x, 4 * in_blocks * in_size
    # Each block of x is read once for each output block that its row keeps.
    if in_mask != 0 and batch >= GATHER_ROWS and uses >= GATHER_USES * batch:
        held = gather_inputs(x, batch, in_size, ldx, entries, kept, starts)
        base, ldx = np.int64(held.ctypes.data), 4 * in_size
    listed = Inputs(held, base, ldx, entries, kept, starts)
    alone = ALONE
    if is_read_across(in_size, ldc):
        alone = ALONE_PAGED if ldc % PAGE == 0 else ALONE_ACROSS
    if in_mask != 0 and kept.sum() * uses <= alone * batch * in_blocks * out_blocks:
        multiply_rows(layer, listed, rows, counts)
    else:
        multiply_blocks(layer, listed, rows, counts)


call_multiply_kept = called_by_name(multiply_kept)
