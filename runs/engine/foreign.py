"""Judges policies that were trained elsewhere: what a user adds -> a sweep's row, with results.

Nothing is trained and nothing written: policies are judged at each comparison, so that a row
never shows what a file held yesterday.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.agents.foreign import Foreign
from ccenv.base.values import in_a_line
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.metadata import description_of, verdicts_of_context
from ccenv.runs.engine.run import all_verdicts, block_use_of, torch_settings
from ccenv.runs.engine.sweep_runs import Finished
from ccenv.runs.stats.measures import UNKNOWN
from ccenv.runs.store.identity import as_stored
from ccenv.simulator.policy import OtherWidthError

NAME = f"{Foreign.__module__}:{Foreign.__qualname__}"
SUMMARY = {"observation": "summary"}
"""What a policy may have learned with, where it does not take the default's width."""


def judge(
    sweep: Sweep, label: str, policies: Sequence[Any], settings: Mapping[str, Any]
) -> tuple[Cell, list[Finished]]:
    """Judges the policies of one row on the sweep's inputs and network.

    Args:
        sweep: its settings are those of the environment.
        label: of the row.
        policies: one for each seed, from 0 on; as `ccenv.evaluate` takes them.
        settings: of the environment, in place of the sweep's, and of `Foreign`.

    Returns:
        The row, and its results.

    Raises:
        ValueError: if a setting is wrong, the network would learn, or a policy does not fit.
    """
    cell = Cell(label, NAME, settings, tuple(range(len(policies))), label, added=True)
    one_row = dataclasses.replace(sweep, cells=(cell,))
    finished = []
    try:
        for policy, (_, settings_of_run) in zip(policies, one_row.runs(), strict=True):
            result = result_of(policy, settings_of_run) | {"agent": label}
            if "reward" not in settings:
                # The sweep's reward says nothing of what it learned from.
                result["reward"] = result["settings"]["environment"]["reward"] = UNKNOWN
            finished.append(Finished(label, result))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{label}: {in_a_line(error)}") from error
    return cell, finished


def result_of(policy: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's result holds, of a policy that was not trained here."""
    began = time.perf_counter()
    plan, env, agent = fitted(policy, settings)
    seed = plan.program.seed
    with torch_settings(plan.program):
        verdicts = all_verdicts(env, agent, seed)
        described = description_of(plan, env, agent)
        # Shown as a level line, as rules are.
        curve = [{"images_seen": 0, **verdicts[2 + agent.deterministic].numbers()}]
        return {
            **described,
            "settings": as_stored(described["settings"]),
            "num_parameters": described["num_parameters"] if agent.module else None,
            "images_seen": 0,
            "seconds": 0.0,
            "evaluations": [one.numbers() for one in verdicts],
            "curve": curve,
            **verdicts_of_context(env, agent, seed),
            "block_use": block_use_of(verdicts[agent.deterministic]),
            "latency": [],
            "total_seconds": time.perf_counter() - began,
        }


def fitted(
    policy: Any, settings: Mapping[str, Any]
) -> tuple[Plan, BlockSelectionVectorEnv, Foreign]:
    """The policy in the environment that shows it observations of the width that it takes.

    Without a setting `observation` the default is tried first, then `SUMMARY`.
    """
    plan, env = environment_of(settings)
    try:
        return plan, env, Foreign(env, policy, seed=plan.program.seed, **plan.agent_settings)
    except OtherWidthError as error:
        if "observation" in settings:
            raise
        first = error
    try:
        plan, env = environment_of({**settings, **SUMMARY})
        return plan, env, Foreign(env, policy, seed=plan.program.seed, **plan.agent_settings)
    except OtherWidthError as error:
        raise ValueError(f"{first}; with observation=summary {error}") from error


def environment_of(settings: Mapping[str, Any]) -> tuple[Plan, BlockSelectionVectorEnv]:
    """A plan by settings of a sweep and its environment; ValueError where its network learns."""
    plan = make_plan(NAME, settings)
    if plan.environment["weights"] == "cotrain":
        raise ValueError(
            "expected a sweep of frozen weights, got weights=cotrain: what was trained elsewhere "
            "does not know a network that learns here"
        )
    env = BlockSelectionVectorEnv(int(plan.environment["group_size"]), **plan.environment)
    env.reset(seed=plan.program.seed)
    return plan, env
