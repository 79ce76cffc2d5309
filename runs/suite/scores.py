"""Scores on disk: `score.json` files below a folder, and the package's record -> scored runs.

An environment of the suite writes `score.json` (see `annexes.tasks.score`); what else `ccenv suite`
knows lies next to it in `run.json`. Recorded agents are one file of the package, which keeps of
each run its score in every tenth of the budget.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.annexes.tasks import TASKS
from ccenv.annexes.tasks.catalogue import PARTS, SCORE, VERSION
from ccenv.annexes.tasks.score import spent_lately
from ccenv.base.files import SEAL, seal_of, without
from ccenv.base.given_files import read_json
from ccenv.base.values import LONGEST_LABEL, check_printable, in_a_line, shown

RUN = "run.json"
"""Name of the file of `ccenv suite` next to a score."""
RECORDED = Path(__file__).with_name("recorded.json")
TENTHS = 10
LONGEST_ERROR = 2000
"""Letters of why a run has failed."""
MOST_MACS = 1e15
"""Of choosing one input's masks, in a file that is believed."""
UNNAMED = "unnamed"
"""Agent of a score without a name."""
YOURS = " (yours)"
"""Behind the name of an agent of yours that is also that of a recorded one."""
CLOSE = 1e-4
"""Optima that differ by no more are those of one task."""
ERRORS, SHARE = 4, 1e-3
"""A score above the optimum by more standard errors, and this much of the scale, is none."""


@dataclass(frozen=True)
class ScoredRun:
    """One agent on one task with one seed, to the end of the budget."""

    agent: str
    """as tables show it."""
    task: str
    """a name in `ccenv.annexes.tasks.TASKS`."""
    seed: int
    """of environment and agent."""
    tenths: tuple[float, ...]
    """score in each tenth of the budget: 0 is the reference's, 1 the optimum's."""
    seconds: float | None = None
    """of CPU time; None where they were not measured."""
    recorded: bool = False
    """whether it comes with the package."""
    order: int | None = None
    """seed of the order of its inputs; None of recorded ones."""
    named_by_caller: bool = False
    """whether the caller said the agent's name, and not `ccenv suite`."""
    left: int = 0
    """how often it left episodes under way, which count as the worst."""
    judged: int = 0
    """episodes that it judged before the budget was spent, which earn nothing."""
    resumed: int = 0
    """how often it went on from a stored state."""
    policy_macs: float | None = None
    """of choosing one input's masks at all gates, which the score leaves out; None if unknown."""
    spent: tuple[float, ...] = ()
    """mean compute cost lately in each part of the last tenth, which a limit is on; () if unknown.
    """

    @property
    def policy_cost(self) -> float | None:
        """The same over the MACs of the task's dense network."""
        return None if self.policy_macs is None else self.policy_macs / TASKS[self.task].dense_macs

    @property
    def online(self) -> float:
        """Mean over the whole budget."""
        return sum(self.tenths) / len(self.tenths)

    @property
    def last(self) -> float:
        """Mean over the last tenth of the budget."""
        return self.tenths[-1]

    @property
    def net(self) -> float | None:
        """The same less what choosing costs by the task's cost weight; None if that is unknown."""
        problem = TASKS[self.task].problem
        if self.policy_cost is None or (problem.cost_limit is not None and not self.spent):
            return None
        charges = [problem.charge(self.policy_cost, cost) for cost in self.spent or (0.0,)]
        reference, optimum = scale_of(self.task)
        return self.last - sum(charges) / len(charges) / (optimum - reference)

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
    """a name in `ccenv.annexes.tasks.TASKS`."""
    seed: int
    """of environment and agent."""
    why: str
    """one line."""


