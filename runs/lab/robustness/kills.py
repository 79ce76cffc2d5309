"""Kills at random moments after the first checkpoint -> whether all ends as if undisturbed."""

import json
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.lab.robustness.left import apart, left, without_clock
from ccenv.runs.lab.robustness.processes import (
    Running,
    finished,
    has_checkpoint,
    kill,
    num_results,
    start,
    wait_for,
    workers_of,
)
from ccenv.runs.lab.robustness.tiny import SETTINGS, words

LOGS = "logs"
MOST_LATE = 3
"""Kills that came after the end, for each that is wanted, before it is given up."""
TRAIN = ["train", "reinforce", *words(SETTINGS), f"log_dir={LOGS}"]
COMPARE = [
    "compare",
    "ccenv.runs.lab.robustness.tiny:TINY",
    "--json",
    "--jobs",
    "1",
    "--log-dir",
    LOGS,
    "--report-dir",
    "report",
    "--results-dir",
    "results",
]


@dataclass(frozen=True)
class Victim:
    """A command, and which of its processes is killed."""

    words: list[str]
    """of the command."""
    runs: int
    """results that it leaves."""
    killed: Callable[[Running, random.Random], int]
    """the process."""
    again: bool
    """whether the same command has to be given again; a pool goes on by itself."""


@dataclass(frozen=True)
class Row:
    """What came of all kills of one victim."""

    what: str
    """name of the victim."""
    kills: int
    """that came after the first checkpoint and before the end."""
    same: int
    """of them, those whose end was that of an undisturbed command, bit for bit."""
    went_on: int
    """of them, those after which a run said that it goes on from its checkpoint."""
    late: int
    """kills that came when all was done; another moment was drawn for each."""
    first: float
    """seconds after the first checkpoint of the earliest kill."""
    last: float
    """of the latest."""
    compared: int
    """values (tensors, entries of results, curves, printed lines) that each end was compared in."""


def itself(running: Running, _: random.Random) -> int:
    """The command's own process."""
    return running.process


def any_worker(running: Running, numbers: random.Random) -> int:
    """One of its workers."""
    return numbers.choice(workers_of(running.process))


VICTIMS = {
    "train": Victim(TRAIN, 1, itself, again=True),
    "compare": Victim(COMPARE, 2, itself, again=True),
    "worker": Victim(COMPARE, 2, any_worker, again=False),
}


def ended(place: Path) -> dict[str, Any]:
    """Everything that the last command in a folder left and printed, without what a clock says."""
    out = (place / "out.txt").read_text(encoding="utf-8")
    return left(place / LOGS) | {"printed": printed(out)}


def printed(text: str) -> Any:
    """What a command printed: rows without times, or the lines as they are."""
    try:
        return [without_clock(row) for row in json.loads(text)]
    except ValueError:
        return text.splitlines()


def strike(victim: Victim, place: Path, span: float, numbers: random.Random) -> float | None:
    """Kills once; the seconds after the first checkpoint, None where all was done by then."""
    running = start(victim.words, place)
    begun = wait_for(lambda: has_checkpoint(place), running)
    after = numbers.uniform(0, span)
    if begun is not None:
        time.sleep(max(0.0, begun + after - time.monotonic()))
    in_time = begun is not None and not running.ended() and num_results(place) < victim.runs
    if in_time:
        kill(victim.killed(running, numbers))
    if not in_time or not victim.again:
        finished(running)
        return after if in_time else None
    running.wait()
    # Workers notice their parent's end and die with it; the folder's lock waits for them.
    said = running.said()
    again = finished(start(victim.words, place))
    (place / "said.txt").write_text(said + again.said(), encoding="utf-8")
    return after


def undisturbed(victim: Victim, place: Path) -> tuple[dict[str, Any], float]:
    """What the command leaves by itself, and the seconds between first checkpoint and last result.

    Raises:
        RuntimeError: if no checkpoint was seen before its end.
    """
    running = start(victim.words, place)
    begun = wait_for(lambda: has_checkpoint(place), running)
    done = wait_for(lambda: num_results(place) == victim.runs, running)
    finished(running)
    if begun is None:
        raise RuntimeError("expected a checkpoint before the end, got none; take more images")
    return ended(place), (done or time.monotonic()) - begun


def rounds(
    name: str, kills: int, folder: Path, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Kills one victim so many times; a row of the table.

    Args:
        name: of `VICTIMS`.
        kills: how many must come in time.
        folder: for the runs; cleared of each that ended alike.
        seed: of the moments.
        say: is told of each kill.

    Raises:
        RuntimeError: if a command fails, or too many kills come late.
    """
    victim, numbers = VICTIMS[name], random.Random(f"{seed} {name}")
    whole, span = undisturbed(victim, folder / name / "whole")
    moments: list[float] = []
    same = went_on = late = 0
    while len(moments) < kills:
        if late > MOST_LATE * kills:
            raise RuntimeError(f"expected kills before the end, got {late} after it of {name}")
        place = folder / name / f"{len(moments)}-{late}"
        after = strike(victim, place, span, numbers)
        if after is None:
            late += 1
            shutil.rmtree(place)
            continue
        moments.append(after)
        running = (place / "said.txt").read_text(encoding="utf-8")
        other = apart(whole, ended(place))
        same += not other
        went_on += "goes on after" in running
        say(f"{name} {len(moments)}: killed after {after:.2f} s, {told(other)}")
        if not other:
            shutil.rmtree(place)
    row = Row(
        name, kills, same, went_on, late,
        round(min(moments), 2), round(max(moments), 2), len(whole),
    )  # fmt: skip
    return asdict(row)


def told(other: list[str]) -> str:
    """How an end compares with the undisturbed one."""
    return f"OTHER in {', '.join(other[:5])}" if other else "the same end"
