"""Building a table: (frozen network, split, path) -> the file, chunk by chunk; it resumes.

Time: each block once a prefix and input, so 2 ** units - 1 blocks for each input of a network with
one block a gate.
"""

import contextlib
import copy
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.annexes.mask_table.checks import (
    MOST_BYTES,
    batches,
    check_frozen,
    check_size,
    data_digest,
    gates_of,
    network_digest,
    num_rows,
    table_bytes,
)
from ccenv.annexes.mask_table.header import Header, Menus, header_from, header_text, menus_of
from ccenv.annexes.mask_table.table import MaskTable, write_table
from ccenv.annexes.mask_table.walk import MaskAnswers, answer_all, earlier_bills
from ccenv.base.files import DamagedFileError, read_parts, write_arrays
from ccenv.base.masks import random_mask
from ccenv.data import Split
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.protocol import as_gated

CHUNK = 2
"""Batches in a chunk."""


def drawn_menu(num_blocks: int, count: int, generator: torch.Generator) -> tuple[str, ...] | None:
    """A menu of about so many masks: nothing, everything, and masks drawn at all densities.

    Args:
        num_blocks: of the gate.
        count: most masks, at least 2; None is answered where all masks are no more.
        generator: of the draws; masks that are drawn twice are kept once.
    """
    if count < 2:
        raise ValueError(f"expected a menu of at least 2 masks a gate, got {count}")
    if num_blocks < 63 and 1 << num_blocks <= count:
        return None
    rows = [torch.zeros(num_blocks, dtype=torch.bool), torch.ones(num_blocks, dtype=torch.bool)]
    for place in range(count - 2):
        rows.append(random_mask(1, num_blocks, (place + 0.5) / (count - 2), generator)[0])
    return tuple(sorted({"".join("01"[int(bit)] for bit in row) for row in rows}))


@dataclass(frozen=True)
class BuildPlan:
    """What is going to be built, reported before it starts."""

    num_images: int
    """inputs of the table."""
    num_masks: int
    """masks of each."""
    num_bytes: int
    """of the file, about."""
    num_left: int
    """inputs that are not done yet."""