def read_score(path: Path) -> ScoredRun:
    """Reads one `score.json`, which may come from anywhere.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged, unfinished, of another version or task, or says what no agent
            can have earned.
    """
    score = read_json(path)
    if not isinstance(score, dict) or score.get("suite") != VERSION:
        version = score.get("suite") if isinstance(score, dict) else None
        raise ValueError(f"of another version: expected suite {VERSION}, got {shown(version)}")
    plain = without(score, SEAL)
    if score.get(SEAL) != seal_of(plain):
        raise ValueError(
            f"edited, damaged or of an older version: expected the checksum {seal_of(plain)}, got "
            f"{shown(score.get(SEAL))}; play the task again"
        )
    task = score.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"of a task that this version does not have: {shown(task)}")
    budget, episodes = (score.get(name) for name in ("budget", "episodes"))
    if episodes != budget or budget != TASKS[task].episodes:
        raise ValueError(f"unfinished: {shown(episodes)} of {TASKS[task].episodes:,} episodes")
    whole = 2**63 - 1
    reference, optimum = score_numbers([score.get("reference"), score.get("optimum")], 2)
    check_ends(task, reference, optimum)
    low, high = TASKS[task].problem.bounds
    returns = score_numbers(score.get("returns"), PARTS, low, high)
    errors = score_numbers(score.get("errors"), PARTS, 0, (high - low) / 2)
    costs = score_numbers(score.get("cost"), PARTS, 0, 1)
    resets = score.get("resets")
    # Older files do not count what was judged.
    counted = {"judged": 0} | resets if isinstance(resets, dict) else {}
    left, judged, resumed = (counted.get(name) for name in ("left", "judged", "resumed"))
    score_numbers([score.get("order"), left, judged, resumed], 4, 0, whole)
    check_below(optimum, optimum - reference, returns, errors)
    agent, seed, name = score.get("agent"), score.get("seed"), path.parent.name
    if seed is None:
        # A script of another library may name none: its runs have folders of other numbers.
        seed = int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else 0
    agent = UNNAMED if agent is None else agent
    check_named_run(agent, task, seed)
    notes = run_notes(path.parent)
    is_played = notes.get("score") == score[SEAL] and notes["agent"] == agent
    tenths = (returns.reshape(TENTHS, -1).mean(axis=1) - reference) / (optimum - reference)
    return ScoredRun(
        agent=agent,
        task=task,
        seed=seed,
        tenths=tuple(map(float, tenths)),
        seconds=notes.get("seconds"),
        order=score["order"],
        named_by_caller=not is_played,
        left=counted["left"],
        judged=counted["judged"],
        resumed=counted["resumed"],
        policy_macs=notes.get("policy_macs"),
        spent=tuple(spent_lately(costs, part) for part in range(PARTS - PARTS // TENTHS, PARTS)),
    )


def check_named_run(agent: Any, task: Any, seed: Any) -> None:
    """Refuses names that are none, and what is no seed (ValueError)."""
    if not isinstance(agent, str) or agent.endswith(YOURS):
        raise ValueError(f"expected agent as a name, got {shown(agent)}")
    check_printable(agent, "agent", LONGEST_LABEL)
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"expected task as the name of one, got {shown(task)}")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"expected seed as a whole number of at least 0, got {shown(seed)}")


def score_numbers(
    values: Any, count: int, low: float = -np.inf, high: float = np.inf
) -> NDArray[np.float64]:
    """So many numbers in a range as an array; ValueError of anything else."""
    is_list = isinstance(values, list) and len(values) == count
    if is_list and all(type(value) in (int, float) for value in values):
        numbers = np.asarray(values, dtype=np.float64)
        # Costs are sums of 32-bit floats.
        if (np.isfinite(numbers) & (numbers >= low - CLOSE) & (numbers <= high + CLOSE)).all():
            return numbers
    within = "" if low == -np.inf else f" in {low:g}..{high:g}"
    raise ValueError(f"damaged: expected {count} finite numbers{within}, got something else")


def check_below(
    optimum: float, scale: float, returns: NDArray[np.float64], errors: NDArray[np.float64]
) -> None:
    """Refuses returns that lie above the optimum by more than chance: over a tenth, or over all."""
    for parts in (TENTHS, 1):
        means = returns.reshape(parts, -1).mean(axis=1)
        chance = np.sqrt((errors**2).reshape(parts, -1).sum(axis=1)) * parts / PARTS
        above = (means - optimum - ERRORS * chance) / scale
        if above.max() > SHARE:
            place = int(above.argmax())
            raise ValueError(
                f"above the optimum: expected a score of at most 1 within "
                f"{ERRORS * chance[place] / scale:.3f}, got "
                f"{1 + (means[place] - optimum) / scale:.2f}; no policy earns that, so the task or "
                "the file was changed: play it again, or tell us how"
            )


