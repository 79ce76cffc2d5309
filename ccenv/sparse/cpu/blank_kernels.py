"""Zeros in skipped blocks, compiled: (activations, mask) -> kept blocks as they are, zeros.

Addresses are int64, as everywhere in the CPU kernels.
"""

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import copy_floats, zero_columns
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer


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
