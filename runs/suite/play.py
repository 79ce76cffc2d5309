"""Plays an agent on tasks of the suite: (plan, tasks, seeds) -> `score.json` of each run.

A run that is finished, of the same settings and code, is not repeated; one that was interrupted
starts over. What an agent of others raises is a line of its run, and the next run begins.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ccenv.agents.base import Agent
from ccenv.annexes.tasks import Task
from ccenv.annexes.tasks.catalogue import SCORE
from ccenv.base.files import SEAL, write_sealed
from ccenv.base.given_files import read_json
from ccenv.base.registry import check_names
from ccenv.base.values import in_a_line
from ccenv.runs.config.agent_settings import find_agent, known_settings
from ccenv.runs.config.command import value_word
from ccenv.runs.config.plan import safe_name, source_digest
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.errors import CannotStartError, error_place
from ccenv.runs.engine.run import torch_settings
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import Program
from ccenv.runs.suite.scores import LONGEST_ERROR, MOST_MACS, RUN, read_score, run_notes
from ccenv.simulator.rollout import collect_rollout

FOLDER = Path("runs/suite")
"""Of scores, seen from where a command is given."""
EPISODES_AT_ONCE = 64
"""Rows of the vector environment, where `batch_size` says nothing."""


@dataclass(frozen=True)
class Player:
    """An agent with its settings, before it is built."""

    label: str
    """as tables show it: name and chosen settings."""
    agent: type[Agent]
    """its class."""
    settings: dict[str, Any]
    """keyword arguments of its constructor."""
    batch_size: int = EPISODES_AT_ONCE
    """episodes side by side, at least; whole groups."""

    @property
    def code(self) -> str:
        """Hash of the agent's file."""
        return source_digest(self.agent)


def make_player(name: str, settings: dict[str, Any]) -> Player:
    """Resolves an agent's name and checks its settings; builds nothing.

    Args:
        name: in `ccenv.agents.AGENTS`, or `module:Class`.
        settings: settings of its constructor, and `batch_size`.

    Raises:
        ValueError: if the agent or a setting is unknown (the nearest is named), or impossible.
    """
    names = known_settings(find_agent(name))
    if names is not None:
        check_names(settings, [*names, "batch_size"], "setting of an agent of the suite")
    plan = make_plan(name, settings)
    words = [f"{key}={value_word(value)}" for key, value in settings.items()]
    return Player(
        label=" ".join([name, *words]),
        agent=plan.agent_class,
        settings=plan.agent_settings,
        batch_size=plan.program.batch_size if "batch_size" in settings else EPISODES_AT_ONCE,
    )


def run_folder_of(folder: Path, label: str, task: str, seed: int) -> Path:
    """Where a run's score lies."""
    return folder / safe_name(label) / task / f"seed-{seed}"


