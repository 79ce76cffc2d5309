"""Rewards: StepOutcome -> one reward per image, as named terms that sum to it.

A reward is a function of a `StepOutcome` and keyword arguments that returns a tensor [batch], or
a dict of such tensors: the terms, each of which appears in `info` as `reward/<term>`. One that
remembers is a class, see `ccenv.rewards.stateful`; its numbers (a price) are in `info` under their
own names and curves of every run as `reward/<name>`. A function or class of yours is used by
`module:name`; `describe` gives it a range and a formula for tables.
"""

from collections.abc import Mapping
from typing import Any

from ccenv.base.registry import resolve
from ccenv.base.values import as_settings
from ccenv.rewards import plain
from ccenv.rewards.answers import correct, log_likelihood
from ccenv.rewards.balance import Balance
from ccenv.rewards.bind import (
    Reward,
    RewardFunction,
    bind_reward,
    check_cost_limit,
    check_takes_outcome,
    reward_parameters,
)
from ccenv.rewards.description import RewardDescription, describe
from ccenv.rewards.lagrangian import Lagrangian, PidLagrangian
from ccenv.rewards.latency import LatencyReward
from ccenv.rewards.potential import Potential
from ccenv.rewards.stateful import StatefulReward, Surroundings
from ccenv.rewards.target_density import TargetDensity

REWARDS: dict[str, Any] = {
    "accuracy_minus_cost": plain.accuracy_minus_cost,
    "nll_minus_cost": plain.nll_minus_cost,
    "negative_nll": plain.negative_nll,
    "terminal_cost": plain.terminal_cost,
    "blockdrop": plain.blockdrop,
    "skipnet": plain.skipnet,
    "budget_hinge": plain.budget_hinge,
    "target_density": TargetDensity,
    "balance": Balance,
    "potential": Potential,
    "lagrangian": Lagrangian,
    "pid_lagrangian": PidLagrangian,
    "latency": LatencyReward,
    "vector": plain.vector,
}


def make_reward(reward: str | RewardFunction, arguments: Mapping[str, Any] | None = None) -> Reward:
    """Finds a reward and binds its arguments.

    Args:
        reward: a name in `REWARDS`, `module:name`, a function, or a `StatefulReward` class.
        arguments: its keyword arguments.

    Returns:
        What is called with an outcome and gives the terms of the reward, float32 [batch] each.

    Raises:
        ValueError: if a name is unknown, or a number is not finite or impossible.
    """
    found = resolve(reward, REWARDS, "reward")
    if isinstance(reward, str) and reward not in REWARDS:
        check_takes_outcome(found, reward)
    name = reward if isinstance(reward, str) else getattr(found, "__name__", repr(found))
    return bind_reward(found, name, as_settings(arguments, "reward_kwargs"))


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
