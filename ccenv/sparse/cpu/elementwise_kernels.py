"""Small kernels around the products: zeros, slopes, residual sums, copies, pooling, transposes.

Addresses are int64, as everywhere in the CPU kernels.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import (
    LANES,
    as_pointer,
    called_by_name,
    compiled,
)
from ccenv.sparse.cpu.codegen.floats import (
    RELU,
    TANH,
    add_floats,
    copy_floats,
    make_transpose,
    walk_copy,
    zero_columns,
)


@compiled
def blank_copy(x: int, mask: int, y: int, blocks: int, size: int, first: int, last: int) -> None:
    """Writes rows first to last of y: kept blocks of x, zero elsewhere; y may be x."""
    keep = carray(as_pointer(mask), (last * blocks,), np.uint8)
    start, end = first * blocks, last * blocks
    while start < end:
        # Neighbours of one kind together, over the ends of rows too, as they lie in memory.
        stop = start + 1
        while stop < end and keep[stop] == keep[start]:
            stop += 1
        at, width = 4 * start * size, (stop - start) * size
        if not keep[start]:
            zero_columns(y + at, 1, width, 0, width)
        elif x != y:
            copy_floats(x + at, y + at, width)
        start = stop


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
def add_up_rows(z: int, n: int, width: int, to: int) -> None:
    """Adds n rows that lie together, in their order: to[:width] = sum over r of z[r, :width]."""
    total = carray(as_pointer(to), (width,), np.float32)
    total[:] = 0
    for r in range(n):
        part = carray(as_pointer(z + 4 * r * width), (width,), np.float32)
        for c in range(width):
            total[c] += part[c]


@compiled
def merge(base: np.ndarray, added: np.ndarray, rows: np.ndarray, y: np.ndarray, relu: bool) -> None:
    """Writes base [n, size], and base + added [kept, size] in the given rows, which rise.

    With ReLU of the sums; what is no number stays so, as in torch.
    """
    place = 0
    for row in range(base.shape[0]):
        if place < rows.shape[0] and rows[place] == row:
            for i in range(base.shape[1]):
                value = base[row, i] + added[place, i]
                y[row, i] = np.float32(0.0) if relu and value < 0 else value
            place += 1
        else:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i]


@compiled
def repeat(
    shared: int,
    rows: int,
    mask: int,
    group: int,
    blocks: int,
    size: int,
    first: int,
    last: int,
    backward: bool,
) -> None:
    """Writes the rows of images first to last: kept blocks of the image's row, zero elsewhere.

    Backwards it writes the images: the sums over their rows of the gradients of kept blocks.
    """
    width = blocks * size
    keep = carray(as_pointer(mask), (last * group * blocks,), np.uint8)
    if backward:
        zero_columns(shared + 4 * first * width, last - first, width, 0, width)
    else:
        zero_columns(rows + 4 * first * group * width, (last - first) * group, width, 0, width)
    for row in range(first * group, last * group):
        for block in range(blocks):
            if keep[row * blocks + block]:
                at = shared + 4 * (row // group * width + block * size)
                to = rows + 4 * (row * width + block * size)
                if backward:
                    add_floats(to, at, size)
                else:
                    copy_floats(at, to, size)


square, small_square = make_transpose(LANES), make_transpose(4)


@compiled
def transpose_floats(
    source: int, from_row: int, to: int, to_row: int, rows: int, width: int
) -> None:
    """to[k, r] = source[r, k] for r < rows, k < width; distances between rows in floats."""
    r = 0
    while r < rows:
        size = LANES if rows - r >= LANES else 4 if rows - r >= 4 else 1
        k = 0
        while k < width:
            at, target = source + 4 * (r * from_row + k), to + 4 * (k * to_row + r)
            if size == LANES and width - k >= LANES:
                square(at, from_row, target, to_row)
                k += LANES
            elif size >= 4 and width - k >= 4:
                for down in range(0, size, 4):
                    small_square(at + 4 * down * from_row, from_row, target + 4 * down, to_row)
                k += 4
            else:
                for down in range(size):
                    walk_copy(at + 4 * down * from_row, target + 4 * down, 1)
                k += 1
        r += size


call_transpose = called_by_name(transpose_floats)