def play_all(
    player: Player,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    folder: Path = FOLDER,
    *,
    anew: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> bool:
    """Plays what is missing: every task with every seed; those that it cannot play fail at once.

    Args:
        player: the agent.
        tasks: of the suite.
        seeds: of environment and agent.
        folder: of the scores.
        anew: also what is finished.
        say: called with a line for the tasks that the agent cannot play, each new way to fail, and
            without a terminal for a bar each task.

    Returns:
        Whether no other run has failed.

    Raises:
        OSError: if the folder cannot be written in.
    """
    run_folder.check_writable(folder)
    refused = {task.name: why for task in tasks if (why := refusal(player, task))}
    reasons = set(refused.values())
    for why in reasons:
        say(f"{player.label} cannot play {', '.join(refused)}: {why}")
    ways = {"", *reasons}
    with tqdm(total=len(tasks), desc=player.label, disable=not sys.stderr.isatty()) as bar:
        for number, task in enumerate(tasks, start=1):
            for seed in seeds:
                target = run_folder_of(folder, player.label, task.name, seed)
                with run_folder.locked(target, wait=True):
                    is_missing = anew or not is_finished(target, player)
                    why = play_task(player, task, seed, target) if is_missing else ""
                if why not in ways:
                    say(f"{player.label} on {task.name}, seed {seed}: {why}")
                    ways.add(why)
            bar.update()
            if bar.disable:
                say(f"{number} of {len(tasks)} tasks: {task.name}")
    return ways == {"", *reasons}


def refusal(player: Player, task: Task) -> str:
    """Why an agent cannot play a task at all; "" where it can."""
    try:
        if task.settings.get("episode") == "sequence":
            player.agent.check_over_sequences()
    except ValueError as error:
        return in_a_line(error)
    return ""


def is_finished(target: Path, player: Player) -> bool:
    """Whether a folder holds a finished score of the same settings and code."""
    notes = run_notes(target)
    if notes.get("error") or notes.get("code") != player.code:
        return False
    try:
        return not read_score(target / SCORE).named_by_caller
    except (OSError, ValueError):
        return False


def play_task(player: Player, task: Task, seed: int, target: Path) -> str:
    """Lets an agent learn on one task; returns why it failed, "" where it did not."""
    run_folder.check_unlinked(target)
    shutil.rmtree(target, ignore_errors=True)
    begun = time.process_time()
    why, macs = refusal(player, task), None
    try:
        if not why:
            with torch_settings(Program(seed=seed)):
                macs = choosing_macs(learn_task(player, task, seed, target))
    except (KeyboardInterrupt, OSError):
        raise
    except CannotStartError as error:
        why = in_a_line(error)
    # An agent that ends the program would end the others' runs.
    except BaseException as error:
        message = " ".join(str(error).split()) or "no message"
        why = f"{type(error).__name__}: {message}{error_place(error)}"
    # It may hold letters that command a terminal.
    why = "".join(letter if letter.isprintable() else "?" for letter in why)[:LONGEST_ERROR]
    notes = {"agent": player.label, "task": task.name, "seed": seed, "code": player.code}
    notes |= {"seconds": time.process_time() - begun, "error": why, "policy_macs": macs}
    target.mkdir(parents=True, exist_ok=True)
    if (target / SCORE).exists():
        notes["score"] = read_json(target / SCORE)[SEAL]
    write_sealed(target / RUN, notes)
    return why


def make_envs(player: Player, task: Task, seed: int, target: Path | None = None) -> Any:
    """The environment of a task, with as many episodes side by side as the agent is played with."""
    group = int(player.agent.env_defaults.get("group_size", 1))
    rows = group * math.ceil(player.batch_size / group)
    grouping = {"group_size": group} if group > 1 else {}
    return task.make_vec(rows, seed=seed, score_folder=target, agent=player.label, **grouping)


def learn_task(player: Player, task: Task, seed: int, target: Path) -> Agent:
    """Builds environment and agent, plays the budget of episodes, and returns the agent."""
    envs = make_envs(player, task, seed, target)
    # When agents were recorded each reset drew new inputs: they began with the second batch.
    envs.unwrapped.simulator.state = None
    try:
        agent = player.agent(envs, seed=seed, **player.settings)
        score = envs.unwrapped.score
        agent.learn(math.ceil(task.episodes / envs.unwrapped.simulator.group_size))
        # Rules do not learn, and are scored all the same.
        while score.episodes < task.episodes:
            collect_rollout(agent.simulator, agent, agent.generator)
        if not all(bool(t.isfinite().all()) for t in agent.parameters().values()):
            raise CannotStartError(
                "expected finite parameters, got NaN or infinity in training; check the settings"
            )
        return agent
    finally:
        envs.close()


def choosing_macs(agent: Agent) -> float | None:
    """MACs of choosing one input's masks at all gates; None where the agent cannot say."""
    try:
        macs = float(sum(agent.policy_macs))
    # It runs code of the user's, and the score stands without.
    except Exception:
        return None
    return macs if 0 <= macs <= MOST_MACS else None
