"""Gradients of the CPU kernels: addresses of a layer's tensors and masks -> its gradients in place.

Several callers may share a layer. Each owns a range of input units: these rows of the weight's
gradient, these columns of the input's. So every sum is made by one caller and in the order of rows,
and the gradients are the same, bit for bit, however many share.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import RELU, TANH, copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, as_pointer
from ccenv.sparse.cpu.gradient_tiles import outer_tile
from ccenv.sparse.cpu.lists import blocks_of_rows, bucket, rows_of_blocks


@compiled
def slope_floats(y: int, grad_y: int, to: int, width: int, activation: int) -> None:
    """Writes grad_y times the activation's slope, which follows from its output y."""
    value = carray(as_pointer(y), (width,), np.float32)
    source = carray(as_pointer(grad_y), (width,), np.float32)
    z = carray(as_pointer(to), (width,), np.float32)
    for c in range(width):
        if activation == TANH:
            z[c] = source[c] * (np.float32(1) - value[c] * value[c])
        elif activation == RELU:
            z[c] = source[c] if value[c] > 0 else np.float32(0)
        else:
            z[c] = source[c]


@compiled
def slope_blocks(
    y: int, grad_y: int, to: int, mask: int, batch: int, blocks: int, size: int, activation: int
) -> None:
    """The same for the blocks that rows keep of [batch, blocks * size]; others are not written."""
    kept = carray(as_pointer(mask), (batch * blocks,), np.uint8)
    for n in range(batch * blocks):
        if mask == 0 or kept[n]:
            shift = 4 * n * size
            slope_floats(y + shift, grad_y + shift, to + shift, size, activation)


@compiled
def slope_rows(
    rows: Any, n: int, y: int, grad_y: int, to: int, ld: int, width: int, activation: int
) -> None:
    """Packs the rows' block of grad_y times the activation's slope, which follows from its output.

    `ld` is the distance in bytes from row to row of y and grad_y.
    """
    for r in range(n):
        offset = np.int64(rows[r]) * ld
        slope_floats(y + offset, grad_y + offset, to + 4 * r * width, width, activation)


@compiled
def sum_rows(z: int, n: int, width: int, to: int) -> None:
    """Adds n rows that lie together, in their order: to[:width] = sum over r of z[r, :width]."""
    total = carray(as_pointer(to), (width,), np.float32)
    total[:] = 0
    for r in range(n):
        part = carray(as_pointer(z + 4 * r * width), (width,), np.float32)
        for c in range(width):
            total[c] += part[c]


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
                    items, sizes[i], z, out_size, at_packed, num_k, to, in_width, out_size, num_k
                )
            else:
                to = grad_w + shift + 4 * k * out_width
                outer_tile(
                    pairs[i], sizes[i], x + 4 * k, in_width, z, out_size, to, out_width,
                    num_k, out_size,
                )  # fmt: skip
    # Numba frees an array after its last use, and an address is none.
    block[0] = 0
    packed[:1] = 0
