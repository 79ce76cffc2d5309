"""Programs that are watched and killed: words of ccenv -> a process, its output, its workers.

A program is this process, forked: the libraries, whose loading takes longer than a tiny run, are
loaded once. Workers of a pool are spawned as always.
"""

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ccenv.runs.engine.checkpoint import RESUME
from ccenv.runs.store.folder import RESULT

PATIENCE = 1200.0
"""Seconds until a command that does not end is given up."""
TICK = 0.005
"""Seconds between two looks."""
PROGRAM = "ccenv.runs.commands.cli"
LOADED = (
    PROGRAM,
    "ccenv.runs.api",
    "torch.utils.tensorboard.writer",
)
"""Modules that every command needs."""


class Running:
    """A command that was started, with `out.txt` and `said.txt` in its folder."""

    def __init__(self, process: int, place: Path) -> None:
        """Watches a child of this process."""
        self.process, self.place = process, place
        self.status: int | None = None

    def said(self) -> str:
        """What it wrote on stderr so far."""
        return (self.place / "said.txt").read_text(encoding="utf-8")

    def ended(self) -> bool:
        """Whether it has ended; its status is known then."""
        if self.status is None:
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self) -> int:
        """Its exit status, that of a signal negative."""
        end = time.monotonic() + PATIENCE
        while not self.ended():
            if time.monotonic() > end:
                raise TimeoutError(f"expected an end within {PATIENCE:.0f} s: {self.said()}")
            time.sleep(TICK)
        assert self.status is not None
        return self.status


def start(words: list[str], place: Path) -> Running:
    """Starts `ccenv WORDS` in a folder, made where it is missing, without figures of reports."""
    place.mkdir(parents=True, exist_ok=True)
    modules = [importlib.import_module(name) for name in LOADED]
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return Running(child, place)
    status = 1
    try:
        os.setsid()
        os.chdir(place)
        for number, name in ((1, "out.txt"), (2, "said.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        # Whoever forks may have put others in their place, as a test does.
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8") for number in (1, 2))  # noqa: SIM115
        # They take longer than the runs, and hold nothing that the rows do not.
        setattr(modules[2], "publish", lambda *_: "")  # noqa: B010
        status = modules[0].main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
    raise AssertionError


def finished(running: Running) -> Running:
    """Waits for a command that must end well."""
    if status := running.wait():
        raise RuntimeError(f"expected a command that ends well, got {status}: {running.said()}")
    return running


def has_checkpoint(place: Path) -> bool:
    """Whether a run below a folder has written one."""
    return any(place.rglob(RESUME))


def num_results(place: Path) -> int:
    """Finished runs below a folder."""
    return sum(1 for _ in place.rglob(RESULT))


def wait_for(condition: Callable[[], bool], running: Running) -> float | None:
    """Waits until something is so, and says when; None where the command ended before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if running.ended() or time.monotonic() > end:
            return None
        time.sleep(TICK)
    return time.monotonic()


def workers_of(parent: int) -> list[int]:
    """Processes of a pool whose parent this is, without Python's own tracker of resources."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    if not listed.exists():
        raise ValueError(f"expected {listed}, got none: workers are found on Linux only")
    found = []
    for child in map(int, listed.read_text(encoding="utf-8").split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"spawn_main" in command:
            found.append(child)
    return found


def kill(process: int) -> None:
    """Ends a process as the system does that needs its memory: it can do nothing about it."""
    os.kill(process, signal.SIGKILL)