def build(
    network: Any,
    split: Split,
    path: Path,
    *,
    said: Mapping[str, Any] | None = None,
    menus: Sequence[Sequence[str] | None] | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    processes: int = 1,
    most_bytes: int = MOST_BYTES,
    tell: Callable[[BuildPlan], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> MaskTable:
    """Builds the table of a frozen network and writes it.

    Finished chunks lie in a folder next to the file until all are there; the same call goes on from
    them, a call for another network or other inputs does not see them.

    Args:
        network: a `GatedNetwork` in evaluation mode without gradients, as the environment's with
            frozen or shipped weights; one that can be packed is packed, in a copy.
        split: inputs and labels, on the network's device.
        path: of the file; its folder is made where it is missing.
        said: fields of `Header` that only the caller knows: network, settings, dataset, split,
            made_with.
        menus: see `menus_of`; None for all masks.
        limit: the first so many inputs; None for all.
        batch_size: inputs at a time.
        processes: that work at once, each with one thread; 1 works in this one.
        most_bytes: of the file.
        tell: called once, before the first chunk, with what is going to be done.
        progress: called with the number of inputs done.

    Returns:
        The table, as it is in the file.

    Raises:
        ValueError: if the network is not frozen, a setting impossible, or the table would be too
            large: says how large.
        OSError: if it cannot be written.
    """
    network = as_gated(network)
    check_frozen(network)
    for name, number in (("batch_size", batch_size), ("processes", processes)):
        if number < 1:
            raise ValueError(f"expected {name} of at least 1, got {number}")
    chosen, rows = menus_of(network.gates, menus), num_rows(split, limit)
    check_size(chosen, rows, most_bytes)
    plain: dict[str, Any] = {"network": "", "settings": {}, "dataset": "", "split": ""}
    header = Header(
        **plain | dict(said or {}),
        weights=network_digest(network),
        gates=gates_of(network),
        menus=chosen,
        num_classes=split.num_classes,
        dense_macs=network.dense_macs,
        transforms=tuple(transform.name for transform in split.transforms),
        num_images=rows,
        data=data_digest(split, rows),
    )
    # What cannot be read must not take hours to build.
    header_from(header_text(header))
    folder = path.with_name(f"{path.name}.{header.digest[:12]}-{batch_size}.parts")
    job = job_of(network, chosen, batch_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with kept_alone(folder):
        answers = all_chunks(job, split, header, folder, processes, tell, progress)
        with torch.no_grad():
            looks = [
                job.network.look(0, job.network.start(x)).float().cpu().numpy()
                for x, _ in batches(split, rows, batch_size)
            ]
        one, _ = split.batch(torch.zeros(1, dtype=torch.int64, device=split.labels.device))
        table = MaskTable(
            header=header,
            right=np.packbits(answers.right, axis=1),
            nll=answers.nll,
            macs=answers.macs,
            look=np.concatenate(looks),
            bills=np.concatenate([earlier_bills(job.network, one, chosen), answers.macs]),
        )
        write_table(path, table)
        shutil.rmtree(folder, ignore_errors=True)
    return table


@dataclass(frozen=True)
class ChunkJob:
    """What one chunk needs."""

    network: Any
    """frozen."""
    menus: Menus
    """one a gate."""
    batch_size: int
    """inputs at a time."""

    def __call__(self, inputs: Tensor, labels: Tensor) -> MaskAnswers:
        """Answers of a chunk, batch by batch; ValueError if two batches have different MACs."""
        size = self.batch_size
        pairs = zip(inputs.split(size), labels.split(size), strict=True)
        return side_by_side([answer_all(self.network, x, y, self.menus) for x, y in pairs])


def job_of(network: Any, menus: Menus, batch_size: int) -> ChunkJob:
    """What each chunk needs; the network is packed, in a copy."""
    network = copy.deepcopy(network)
    pack(network)
    return ChunkJob(network, menus, batch_size)


def side_by_side(parts: Sequence[MaskAnswers]) -> MaskAnswers:
    """Answers of neighbouring inputs as one."""
    macs = parts[0].macs
    if any(not np.array_equal(macs, part.macs) for part in parts):
        raise ValueError("expected MACs that masks alone decide, got different ones for inputs")
    right, nll = (np.concatenate([getattr(p, n) for p in parts]) for n in ("right", "nll"))
    return MaskAnswers(right, nll, macs)


def all_chunks(
    job: ChunkJob,
    split: Split,
    header: Header,
    folder: Path,
    processes: int,
    tell: Callable[[BuildPlan], None] | None,
    progress: Callable[[int], None] | None,
) -> MaskAnswers:
    """Chunks that are there, then the others, of which is said how many there are."""
    places = torch.arange(header.num_images, device=split.labels.device)
    chunks = list(enumerate(places.split(CHUNK * job.batch_size)))
    shapes = {number: (len(rows), header.num_masks) for number, rows in chunks}
    answers = {
        n: a for n, shape in shapes.items() if (a := read_chunk(folder, n, shape)) is not None
    }
    left = [(number, rows) for number, rows in chunks if number not in answers]
    if left and tell is not None:
        num_left = sum(len(rows) for _, rows in left)
        size = table_bytes(header.menus, header.num_images)
        tell(BuildPlan(header.num_images, header.num_masks, size, num_left))
    for number, result in done_by_processes(job, split, left, processes):
        right = np.packbits(result.right, axis=1)
        arrays: dict[str, Any] = {"right": right, "nll": result.nll, "macs": result.macs}
        write_arrays(chunk_path(folder, number), arrays, {})
        answers[number] = result
        if progress is not None:
            progress(sum(len(one.right) for one in answers.values()))
    return side_by_side([answers[number] for number, _ in chunks])


def chunk_path(folder: Path, number: int) -> Path:
    """Where a chunk lies."""
    return folder / f"{number:06d}.safetensors"


def read_chunk(folder: Path, number: int, shape: tuple[int, int]) -> MaskAnswers | None:
    """A finished chunk [inputs, masks]; None where there is none, or it is damaged."""
    try:
        arrays, _ = read_parts(chunk_path(folder, number))
    except (FileNotFoundError, DamagedFileError):
        return None
    if set(arrays) != {"right", "nll", "macs"}:
        return None
    if arrays["nll"].shape != shape or arrays["right"].shape != (shape[0], -(-shape[1] // 8)):
        return None
    right = np.unpackbits(arrays["right"], axis=1, count=shape[1]).view(bool)
    return MaskAnswers(right, arrays["nll"], arrays["macs"])


def done_by_processes(
    job: ChunkJob, split: Split, left: Sequence[tuple[int, Tensor]], processes: int
) -> Iterator[tuple[int, MaskAnswers]]:
    """Chunks as they come."""
    if processes == 1 or len(left) < 2:
        for number, rows in left:
            yield number, job(*split.batch(rows))
        return
    # Spawned, not forked: forked ones would inherit torch's threads in any state.
    count = min(processes, len(left))
    pool = ProcessPoolExecutor(count, get_context("spawn"), take_job, (job,))
    try:
        # A few at a time: their inputs wait in memory.
        for first in range(0, len(left), 4 * processes):
            part = left[first : first + 4 * processes]
            futures = {pool.submit(do_chunk, *split.batch(rows)): n for n, rows in part}
            for future in as_completed(futures):
                yield futures[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_JOB: list[ChunkJob] = []
"""Of this worker, so that a network travels once."""


def take_job(job: ChunkJob) -> None:
    """In a worker: keeps to one thread, leaves Ctrl-C to the parent and dies with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _JOB[:] = [job]
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Waits for the parent's end, so that a killed build leaves no process behind."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def do_chunk(inputs: Tensor, labels: Tensor) -> MaskAnswers:
    """One chunk, in a worker."""
    return _JOB[0](inputs, labels)


@contextlib.contextmanager
def kept_alone(folder: Path) -> Iterator[None]:
    """Makes a folder and keeps other builds of the same table out.

    Raises:
        ValueError: if another process builds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(exist_ok=True)
    lock = folder.with_suffix(".lock")
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise ValueError(
            f"expected no other process to build this table, got one ({lock}); wait"
        ) from error
    lock.unlink(missing_ok=True)
