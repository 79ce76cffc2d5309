"""Environments of tasks: (name, where the score goes) -> one of the three views, scored.

    envs = gym.make_vec("ccenv:suite/depth-8-v0", num_envs=64)
    env = TASKS["depth-8"].make_sb3(64)

Take the budget's number of episodes; the score lies in `runs/suite/<task>/<n>/score.json`, or in
the folder that you name, and in `envs.unwrapped.score`.
"""

from pathlib import Path
from typing import Any

import gymnasium

from ccenv.annexes.tasks.catalogue import OWN, suite
from ccenv.base.registry import check_keywords
from ccenv.envs.scalar import BlockSelectionEnv
from ccenv.envs.vector import BlockSelectionVectorEnv


def task_settings(
    task: str,
    score_folder: str | Path | None = None,
    agent: str | None = None,
    seed: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A task's settings, with where and as whose the score is written.

    Args:
        task: name, see `ccenv.suite`.
        score_folder: where `score.json` is written; by default a new folder in `runs/suite/<task>`.
            One that holds a score is refused when the environment is made (ValueError).
        agent: written there.
        seed: likewise; the environment is reset with it.
        **settings: what a task leaves open, see `ccenv.annexes.tasks.catalogue.OWN`.

    Raises:
        ValueError: if there is no such task, or a setting is the task's own; the nearest is named.
    """
    fixed = suite[task].settings
    if settings.pop("action", "mask") != "mask":
        raise ValueError(
            "expected action='mask' in an environment of the suite, whose optima are those of "
            "masks; leave action out"
        )
    check_keywords(settings, OWN, "open setting of a task")
    folder = None if score_folder is None else str(score_folder)
    score = {"name": task, "folder": folder, "agent": agent, "seed": seed}
    return fixed | settings | {"task": score}


def make(task: str, *, seed: int | None = None, **settings: Any) -> BlockSelectionEnv:
    """The scalar environment of a task; settings as of `task_settings`.

    Each is scored by itself: of several side by side none has all of the budget's episodes, and in
    one folder only the first to write goes on (ValueError). Take one, `make_vec` or `make_sb3`.
    """
    env = BlockSelectionEnv(**task_settings(task, seed=seed, **settings))
    env.spec = gymnasium.spec(suite[task].id)
    if seed is not None:
        env.reset(seed=seed)
    return env


def make_vec(
    num_envs: int = 1, task: str = "basic-4", *, seed: int | None = None, **settings: Any
) -> BlockSelectionVectorEnv:
    """The vector environment of a task: episodes side by side, each of which counts.

    Settings are those of `task_settings`.
    """
    envs = BlockSelectionVectorEnv(num_envs, **task_settings(task, seed=seed, **settings))
    envs.spec = gymnasium.spec(suite[task].id)
    if seed is not None:
        envs.reset(seed=seed)
    return envs


def make_sb3(
    num_envs: int = 1, task: str = "basic-4", *, seed: int | None = None, **settings: Any
) -> Any:
    """Stable-Baselines3's view of a task; settings as of `task_settings`."""
    from ccenv.envs.stable_baselines import BlockSelectionVecEnv

    env = BlockSelectionVecEnv(num_envs, **task_settings(task, seed=seed, **settings))
    if seed is not None:
        env.seed(seed)
    return env
