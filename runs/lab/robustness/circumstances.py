"""Odd circumstances of a run, tried one by one: a folder -> what came, whether it is right."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.lab.robustness.fresh import PACKAGES, TRAIN, Ended, ccenv
from ccenv.runs.lab.robustness.left import apart, left
from ccenv.runs.lab.robustness.processes import has_checkpoint, kill, num_results, start, wait_for

NOBODY = 65534
"""Number of the user that owns nothing."""
COMPARE = [
    "compare",
    "ccenv.runs.lab.robustness.tiny:TINY",
    "--json",
    "--jobs",
    "1",
    "--log-dir",
    "logs",
    "--report-dir",
    "report",
    "--results-dir",
    "results",
]


class CannotTryError(Exception):
    """A circumstance that cannot be made here, with the reason."""


@dataclass(frozen=True)
class Tried:
    """What came of one."""

    came: str
    """in words."""
    is_right: bool
    """whether it is what the rule says."""


@dataclass(frozen=True)
class Circumstance:
    """One odd circumstance."""

    done: str
    """what is done."""
    rule: str
    """what must come."""
    attempt: Callable[[Path, dict[str, Any]], Tried]
    """tries it in an empty folder, beside what an undisturbed run left."""


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
    """A disk in memory of a few bytes, mounted below a folder.

    Raises:
        CannotTryError: if this user may not mount.
    """
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
    """A disk that is full in the middle of the run, then has room."""
    with small_disk(place, "100k") as disk:
        told = told_in_a_line(ccenv(TRAIN, disk), "expected room to write, got a full disk", disk)
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        again = same_end(ccenv(TRAIN, disk), disk, whole)
    return Tried(f"{told.came}; with room again: {again.came}", told.is_right and again.is_right)


def full_cache(place: Path, whole: dict[str, Any]) -> Tried:
    """A cache without room."""
    with small_disk(place, "4k") as disk:
        (disk / "filled").write_bytes(bytes(4096))
        ended = ccenv(TRAIN, place, {"CCENV_CACHE": str(disk / "cache")})
        return same_end(ended, place, whole)


def other_user(place: Path, whole: dict[str, Any]) -> Tried:
    """A user who may not write in the folder."""
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
    """A disk that is mounted read-only."""
    with small_disk(place, "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        return told_in_a_line(ccenv(TRAIN, disk), "expected a writable log folder", disk)


def no_home(place: Path, whole: dict[str, Any]) -> Tried:
    """No HOME, no cache named; this user's home is found in the system's list of users."""
    without = {"HOME": None, "XDG_CACHE_HOME": None, "CCENV_DATA": None}
    return same_end(ccenv(TRAIN, place, without), place, whole)


def optimised(place: Path, whole: dict[str, Any]) -> Tried:
    """Python without assertions."""
    return same_end(ccenv(TRAIN, place, python=["-O"]), place, whole)


def ascii_locale(place: Path, whole: dict[str, Any]) -> Tried:
    """A locale of ASCII, for a command that prints and writes more."""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = ccenv([*TRAIN, "--seeds", "2"], place, plain)
    if ended.status or "mean ? standard deviation" not in ended.out:
        return Tried(f"exit {ended.status}: {ended.told}", is_right=False)
    report = ccenv(["plot", "logs", "--out", "report"], place, plain)
    came = f"exit {ended.status}, then a report: exit {report.status}, {report.told}"
    return Tried(came, report.status == 0 and any((place / "report").rglob("index.html")))


def loss_not_finite(place: Path, whole: dict[str, Any]) -> Tried:
    """A learning rate that leaves the finite numbers."""
    usual = [word for word in TRAIN if not word.startswith("learning_rate=")]
    ended = ccenv([*usual, "learning_rate=1e38"], place)
    return told_in_a_line(ended, "check the settings that were given", place)


def truncated_events(place: Path, whole: dict[str, Any]) -> Tried:
    """An event file of an unfinished run that is cut in the middle of a record."""
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
    """A clock that jumps by hours, in both directions, from one look at it to the next."""
    site = place / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
    paths = [str(PACKAGES), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return same_end(ccenv(TRAIN, place, {"PYTHONPATH": os.pathsep.join(paths)}), place, whole)


def two_at_once(place: Path, whole: dict[str, Any]) -> Tried:
    """Two comparisons in one folder."""
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


CIRCUMSTANCES = {
    "full disk": Circumstance(
        "training on a disk of 100 kB, then with room",
        "one line, no result; the same command then ends as if undisturbed",
        full_disk,
    ),
    "full cache": Circumstance(
        "a cache on a disk that is full",
        "the same end: what cannot be kept is made again",
        full_cache,
    ),
    "read-only": Circumstance(
        "training on a disk that is mounted read-only", "one line, before anything runs", read_only
    ),
    "another user": Circumstance(
        "training in a folder of another user", "one line, before anything runs", other_user
    ),
    "no HOME": Circumstance("HOME and CCENV_CACHE unset", "the same end", no_home),
    "python -O": Circumstance("assertions switched off", "the same end", optimised),
    "ASCII": Circumstance(
        "LC_ALL=C PYTHONUTF8=0, two seeds and a report",
        "a question mark for what the terminal lacks; files in UTF-8",
        ascii_locale,
    ),
    "not finite": Circumstance(
        "learning_rate=1e38", "one line that says so, no result", loss_not_finite
    ),
    "cut events": Circumstance(
        "a killed run's event file cut by seven bytes",
        "the same command ends as if undisturbed, curves too",
        truncated_events,
    ),
    "clock": Circumstance(
        "a clock that jumps an hour ahead and back at every look", "the same end", jumping_clock
    ),
    "two at once": Circumstance(
        "two `ccenv compare` in one folder", "each run once, equal tables", two_at_once
    ),
}
"""By name."""


def undisturbed(place: Path) -> dict[str, Any]:
    """What the run leaves by itself.

    Raises:
        RuntimeError: if it does not end well.
    """
    ended = ccenv(TRAIN, place)
    if ended.status:
        raise RuntimeError(f"expected a run that ends well, got {ended.said}")
    return left(place / "logs")


def attempts(names: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Tries circumstances, each in a folder of its own, and yields a row of the table for each."""
    base = folder / "undisturbed"
    base.mkdir(parents=True)
    whole = undisturbed(base)
    for name in names:
        one, place = CIRCUMSTANCES[name], folder / name.replace(" ", "-")
        place.mkdir()
        row = {"name": name, "done": one.done, "rule": one.rule}
        try:
            tried = one.attempt(place, whole)
            yield row | {"came": short(tried.came, folder), "is_right": tried.is_right}
        except CannotTryError as error:
            yield row | {"came": f"not tried: {error}", "is_right": None}
        shutil.rmtree(place, ignore_errors=True)


def short(text: str, folder: Path) -> str:
    """A sentence without the places of this machine."""
    return text.replace(str(folder), "...")
