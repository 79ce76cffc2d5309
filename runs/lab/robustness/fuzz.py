"""Fuzzing within a time: (what to give, who takes it) -> how many, and which crashes."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.lab.robustness.command_lines import Crash

BATCH = 100
"""Examples between two looks at the clock."""
ROOM = 6 * 2**30
"""Bytes of address space beyond what is taken: what asks for more is refused by the system."""


@dataclass(frozen=True)
class Fuzzed:
    """What came of one kind."""

    tried: int
    """examples."""
    seconds: float
    """of one core."""
    crashes: dict[str, Crash]
    """one for each place that raised."""


def fuzz(
    strategy: Any, taken: Callable[[Any], Crash | None], most: int, seconds: float, seed: int
) -> Fuzzed:
    """Gives odd things until there were enough or the time is over.

    Args:
        strategy: of what is given.
        taken: gives one; a crash or None.
        most: examples.
        seconds: of the clock.
        seed: of the examples.
    """
    begun, end, tried = time.process_time(), time.monotonic() + seconds, 0
    crashes: dict[str, Crash] = {}

    def try_one(given: Any) -> None:
        nonlocal tried
        tried += 1
        if crash := taken(given):
            crashes.setdefault(crash.where, crash)

    while tried < most and time.monotonic() < end:
        drawn(strategy, try_one, min(BATCH, most - tried), seed)
        seed += 1
    return Fuzzed(tried, time.process_time() - begun, crashes)


def drawn(strategy: Any, try_one: Callable[[Any], None], count: int, seed: int) -> None:
    """Draws so many examples, without shrinking and without a database."""
    import hypothesis

    settings = hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(settings(hypothesis.given(strategy)(try_one)))()


@contextlib.contextmanager
def apart(folder: Path) -> Iterator[None]:
    """Works in a folder of its own, with no data sets but the bundled ones, and limited memory."""
    before, variable, path = Path.cwd(), os.environ.get("CCENV_DATA"), list(sys.path)
    os.chdir(folder)
    os.environ["CCENV_DATA"] = str(folder / "data")
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        if variable is None:
            del os.environ["CCENV_DATA"]
        else:
            os.environ["CCENV_DATA"] = variable


def limit_memory() -> None:
    """Limits this process's memory, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, resource.RLIM_INFINITY))
