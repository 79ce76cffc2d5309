"""Rewards: StepOutcome -> one reward per input, as named terms that sum to it.

A reward is a function of a `StepOutcome` and keyword arguments. It returns a tensor [batch], or a
dict of such tensors: the terms, each of which is in `info` as `reward/<term>`. A reward with state
is a subclass of `StatefulReward`; its numbers are in `info` under their names, and curves
`reward/<name>`. Your own function or class is `module:name`; `describe` adds a range and a formula
for tables. Nothing that is imported here needs torch.
"""

from collections.abc import Mapping
from typing import Any

from ccenv.base.registry import NameTable, resolve
from ccenv.base.values import as_settings
from ccenv.rewards.bind import (
    Reward,
    RewardDescription,
    RewardFunction,
    StatefulReward,
    Surroundings,
    bind_reward,
    check_cost_limit,
    check_takes_outcome,
    describe,
    reward_parameters,
)
from ccenv.rewards.plain import correct, log_likelihood

REWARDS = NameTable(
    {
        "accuracy_minus_cost": "ccenv.rewards.plain:accuracy_minus_cost",
        "nll_minus_cost": "ccenv.rewards.plain:nll_minus_cost",
        "probability_minus_cost": "ccenv.rewards.plain:probability_minus_cost",
        "negative_nll": "ccenv.rewards.plain:negative_nll",
        "terminal_cost": "ccenv.rewards.plain:terminal_cost",
        "blockdrop": "ccenv.rewards.plain:blockdrop",
        "skipnet": "ccenv.rewards.plain:skipnet",
        "budget_hinge": "ccenv.rewards.plain:budget_hinge",
        "target_density": "ccenv.rewards.block_use:TargetDensity",
        "potential": "ccenv.rewards.potential:Potential",
        "lagrangian": "ccenv.rewards.lagrangian:Lagrangian",
        "pid_lagrangian": "ccenv.rewards.lagrangian:PidLagrangian",
        "latency": "ccenv.rewards.latency:LatencyReward",
        "vector": "ccenv.rewards.plain:vector",
    }
)
"""Name -> a function or class, imported on use."""


def make_reward(reward: str | RewardFunction, arguments: Mapping[str, Any] | None = None) -> Reward:
    """Finds a reward and binds its arguments.

    Args:
        reward: a name in `REWARDS`, `module:name`, a function, or a `StatefulReward` class.
        arguments: its keyword arguments.

    Returns:
        A `Reward`: call it with an outcome for the terms, float32 [batch] each.

    Raises:
        ValueError: if a name is unknown, or a number is not finite or out of range.
    """
    definition = resolve(reward, REWARDS, "reward")
    if isinstance(reward, str) and reward not in REWARDS:
        check_takes_outcome(definition, reward)
    name = reward if isinstance(reward, str) else getattr(definition, "__name__", repr(definition))
    return bind_reward(definition, name, as_settings(arguments, "reward_kwargs"))


__all__ = [
    "REWARDS",
    "Reward",
    "RewardDescription",
    "RewardFunction",
    "StatefulReward",
    "Surroundings",
    "check_cost_limit",
    "correct",
    "describe",
    "log_likelihood",
    "make_reward",
    "reward_parameters",
]
