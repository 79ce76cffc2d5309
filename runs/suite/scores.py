"""Scores on disk: `score.json` files below a folder, and the package's record -> scored runs.

An environment of the suite writes `score.json` (see `ccenv.tasks.score`); what else `ccenv suite`
knows lies next to it in `run.json`. Recorded agents are one file of the package, which keeps of
each run its score in every tenth of the budget.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.base.given_files import read_json
from ccenv.base.values import LONGEST_LABEL, check_printable
from ccenv.tasks import TASKS
from ccenv.tasks.catalogue import PARTS, SCORE, VERSION

RUN = "run.json"
"""Name of the file of `ccenv suite` next to a score."""
RECORDED = Path(__file__).with_name("recorded.json")
TENTHS = 10
UNNAMED = "unnamed"
"""Agent of a score without a name."""
CLOSE = 1e-4
"""Optima that differ by no more are those of one task."""


@dataclass(frozen=True)
class ScoredRun:
    """One agent on one task with one seed, to the end of the budget."""

    agent: str
    """as tables show it."""
    task: str
    """a name in `ccenv.tasks.TASKS`."""
    seed: int
    """of environment and agent."""
    tenths: tuple[float, ...]
    """score in each tenth of the budget: 0 is the reference's, 1 the optimum's."""
    seconds: float | None = None
    """of CPU time; None where they were not measured."""
    recorded: bool = False
    """whether it comes with the package."""

    @property
    def online(self) -> float:
        """Mean over the whole budget."""
        return sum(self.tenths) / len(self.tenths)

    @property
    def last(self) -> float:
        """Mean over the last tenth of the budget."""
        return self.tenths[-1]

    @property
    def skill(self) -> str:
        """Of the task."""
        return TASKS[self.task].skill


@dataclass(frozen=True)
class Failure:
    """A run that has no score."""

    agent: str
    """as tables show it."""
    task: str
    """a name in `ccenv.tasks.TASKS`."""
    seed: int
    """of environment and agent."""
    why: str
    """one line."""


def read_score(path: Path) -> ScoredRun:
    """Reads one `score.json`.

    Raises:
        ValueError: if it is damaged, unfinished, or of another version or task.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("suite") != VERSION:
        version = found.get("suite") if isinstance(found, dict) else None
        raise ValueError(f"of another version: expected suite {VERSION}, got {version!r}")
    task = found.get("task")
    if task not in TASKS:
        raise ValueError(f"of a task that this version does not have: {str(task)[:40]!r}")
    budget, episodes = (found.get(name) for name in ("budget", "episodes"))
    if episodes != budget or budget != TASKS[task].episodes:
        raise ValueError(f"unfinished: {episodes} of {TASKS[task].episodes:,} episodes")
    ends = score_numbers([found.get("reference"), found.get("optimum")], 2)
    check_ends(task, *ends)
    tenths = score_numbers(found.get("returns"), PARTS).reshape(TENTHS, -1).mean(axis=1)
    agent, seed = found.get("agent"), found.get("seed")
    # A script of another library names neither: runs are told apart by their folders' numbers.
    name = path.parent.name
    seed = seed if isinstance(seed, int) else int(name) if name.isdecimal() else 0
    agent = UNNAMED if agent is None else str(agent)
    check_printable(agent, "agent", LONGEST_LABEL)
    score = (tenths - ends[0]) / (ends[1] - ends[0])
    return ScoredRun(agent, task, seed, tuple(map(float, score)), cpu_seconds_of(path.parent))


def score_numbers(values: Any, count: int) -> Any:
    """So many finite numbers as an array; ValueError of anything else."""
    is_list = isinstance(values, list) and len(values) == count
    if not is_list or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        raise ValueError(f"damaged: expected {count} finite numbers, got something else")
    return np.asarray(values, dtype=np.float64)


def check_ends(task: str, reference: float, optimum: float) -> None:
    """Refuses a scale that is not the recorded one, or the task's own: it was another task."""
    # To compute it takes seconds where an optimum is estimated.
    ends = recorded_ends().get(task) or (TASKS[task].reference, TASKS[task].optimum)
    if any(abs(a - b) > CLOSE for a, b in zip(ends, (reference, optimum), strict=True)):
        raise ValueError(
            f"of another version of the task: expected a scale of {ends[0]:.6g} to {ends[1]:.6g}, "
            f"got {reference:.6g} to {optimum:.6g}"
        )


def run_notes(folder: Path) -> dict[str, Any]:
    """What `ccenv suite` wrote about a run; empty where it wrote nothing that can be read."""
    try:
        found = read_json(folder / RUN)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def cpu_seconds_of(folder: Path) -> float | None:
    """CPU seconds of a run; None where they are not known."""
    seconds = run_notes(folder).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def read_folder(folder: Path) -> tuple[list[ScoredRun], list[Failure], list[str]]:
    """Finished runs below a folder, those that failed, and a line for each file not counted."""
    runs, failures, lines = [], [], []
    for path in sorted(folder.rglob(RUN)):
        notes = run_notes(path.parent)
        if notes.get("error") and notes.get("task") in TASKS:
            names = str(notes.get("agent")), str(notes["task"]), int(notes.get("seed") or 0)
            failures.append(Failure(*names, str(notes["error"])))
    failed = {(one.agent, one.task, one.seed) for one in failures}
    for path in sorted(folder.rglob(SCORE)):
        try:
            run = read_score(path)
        except ValueError as error:
            lines.append(f"{path}: {error}")
            continue
        if (run.agent, run.task, run.seed) not in failed:
            runs.append(run)
    return runs, failures, lines


@functools.cache
def recorded() -> Mapping[str, Any]:
    """The package's record; ValueError if it is of another version."""
    found: dict[str, Any] = read_json(RECORDED)
    if found.get("suite") != VERSION:
        raise ValueError(f"{RECORDED.name}: expected suite {VERSION}, got {found.get('suite')!r}")
    return found


def recorded_ends() -> Mapping[str, tuple[float, float]]:
    """Task -> expected returns of reference and optimum when agents were recorded."""
    return {task: (ends[0], ends[1]) for task, ends in recorded()["tasks"].items()}


def recorded_runs() -> list[ScoredRun]:
    """Runs of recorded agents."""
    return [
        ScoredRun(agent, task, int(seed), tuple(one["tenths"]), one["seconds"], recorded=True)
        for agent, tasks in recorded()["agents"].items()
        for task, seeds in tasks.items()
        for seed, one in seeds.items()
        if task in TASKS
    ]
