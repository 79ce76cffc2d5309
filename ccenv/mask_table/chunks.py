"""Chunks of a table on disk: (number, answers) <-> a checked file each, so that a build resumes."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.checked_file import DamagedFileError, read_checked, write_checked
from ccenv.mask_table.menus import Menus
from ccenv.mask_table.walk import Answers, answers, seconds_of_walk


@dataclass(frozen=True)
class Job:
    """What one chunk needs."""

    network: Any
    """frozen."""
    menus: Menus
    """one a gate."""
    batch_size: int
    """inputs at a time."""

    def __call__(self, inputs: Tensor, labels: Tensor) -> Answers:
        """Answers of a chunk, batch by batch.

        Raises:
            ValueError: see `answers`, or if two batches have different MACs.
        """
        size = self.batch_size
        pairs = zip(inputs.split(size), labels.split(size), strict=True)
        return joined([answers(self.network, x, y, self.menus) for x, y in pairs])

    def seconds(self, inputs: Tensor, labels: Tensor) -> float:
        """Seconds of a batch, about; see `seconds_of_walk`."""
        return seconds_of_walk(self.network, inputs, labels, self.menus)


def joined(parts: list[Answers]) -> Answers:
    """Answers of neighbouring inputs as one."""
    macs = parts[0].macs
    if any(not np.array_equal(macs, part.macs) for part in parts):
        raise ValueError("expected MACs that masks alone decide, got different ones for inputs")
    right, nll = (np.concatenate([getattr(p, n) for p in parts]) for n in ("right", "nll"))
    return Answers(right, nll, macs)


def chunk_path(folder: Path, number: int) -> Path:
    """Where a chunk lies."""
    return folder / f"{number:06d}.safetensors"


def write_chunk(folder: Path, number: int, found: Answers) -> None:
    """Keeps a finished chunk."""
    tensors = {
        "right": torch.from_numpy(np.packbits(found.right, axis=1)),
        "nll": torch.from_numpy(found.nll),
        "macs": torch.from_numpy(found.macs),
    }
    write_checked(chunk_path(folder, number), tensors, {})


def read_chunk(folder: Path, number: int, shape: tuple[int, int]) -> Answers | None:
    """A finished chunk [inputs, masks]; None where there is none, or it is damaged."""
    try:
        tensors, _, has_checksum = read_checked(chunk_path(folder, number))
    except (FileNotFoundError, DamagedFileError):
        return None
    if not has_checksum or set(tensors) != {"right", "nll", "macs"}:
        return None
    packed, nll, macs = (tensors[name].numpy() for name in ("right", "nll", "macs"))
    if nll.shape != shape or packed.shape != (shape[0], -(-shape[1] // 8)):
        return None
    return Answers(np.unpackbits(packed, axis=1, count=shape[1]).view(bool), nll, macs)


@contextlib.contextmanager
def workers(job: Job, count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that can do a job by `work`; stopped with the process that asked for them."""
    # Spawned, not forked: forked ones would inherit torch's threads in any state.
    pool = ProcessPoolExecutor(count, get_context("spawn"), prepare, (job,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_JOB: list[Job] = []
"""Of this worker, so that a network travels once."""


def prepare(job: Job) -> None:
    """Takes the job, keeps to one thread, leaves Ctrl-C to the parent and dies with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _JOB[:] = [job]
    threading.Thread(target=die_with_parent, daemon=True).start()


def die_with_parent() -> None:
    """Waits for the parent's end, so that a killed build leaves no process behind."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(inputs: Tensor, labels: Tensor) -> Answers:
    """One chunk, in a worker."""
    return _JOB[0](inputs, labels)