def check_ends(task: str, reference: float, optimum: float) -> None:
    """Refuses a scale that is not the recorded one, or the task's own: it was another task."""
    ends = scale_of(task)
    if any(abs(a - b) > CLOSE for a, b in zip(ends, (reference, optimum), strict=True)):
        raise ValueError(
            f"of another version of the task: expected a scale of {ends[0]:.6g} to {ends[1]:.6g}, "
            f"got {reference:.6g} to {optimum:.6g}"
        )


def read_notes(path: Path) -> dict[str, Any]:
    """Reads a `run.json`, which may come from anywhere; OSError, or ValueError if it is damaged."""
    notes = read_json(path)
    if not isinstance(notes, dict) or notes.get(SEAL) != seal_of(without(notes, SEAL)):
        raise ValueError("edited, damaged or of an older version; play the task again")
    check_named_run(notes.get("agent"), notes.get("task"), notes.get("seed"))
    score_numbers([notes.get("seconds")], 1, 0, 1e12)
    # Older notes have none.
    if notes.get("policy_macs") is not None:
        score_numbers([notes["policy_macs"]], 1, 0, MOST_MACS)
    if not isinstance(notes.get("error"), str):
        raise ValueError(f"expected error as a text, got {shown(notes.get('error'))}")
    check_printable(notes["error"], "error", LONGEST_ERROR)
    return notes


def run_notes(folder: Path) -> dict[str, Any]:
    """What `ccenv suite` wrote about a run; empty where it wrote nothing that can be read."""
    try:
        return read_notes(folder / RUN)
    except (OSError, ValueError):
        return {}


def read_folder(folder: Path) -> tuple[list[ScoredRun], list[Failure], list[str]]:
    """Finished runs below a folder, those that failed, and a line for each file not counted."""
    runs: list[ScoredRun] = []
    failures: dict[Path, Failure] = {}
    lines: list[str] = []
    for path in sorted(folder.rglob(RUN)):
        try:
            notes = read_notes(path)
        except (OSError, ValueError) as error:
            lines.append(f"{path}: {in_a_line(error)}")
            continue
        if notes["error"]:
            names = notes["agent"], notes["task"], notes["seed"]
            failures[path.parent] = Failure(*names, notes["error"])
    first: dict[Any, Path] = {}
    for path in sorted(folder.rglob(SCORE)):
        if path.parent in failures:
            continue
        try:
            run = read_score(path)
            check_first(first, run, path)
        except (OSError, ValueError) as error:
            lines.append(f"{path}: {in_a_line(error)}")
        else:
            runs.append(run)
    return runs, [*failures.values()], lines


def check_first(first: dict[Any, Path], run: ScoredRun, path: Path) -> None:
    """Refuses the second file of a run (ValueError), or another copy of it."""
    seeds = run.agent, run.task, "seed", run.seed
    same = run.agent, run.task, run.order, run.tenths
    for key, what in ((seeds, f"seed {run.seed}"), (same, "the same inputs and returns")):
        if key in first:
            raise ValueError(
                f"a second file of {run.agent} on {run.task} with {what}, after {first[key]}; "
                "a run counts once"
            )
    first |= dict.fromkeys((seeds, same), path)


@functools.cache
def recorded() -> Mapping[str, Any]:
    """The package's record; ValueError if it is of another version."""
    record: dict[str, Any] = read_json(RECORDED)
    if record.get("suite") != VERSION:
        raise ValueError(f"{RECORDED.name}: expected suite {VERSION}, got {record.get('suite')!r}")
    return record


def recorded_ends() -> Mapping[str, tuple[float, float]]:
    """Task -> expected returns of reference and optimum when agents were recorded."""
    return {task: (ends[0], ends[1]) for task, ends in recorded()["tasks"].items()}


def scale_of(task: str) -> tuple[float, float]:
    """Expected returns of a task's reference and optimum: the recorded ones, or its own."""
    # To compute them takes seconds where an optimum is estimated.
    return recorded_ends().get(task) or (TASKS[task].reference, TASKS[task].optimum)


def recorded_runs() -> list[ScoredRun]:
    """Runs of recorded agents."""
    return [
        ScoredRun(
            agent=agent,
            task=task,
            seed=int(seed),
            tenths=tuple(one["tenths"]),
            seconds=one["seconds"],
            recorded=True,
            policy_macs=one.get("policy_macs"),
            spent=tuple(one.get("spent", ())),
        )
        for agent, tasks in recorded()["agents"].items()
        for task, seeds in tasks.items()
        for seed, one in seeds.items()
        if task in TASKS
    ]
