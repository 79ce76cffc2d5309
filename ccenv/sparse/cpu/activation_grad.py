"""Slopes before the activation: (results, their gradients, mask) -> what gradients are made of."""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import RELU, TANH
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer


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
