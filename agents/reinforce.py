"""Named settings of a `PolicyGradient`: REINFORCE, with a critic, and under a limit on cost."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ccenv.agents.policy_gradient import PolicyGradient, PolicySettings


class Reinforce(PolicyGradient):
    """REINFORCE with the batch's mean as its baseline: one affine policy a layer."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings(PolicySettings):
    """Settings of `ActorCritic`."""

    baseline: str = "critic"


class ActorCritic(PolicyGradient):
    """REINFORCE with a learned baseline: a critic predicts the return from the observation.

    Returns are not bootstrapped by default (Sutton and Barto 2018, section 13.4): episodes of one
    input are short. Of sequences generalised advantages with `gae_lambda` below 1 trade variance
    for the critic's errors.
    """

    settings_class = ActorCriticSettings


@dataclass(frozen=True, kw_only=True)
class LagrangianSettings(PolicySettings):
    """Settings of `ReinforceLagrangian`."""

    cost_limit: float | None = 0.25
    learning_rate: float = 0.01
    anneal: bool = True
    min_probability: float = 0.01


class ReinforceLagrangian(PolicyGradient):
    """REINFORCE under a limit on the mean compute cost, whichever the reward.

    The multiplier moves as that of the reward `lagrangian` does, once a rollout. By default the
    reward charges no cost by itself, and steps end at 0, so that the last policy is one that meets
    the limit, not a swing about it.
    """

    env_defaults: ClassVar[dict[str, Any]] = {
        "reward": "nll_minus_cost",
        "reward_kwargs": {"cost_weight": 0.0},
    }
    settings_class = LagrangianSettings
