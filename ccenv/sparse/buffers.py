"""Memory that the kernels keep: results whose memory is used again, weights laid in panels.

The system maps fresh memory page by page when it is first written, which for a sparse layer costs
as much as its products. The memory of a large tensor without references is kept for the next one.

Frozen weights are copied as the kernels read them fastest, one output block after the other: of a
layer whose blocks are 32 units wide they read 128 bytes here and 128 bytes a page further on; side
by side, the processor fetches ahead. Only weights that the caller has declared constant
(`keep_panels`) are copied: a change through `weight.data` is not counted by torch, and the copy
would then be out of date.
"""

import functools
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

# From so many floats on; smaller ones the C library keeps by itself.
LARGE = 1 << 18
MAX_KEPT_BYTES = 1 << 28


class BufferPool:
    """Unused buffers, by size; beyond a number of bytes the oldest are freed."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        """Starts empty; `max_bytes` are kept at most."""
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


LINE = 16
"""Floats of 64 bytes, at multiples of which torch's memory begins."""


def new_result(rows: int, columns: int, line: int = 1) -> Tensor:
    """Any float32 [rows, columns] on the CPU; it begins at a multiple of `line` floats."""
    size = rows * columns
    if size < LARGE:
        return torch.empty(rows, columns)
    buffer = buffer_pool().take(size + line - 1)
    start = -(buffer.ctypes.data // 4) % line
    # The tensor holds this array and nothing else does: it dies when the last view of it does.
    array = buffer[start : start + size].reshape(rows, columns)
    weakref.finalize(array, buffer_pool().give, buffer).atexit = False
    return torch.from_numpy(array)


def kept_memory(rows: int, columns: int) -> Tensor:
    """`new_result` for what torch's own products read.

    Where memory begins elsewhere than torch's does, they may take other ways through a matrix, and
    a run would not be the same by bits.
    """
    return new_result(rows, columns, LINE)


@dataclass
class Entry:
    """What is kept of one weight tensor."""

    weight: weakref.ref[Tensor]
    """the tensor itself: numbers of objects and addresses are used again, tensors are not."""
    state: tuple[int, int]
    """address, and torch's count of changes in place, when the copies were made."""
    panels: dict[int, Tensor] = field(default_factory=dict)
    """number of output blocks -> [out_blocks, in_features, out_size] contiguous."""
    rounded: dict[torch.dtype, Tensor] = field(default_factory=dict)
    """dtype -> the weight in it."""


_entries: dict[int, Entry] = {}


def keep_panels(network: nn.Module) -> None:
    """Promises that a network's weights stay as they are, so that the kernels may keep copies.

    Changes in place that torch counts (an optimiser's, `load_state_dict`) are noticed all the
    same; changes through `.data` are not. The promise is not copied or pickled with the network.
    """
    for weight in network.parameters():
        if weight.ndim == 2:
            remember(weight)


def remember(weight: Tensor) -> None:
    """Opens an entry for a weight, which goes when the weight does."""
    key = id(weight)

    def forget(_: weakref.ref[Tensor]) -> None:
        _entries.pop(key, None)

    state = (weight.data_ptr(), weight._version)
    _entries[key] = Entry(weakref.ref(weight, forget), state)


def kept_entry(weight: Tensor) -> Entry | None:
    """What is kept of a weight as it is now; None of one that was not declared constant."""
    entry = _entries.get(id(weight))
    if entry is None or entry.weight() is not weight:
        return None
    state = (weight.data_ptr(), weight._version)
    if entry.state != state:
        entry.state, entry.panels, entry.rounded = state, {}, {}
    return entry


def kept_in_dtype(weight: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The weight in another dtype, rounded once; None of one that was not declared constant."""
    entry = None if weight.requires_grad else kept_entry(weight)
    if entry is None:
        return None
    if dtype not in entry.rounded:
        entry.rounded[dtype] = weight.detach().to(dtype)
    return entry.rounded[dtype]


def panels_of(weight: Tensor, out_blocks: int) -> Tensor | None:
    """A contiguous copy of the weight as [out_blocks, in_features, out_size].

    None of a weight that was not declared constant or that is one block anyway.
    """
    entry = None if out_blocks == 1 else kept_entry(weight)
    if entry is None:
        return None
    if out_blocks not in entry.panels:
        blocks = weight.detach().unflatten(0, (out_blocks, -1))
        entry.panels[out_blocks] = blocks.transpose(1, 2).contiguous()
    return entry.panels[out_blocks]
