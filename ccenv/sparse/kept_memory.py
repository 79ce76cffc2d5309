"""Memory of earlier tensors for new ones, as torch aligns it: (rows, columns) -> any content.

As `ccenv.sparse.cpu.buffers`, for what torch's own products read: where memory begins they may take
other ways through a matrix, and a run would not be the same by bits.
"""

import weakref

import torch
from torch import Tensor

from ccenv.sparse.cpu.buffers import LARGE, buffer_pool

LINE = 16
"""Floats of 64 bytes, at multiples of which torch's memory begins."""


def kept_memory(rows: int, columns: int) -> Tensor:
    """A tensor float32 [rows, columns] on the CPU; a large one lies where nobody holds one more."""
    size = rows * columns
    if size < LARGE:
        return torch.empty((rows, columns))
    buffer = buffer_pool().take(size + LINE)
    start = -(buffer.ctypes.data // 4) % LINE
    # The tensor holds this array and nothing else does: it dies when the last view of it does.
    array = buffer[start : start + size].reshape(rows, columns)
    weakref.finalize(array, buffer_pool().give, buffer).atexit = False
    return torch.from_numpy(array)
