"""Kills at random moments after the first checkpoint -> whether all ends as if undisturbed."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.experiment import Experiment, Options, Row
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

    about: str
    """what it is, and what goes on."""
    words: list[str]
    """of the command."""
    runs: int
    """results that it leaves."""
    killed: Callable[[Running, random.Random], int]
    """the process."""
    again: bool
    """whether the same command has to be given again; a pool goes on by itself."""


def itself(running: Running, _: random.Random) -> int:
    """The command's own process."""
    return running.process


def any_worker(running: Running, numbers: random.Random) -> int:
    """One of its workers."""
    return numbers.choice(workers_of(running.process))


VICTIMS = {
    "train": Victim("`ccenv train`, then the same command", TRAIN, 1, itself, again=True),
    "compare": Victim(
        "`ccenv compare`, its parent, then the same command", COMPARE, 2, itself, again=True
    ),
    "worker": Victim(
        "a worker of `ccenv compare`, which goes on by itself", COMPARE, 2, any_worker, again=False
    ),
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
    """What the command leaves by itself; seconds between first checkpoint and last result."""
    running = start(victim.words, place)
    begun = wait_for(lambda: has_checkpoint(place), running)
    done = wait_for(lambda: num_results(place) == victim.runs, running)
    finished(running)
    if begun is None:
        raise RuntimeError("expected a checkpoint before the end, got none; take more images")
    return ended(place), (done or time.monotonic()) - begun


def rounds(name: str, kills: int, folder: Path, seed: int) -> Row:
    """Kills one victim so many times.

    Returns:
        `kills` that came after the first checkpoint and before the end; how many of them ended as
        the undisturbed command, bit for bit (`same`), and told that they go on from a checkpoint
        (`went_on`); `late` ones, for each of which another moment was drawn; the earliest (`first`)
        and the latest (`last`), in seconds after the first checkpoint; and values (tensors, entries
        of results, curves, printed lines) that each end was `compared` in.
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
        told = f"OTHER in {', '.join(other[:5])}" if other else "the same end"
        print(f"{name} {len(moments)}: killed after {after:.2f} s, {told}", file=sys.stderr)
        if not other:
            shutil.rmtree(place)
    return {
        "what": name,
        "kills": kills,
        "same": same,
        "went_on": went_on,
        "late": late,
        "first": round(min(moments), 2),
        "last": round(max(moments), 2),
        "compared": len(whole),
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is killed, how often and where."""
    parser.add_argument("--what", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--kills", type=int, default=20, help="of each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="for the runs, kept; a temporary one if none")


def run(options: Options) -> Iterator[Row]:
    """Kills each victim."""
    with tempfile.TemporaryDirectory(prefix="ccenv-kills-") as own:
        folder = (options.folder or Path(own)).absolute()
        for name in options.what:
            yield rounds(name, options.kills, folder, options.seed)


KILLS = Experiment(
    name="kills",
    about="kill -9 at random moments, go on, compare with what was not disturbed",
    run=run,
    columns={
        "killed (-9)": "<{victim}",
        "same end": ">{same} of {kills}",
        "went on from a checkpoint": ">{went_on}",
        "values compared": ">{compared}",
        "killed after the first checkpoint by": ">{first} to {last} s",
    },
    shown=lambda row: {"victim": VICTIMS[row["what"]].about},
    recorded_as="faults-kills",
    key=("what",),
    add_options=add_options,
    failed=lambda rows: any(row["same"] < row["kills"] for row in rows),
)
