"""Processes that torchrun started: (variables of the environment) -> ranks that are joined."""

import contextlib
import datetime
import os
import signal
import threading
from collections.abc import Callable, Iterator

import torch
from torch import distributed as dist

from ccenv.base.ranks import ALONE, OneProcess, Ranks, RanksError

PATIENCE = datetime.timedelta(hours=2)
"""How long a rank waits for another one that lives: rank 0 alone judges and writes."""


@contextlib.contextmanager
def joined() -> Iterator[OneProcess]:
    """The ranks that torchrun started, `ALONE` in any other process.

    Raises:
        RanksError: where another rank does not come, or torchrun ends this one because another
            has failed.
    """
    is_one_of_several = dist.is_available() and dist.is_torchelastic_launched()
    if not is_one_of_several or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    place = int(os.environ["LOCAL_RANK"])
    if place < torch.cuda.device_count():
        torch.cuda.set_device(place)
    with told_to_end(ended):
        dist.init_process_group(timeout=PATIENCE)
        try:
            yield Ranks()
        finally:
            dist.destroy_process_group()


def ended(*_: object) -> None:
    """What torchrun's signal means."""
    raise RanksError(
        "expected all ranks to live, was told to end (SIGTERM): another rank has failed, or "
        "somebody stopped the job"
    )


@contextlib.contextmanager
def told_to_end(handler: Callable[..., None]) -> Iterator[None]:
    """Calls a handler at SIGTERM, for a while; threads other than the main one get no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
