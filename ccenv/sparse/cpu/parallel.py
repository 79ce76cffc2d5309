"""Layers shared between threads: work on a range of rows or blocks -> the whole, in parts."""

import functools
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

# Below these a second thread costs more than it saves.
MIN_SHARED_ROWS, MIN_SHARED_MACS = 512, 1 << 26
MIN_SHARED_KEPT_MACS = 1 << 22
MIN_SHARED_UNITS, MIN_SHARED_GRADIENT_MACS = 64, 1 << 24
# Floats of a line of the cache.
LINE = 16


def is_worth_sharing(macs: int, in_mask: Tensor | None, out_mask: Tensor | None) -> bool:
    """Whether the kept pairs of blocks, of a layer's `macs` in all, keep two threads busy."""
    if macs < MIN_SHARED_MACS:
        return False
    masks = [mask for mask in (in_mask, out_mask) if mask is not None]
    kept = math.prod(int(mask.count_nonzero()) / max(1, mask.numel()) for mask in masks)
    return macs * kept >= MIN_SHARED_KEPT_MACS


def share_rows(work: Callable[[int, int], None], num_rows: int, macs_of_row: int) -> None:
    """Calls work(first, last) on all rows, in as many parts at once as torch has threads.

    Few or cheap rows are computed by the caller: waking a thread takes as long as a small layer.
    """
    is_large = num_rows * macs_of_row >= MIN_SHARED_MACS
    share(work, num_rows, MIN_SHARED_ROWS if is_large else num_rows)


def share_units(work: Callable[[int, int], None], num_units: int, macs_of_unit: int) -> None:
    """The same for a layer's input units, whose gradients come without those of their neighbours.

    Parts are whole cache lines: no two threads write to the same one.
    """
    is_large = num_units * macs_of_unit >= MIN_SHARED_GRADIENT_MACS
    share(work, num_units, MIN_SHARED_UNITS if is_large else num_units, LINE)


def share(work: Callable[[int, int], None], total: int, smallest: int, unit: int = 1) -> None:
    """Calls work(first, last) on parts of at least `smallest`, cut at multiples of `unit`.

    The caller computes the first part, then every part that no thread has started: if all cores are
    busy, it never waits for a thread to start.
    """
    parts = min(total // max(1, smallest), torch.get_num_threads())
    if parts <= 1:
        work(0, total)
        return
    cuts = [total * part // parts // unit * unit for part in range(parts)] + [total]
    ranges = list(itertools.pairwise(cuts))
    others = [(thread_pool().submit(work, *part), part) for part in ranges[1:]]
    work(*ranges[0])
    for other, part in others:
        if other.cancel():
            work(*part)
        else:
            other.result()


@functools.cache
def thread_pool() -> ThreadPoolExecutor:
    """Threads that live as long as the process; the kernels let go of Python's lock."""
    return ThreadPoolExecutor(thread_name_prefix="ccenv")
