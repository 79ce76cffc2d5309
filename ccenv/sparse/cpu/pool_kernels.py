"""A policy's score of one map, compiled: (its pixels, a weight) -> one number, nothing in between.

Averaging and multiplying with torch's operations takes as long for one map as a convolution of it.
Addresses are int64, as everywhere in the CPU kernels.
"""

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import compiled_sum
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer


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
