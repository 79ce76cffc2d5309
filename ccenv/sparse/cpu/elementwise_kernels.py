"""Small kernels beside the products: zeros, residual sums, copies a mask, pooling, transposes.

Zeros in skipped blocks, compiled: (activations, mask) -> kept blocks as they are, zeros.

Addresses are int64, as everywhere in the CPU kernels.

A residual sum of some rows, compiled: (base, added, rows) -> base with sums in these rows.

One image's activations for each of its masks, compiled: (shared, mask) -> kept blocks, zeros.

Addresses are int64, as everywhere in the CPU kernels.

A policy's score of one map, compiled: (its pixels, a weight) -> one number, nothing in between.

Averaging and multiplying with torch's operations takes as long for one map as a convolution of it.
Addresses are int64, as everywhere in the CPU kernels.

Matrices turned on their side: floats at an address -> their transpose at another.
"""

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import LANES, compiled, compiled_sum
from ccenv.sparse.cpu.codegen.floats import add_floats, copy_floats, make_transpose, zero_columns
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer, make_copy


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
def merge(base: np.ndarray, added: np.ndarray, rows: np.ndarray, y: np.ndarray) -> None:
    """Writes base [n, size], and base + added [kept, size] in the given rows, which rise."""
    place = 0
    for row in range(base.shape[0]):
        if place < rows.shape[0] and rows[place] == row:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i] + added[place, i]
            place += 1
        else:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i]


@compiled
def merge_relu(base: np.ndarray, added: np.ndarray, rows: np.ndarray, y: np.ndarray) -> None:
    """The same, and ReLU of the sums; what is no number stays so, as in torch."""
    place = 0
    for row in range(base.shape[0]):
        if place < rows.shape[0] and rows[place] == row:
            for i in range(base.shape[1]):
                value = base[row, i] + added[place, i]
                y[row, i] = np.float32(0.0) if value < 0 else value
            place += 1
        else:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i]


@compiled
def repeat(
    shared: int, mask: int, y: int, group: int, blocks: int, size: int, first: int, last: int
) -> None:
    """Writes the rows of images first to last: kept blocks of the image's row, zero elsewhere."""
    width = blocks * size
    keep = carray(as_pointer(mask), (last * group * blocks,), np.uint8)
    zero_columns(y + 4 * first * group * width, (last - first) * group, width, 0, width)
    for row in range(first * group, last * group):
        source, target = shared + 4 * (row // group) * width, y + 4 * row * width
        for block in range(blocks):
            if keep[row * blocks + block]:
                at = 4 * block * size
                copy_floats(source + at, target + at, size)


@compiled
def gather(
    grad: int, mask: int, y: int, group: int, blocks: int, size: int, first: int, last: int
) -> None:
    """Writes the sums over each image's masks of the gradients of kept blocks."""
    width = blocks * size
    keep = carray(as_pointer(mask), (last * group * blocks,), np.uint8)
    zero_columns(y + 4 * first * width, last - first, width, 0, width)
    for row in range(first * group, last * group):
        source, target = grad + 4 * row * width, y + 4 * (row // group) * width
        for block in range(blocks):
            if keep[row * blocks + block]:
                at = 4 * block * size
                add_floats(source + at, target + at, size)


@compiled_sum
def pooled_score(source: int, weight: int, height: int, length: int) -> float:
    """Sum over both halves of the lines: their sum [length] times the half's weight [length].

    Args:
        source: address of float32 [height, length], lines of pixels.
        weight: address of float32 [2, length].
        height: number of lines, even.
        length: numbers of a line, width times channels.
    """
    lines = carray(as_pointer(source), (height, length), np.float32)
    weights = carray(as_pointer(weight), (2, length), np.float32)
    added = np.empty(length, np.float32)
    total = np.float32(0)
    for half in range(2):
        added[:] = 0
        for i in range(half * height // 2, (half + 1) * height // 2):
            for j in range(length):
                added[j] += lines[i, j]
        for j in range(length):
            total += added[j] * weights[half, j]
    return total


square, small_square, copy_one = make_transpose(LANES), make_transpose(4), make_copy(1)


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
                    copy_one(at + 4 * down * from_row, target + 4 * down)
                k += 1
        r += size
