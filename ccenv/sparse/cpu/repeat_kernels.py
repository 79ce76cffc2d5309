"""One image's activations for each of its masks, compiled: (shared, mask) -> kept blocks, zeros.

Addresses are int64, as everywhere in the CPU kernels.
"""

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import add_floats, copy_floats, zero_columns
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer


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
