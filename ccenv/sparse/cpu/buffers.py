"""Reused memory of large results: (rows, columns) -> a tensor whose memory returns to a pool.

The system maps fresh memory page by page when it is first written, which for a sparse layer costs
as much as its products. The memory of a tensor without references is kept for the next one.

Memory of earlier tensors for new ones, as torch aligns it: (rows, columns) -> any content.

As `ccenv.sparse.cpu.buffers`, for what torch's own products read: where memory begins they may take
other ways through a matrix, and a run would not be the same by bits.
"""

import functools
import threading
import weakref
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

# From so many floats on; smaller ones the C library keeps by itself.
LARGE = 1 << 18
MAX_KEPT_BYTES = 1 << 28


class BufferPool:
    """Unused buffers, by size; beyond a number of bytes the oldest are freed."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        """Starts empty.

        Args:
            max_bytes: kept at most.
        """
        self.max_bytes, self.kept_bytes = max_bytes, 0
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.RLock()

    def take(self, size: int) -> np.ndarray:
        """A buffer of float32 [size] with any content, an old one if there is one."""
        with self._lock:
            for key, buffer in reversed(self._kept.items()):
                if buffer.size == size:
                    del self._kept[key]
                    self.kept_bytes -= buffer.nbytes
                    return buffer
        return np.empty(size, np.float32)

    def give(self, buffer: np.ndarray) -> None:
        """Returns an unused buffer to the pool."""
        with self._lock:
            self._kept[id(buffer)] = buffer
            self.kept_bytes += buffer.nbytes
            while self.kept_bytes > self.max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.kept_bytes -= oldest.nbytes


@functools.cache
def buffer_pool() -> BufferPool:
    """The process's pool."""
    return BufferPool()


def new_result(rows: int, columns: int) -> Tensor:
    """A tensor with any content, float32 [rows, columns] on the CPU."""
    if rows * columns < LARGE:
        return torch.empty(rows, columns)
    buffer = buffer_pool().take(rows * columns)
    # The tensor holds this array and nothing else does: it dies when the last view of it does.
    array = buffer.reshape(rows, columns)
    weakref.finalize(array, buffer_pool().give, buffer).atexit = False
    return torch.from_numpy(array)


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
