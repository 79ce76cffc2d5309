"""Odd circumstances of a run, tried one by one: a folder -> what came, whether it is right."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.robustness.kills import COMPARE
from ccenv.runs.lab.robustness.left import apart, left
from ccenv.runs.lab.robustness.processes import (
    PATIENCE,
    has_checkpoint,
    kill,
    num_results,
    start,
    wait_for,
)
from ccenv.runs.lab.robustness.tiny import SETTINGS, words

NOBODY = 65534
"""Number of the user that owns nothing."""
PACKAGES = Path(__file__).absolute().parents[3]
"""Where `ccenv` lies in a checkout; commands run elsewhere."""
SHORT = [*words(SETTINGS | {"images": 640, "eval_every": 320}), "log_dir=logs", "progress=false"]
TRAIN = ["train", "reinforce", *SHORT]
"""A run of a second."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """its exit status."""
    out: str
    """on stdout."""
    said: str
    """on stderr."""

    @property
    def told(self) -> str:
        """Its last line on stderr, or what stands for a traceback."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        last = lines[-1] if lines else "nothing"
        return f"a traceback: {last}" if "Traceback" in self.said else last


def ccenv(
    given: Sequence[str],
    place: Path,
    environment: Mapping[str, str | None] | None = None,
    python: Sequence[str] = (),
    user: int | None = None,
) -> Ended:
    """Runs `ccenv WORDS` in a folder and waits."""
    path = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    done = subprocess.run(
        [sys.executable, *python, "-m", "ccenv", *given],
        cwd=place,
        env={name: value for name, value in variables.items() if value is not None},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(errors="replace"),
                 done.stderr.decode(errors="replace"))  # fmt: skip


class CannotTryError(Exception):
    """A circumstance that cannot be made here, with the reason."""


@dataclass(frozen=True)
class Tried:
    """What came of one."""

    came: str
    """in words."""
    is_right: bool
    """whether it is what the rule says."""


def told_in_a_line(ended: Ended, words: str, place: Path) -> Tried:
    """Whether a command was refused in one line with these words, and left no result."""
    is_told = ended.status == 2 and words in ended.told and "Traceback" not in ended.said
    return Tried(f"exit {ended.status}: {ended.told}", is_told and num_results(place) == 0)


def same_end(ended: Ended, place: Path, whole: dict[str, Any]) -> Tried:
    """Whether a command ended well with all that an undisturbed one leaves."""
    if ended.status:
        return Tried(f"exit {ended.status}: {ended.told}", is_right=False)
    other = apart(whole, left(place / "logs"))
    return Tried(f"other {', '.join(other[:3])}" if other else "the same end", not other)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk in memory of a few bytes, mounted below a folder."""
    disk = place / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotTryError("needs to mount a small disk: be root, on Linux") from error
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def full_disk(place: Path, whole: dict[str, Any]) -> Tried:
    """Training on a disk of 100 kB, then with room."""
    with small_disk(place, "100k") as disk:
        told = told_in_a_line(ccenv(TRAIN, disk), "expected room to write, got a full disk", disk)
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        again = same_end(ccenv(TRAIN, disk), disk, whole)
    return Tried(f"{told.came}; with room again: {again.came}", told.is_right and again.is_right)


def full_cache(place: Path, whole: dict[str, Any]) -> Tried:
    """A cache on a disk that is full."""
    with small_disk(place, "4k") as disk:
        (disk / "filled").write_bytes(bytes(4096))
        ended = ccenv(TRAIN, place, {"CCENV_CACHE": str(disk / "cache")})
        return same_end(ended, place, whole)


def other_user(place: Path, whole: dict[str, Any]) -> Tried:
    """Training in a folder of another user."""
    if os.geteuid():
        raise CannotTryError("needs to become another user: be root")
    cache = place / "cache"
    cache.mkdir()
    os.chown(cache, NOBODY, NOBODY)
    place.chmod(0o755)
    try:
        ended = ccenv(TRAIN, place, {"CCENV_CACHE": str(cache)}, user=NOBODY)
    except PermissionError as error:
        raise CannotTryError("this interpreter cannot be run by another user") from error
    return told_in_a_line(ended, "expected a writable log folder", place / "logs")


def read_only(place: Path, whole: dict[str, Any]) -> Tried:
    """Training on a disk that is mounted read-only."""
    with small_disk(place, "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        return told_in_a_line(ccenv(TRAIN, disk), "expected a writable log folder", disk)


def no_home(place: Path, whole: dict[str, Any]) -> Tried:
    """HOME and CCENV_CACHE unset."""
    without = {"HOME": None, "XDG_CACHE_HOME": None, "CCENV_DATA": None}
    return same_end(ccenv(TRAIN, place, without), place, whole)


def optimised(place: Path, whole: dict[str, Any]) -> Tried:
    """Assertions switched off."""
    return same_end(ccenv(TRAIN, place, python=["-O"]), place, whole)


def ascii_locale(place: Path, whole: dict[str, Any]) -> Tried:
    """LC_ALL=C PYTHONUTF8=0, two seeds and a report."""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = ccenv([*TRAIN, "--seeds", "2"], place, plain)
    if ended.status or "mean ? standard deviation" not in ended.out:
        return Tried(f"exit {ended.status}: {ended.told}", is_right=False)
    report = ccenv(["plot", "logs", "--out", "report"], place, plain)
    came = f"exit {ended.status}, then a report: exit {report.status}, {report.told}"
    return Tried(came, report.status == 0 and any((place / "report").rglob("index.html")))


def loss_not_finite(place: Path, whole: dict[str, Any]) -> Tried:
    """A learning rate of 1e38."""
    usual = [word for word in TRAIN if not word.startswith("learning_rate=")]
    ended = ccenv([*usual, "learning_rate=1e38"], place)
    return told_in_a_line(ended, "check the settings that were given", place)


def truncated_events(place: Path, whole: dict[str, Any]) -> Tried:
    """A killed run's event file cut by seven bytes."""
    running = start([*TRAIN, "--checkpoint-every", "64"], place)
    if wait_for(lambda: has_checkpoint(place), running) is None:
        raise CannotTryError("the run ended before it could be stopped")
    kill(running.process)
    running.wait()
    for path in (place / "logs").rglob("events.out.tfevents.*"):
        path.write_bytes(path.read_bytes()[:-7])
    return same_end(ccenv(TRAIN, place), place, whole)


