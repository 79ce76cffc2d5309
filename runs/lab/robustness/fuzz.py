"""Fuzzing within a time: (what to give, what comes of it) -> how often which, and which crashes."""

import argparse
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.lab.experiment import Experiment, Options, Row
from ccenv.runs.lab.robustness import command_lines, functions
from ccenv.runs.lab.robustness.command_lines import REFUSED, TAKEN, Crash
from ccenv.runs.lab.robustness.kinds import kinds
from ccenv.runs.store import folder as run_folder

BATCH = 100
"""Examples between two looks at the clock, in one copy of the samples."""
CRASHED = "crashed"
CAME = (TAKEN, REFUSED, CRASHED)
ODD_FILES = {
    "odd.json": '{"agent": "reinforce", "environment": {"dataset": 3}, "seed": [1]}',
    "odd.toml": "agent = 'reinforce'\nimages = 'many'\n[environment]\nnum_blocks = [[1]]\n",
    "deep.json": "[" * 100_000,
    "not-utf.toml": "agent = '\udcff'",
    "page.md": "# A page without a table\n",
}
"""Beside sound ones, for `command_lines`."""
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "command lines": (command_lines.lines, command_lines.came_of),
    "functions": (functions.calls, functions.came_of),
}
"""What is fuzzed: what is given, and what comes of it."""
ROOM = 6 * 2**30
"""Bytes of address space beyond what is taken: what asks for more is refused by the system."""


@dataclass(frozen=True)
class Fuzzed:
    """What came of one kind."""

    came: Counter[str]
    """how often `TAKEN`, `REFUSED` and `CRASHED`."""
    seconds: float
    """of one core."""
    crashes: dict[str, Crash]
    """one for each place that raised."""


def fuzz(
    strategy: Any,
    came_of: Callable[[Any], str | Crash],
    most: int,
    seconds: float,
    seed: int,
    place: Callable[[], AbstractContextManager[None]] = nullcontext,
    tell: Callable[[Crash], None] = lambda crash: None,
) -> Fuzzed:
    """Gives odd things until there were enough, the time is over, or Ctrl-C."""
    begun, end = time.process_time(), time.monotonic() + seconds
    came: Counter[str] = Counter()
    crashes: dict[str, Crash] = {}

    def try_one(example: Any) -> None:
        outcome = came_of(example)
        if isinstance(outcome, Crash):
            if outcome.where not in crashes:
                crashes[outcome.where] = outcome
                tell(outcome)
            outcome = CRASHED
        came[outcome] += 1

    with contextlib.suppress(KeyboardInterrupt):
        while came.total() < most and time.monotonic() < end:
            with place():
                drawn(strategy, try_one, min(BATCH, most - came.total()), seed)
            seed += 1
    return Fuzzed(came, time.process_time() - begun, crashes)


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
def copied(samples: Path) -> Iterator[None]:
    """Works in a copy of a folder: what odd words overwrite is sound again for the next ones."""
    with tempfile.TemporaryDirectory(prefix="ccenv-fuzz-") as folder:
        # Deep enough that `../x` is inside, too.
        place = shutil.copytree(samples, Path(folder) / "deep" / "place")
        with apart(place):
            yield


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


def samples(folder: Path) -> None:
    """Makes runs, tables and the like that `command_lines` names, sound and odd ones."""
    made = kinds(folder)
    run = made["result of a run"].path.parent
    shutil.copytree(run, folder / "run")
    odd = shutil.copytree(run, folder / "odd-run")
    for name in (run_folder.RESULT, run_folder.CONFIG):
        assert (folder / "run" / name).exists()
        (odd / name).write_text("{}", encoding="utf-8")
    for name, text in ODD_FILES.items():
        (folder / name).write_bytes(text.encode(errors="surrogateescape"))


def tell(crash: Crash) -> None:
    """Prints a crash."""
    print(f"{crash.where}: {crash.error}: {crash.arguments!r}"[:600], file=sys.stderr, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is fuzzed, and how much."""
    parser.add_argument("--what", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the clock, for all")
    parser.add_argument("--most", type=int, default=20_000, help="of each")
    parser.add_argument("--seed", type=int, default=0)


def run(options: Options) -> Iterator[Row]:
    """Gives odd command lines and arguments within a time."""
    with tempfile.TemporaryDirectory(prefix="ccenv-fuzz-") as folder:
        with apart(Path(folder)):
            samples(Path(folder))
        limit_memory()
        place = functools.partial(copied, Path(folder))
        for name in options.what:
            strategy, came_of = KINDS[name]
            seconds = 60 * options.minutes / len(options.what)
            outcome = fuzz(strategy(), came_of, options.most, seconds, options.seed, place, tell)
            counts = {came: outcome.came[came] for came in CAME}
            minutes = outcome.seconds / 60
            yield {"what": name, "given": outcome.came.total(), **counts, "minutes": minutes}


FUZZ = Experiment(
    name="fuzz",
    about="give odd command lines and arguments",
    run=run,
    columns={
        "odd": "<{what}",
        "given": ">{given:,}",
        **{came: f">{{{came}:,}}" for came in CAME},
        "minutes of one core": ">{minutes:.1f}",
    },
    recorded_as="faults-fuzz",
    key=("what",),
    add_options=add_options,
    failed=lambda rows: any(row[CRASHED] for row in rows),
)