JUMPS = """\
import itertools, time
true, count = time.time, itertools.count()
time.time = lambda: true() + 3600 * (1, -1, 0)[next(count) % 3]
"""
"""What makes the clock of a Python process jump an hour ahead and back at every look at it."""


def jumping_clock(place: Path, whole: dict[str, Any]) -> Tried:
    """A clock that jumps an hour ahead and back at every look."""
    site = place / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
    paths = [str(PACKAGES), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return same_end(ccenv(TRAIN, place, {"PYTHONPATH": os.pathsep.join(paths)}), place, whole)


def two_at_once(place: Path, whole: dict[str, Any]) -> Tried:
    """Two `ccenv compare` in one folder."""
    found: list[Ended] = []
    threads = [threading.Thread(target=lambda: found.append(ccenv(COMPARE, place))) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = found[0].out == found[1].out and not any(one.status for one in found)
    count = num_results(place)
    return Tried(f"exits {[one.status for one in found]}, {count} results, "
                 f"{'equal' if same else 'other'} tables", same and count == 2)  # fmt: skip


CIRCUMSTANCES: dict[str, tuple[Callable[[Path, dict[str, Any]], Tried], str]] = {
    "full disk": (
        full_disk,
        "one line, no result; the same command then ends as if undisturbed",
    ),
    "full cache": (full_cache, "the same end: what cannot be kept is made again"),
    "read-only": (read_only, "one line, before anything runs"),
    "another user": (other_user, "one line, before anything runs"),
    "no HOME": (no_home, "the same end"),
    "python -O": (optimised, "the same end"),
    "ASCII": (
        ascii_locale,
        "a question mark for what the terminal lacks; files in UTF-8",
    ),
    "not finite": (loss_not_finite, "one line that says so, no result"),
    "cut events": (truncated_events, "the same command ends as if undisturbed, curves too"),
    "clock": (jumping_clock, "the same end"),
    "two at once": (two_at_once, "each run once, equal tables"),
}
"""Name -> what tries it in an empty folder, beside what an undisturbed run left (its docstring says
what is done), and what must come."""


def undisturbed(place: Path) -> dict[str, Any]:
    """What the run leaves by itself."""
    ended = ccenv(TRAIN, place)
    if ended.status:
        raise RuntimeError(f"expected a run that ends well, got {ended.said}")
    return left(place / "logs")


def attempts(names: list[str], folder: Path) -> Iterator[Row]:
    """Tries circumstances, each in a folder of its own, and yields a row of the table for each."""
    folder.chmod(0o755)
    base = folder / "undisturbed"
    base.mkdir(parents=True)
    whole = undisturbed(base)
    for name in names:
        (attempt, rule), place = CIRCUMSTANCES[name], folder / name.replace(" ", "-")
        place.mkdir()
        row = {"name": name, "done": (attempt.__doc__ or "").rstrip("."), "rule": rule}
        try:
            tried = attempt(place, whole)
            # Without the places of this machine.
            came = tried.came.replace(str(folder), "...")
            yield row | {"came": came, "is_right": tried.is_right}
        except CannotTryError as error:
            yield row | {"came": f"not tried: {error}", "is_right": None}
        shutil.rmtree(place, ignore_errors=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which ones."""
    names = list(CIRCUMSTANCES)
    parser.add_argument("--what", nargs="+", choices=names, default=names)


def run(options: Options) -> Iterator[Row]:
    """Tries what was asked for."""
    with tempfile.TemporaryDirectory(prefix="ccenv-faults-") as own:
        yield from attempts(options.what, Path(own))


MARKS = {True: "as it must", False: "NOT as it must", None: ""}
CIRCUMSTANCE_TABLE = Experiment(
    name="circumstances",
    about="full disks, jumping clocks and other odd circumstances, one by one",
    run=run,
    columns={
        "fault": "<{name}",
        "what was done": "<{done}",
        "what must come": "<{rule}",
        "what came": "<{came}",
        "": "<{mark}",
    },
    shown=lambda row: {"mark": MARKS[row["is_right"]]},
    recorded_as="faults-circumstances",
    key=("name",),
    add_options=add_options,
    failed=lambda rows: any(row["is_right"] is False for row in rows),
)
