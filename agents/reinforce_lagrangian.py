"""REINFORCE under a cost limit: reward and compute cost come apart, a multiplier joins them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.advantages import above_mean, less_costs
from ccenv.agents.base import descend
from ccenv.agents.scores import IndependentPolicy, ScoreSettings
from ccenv.rewards import check_cost_limit
from ccenv.rewards.lagrangian import level_of, price_of, relative_excess
from ccenv.simulator.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class LagrangianSettings(ScoreSettings):
    """Settings of `ReinforceLagrangian`."""

    cost_limit: float = 0.25
    """mean compute cost to reach, in (0, 1]."""
    multiplier_lr: float = 0.05
    """see `price_learning_rate` of `ccenv.rewards.lagrangian`."""
    initial_multiplier: float = 0.0
    """at least 0."""
    multiplier_scale: float = 0.01
    """see `price_scale` there."""
    learning_rate: float = 0.01
    """Adam's at the start; falls to 0 linearly."""
    entropy_weight: float = 0.001
    """of the bonus on the masks' entropy, in nats; fades to 0 linearly."""


class ReinforceLagrangian(IndependentPolicy):
    """Maximises the reward, whichever it is, while the mean compute cost stays within a limit.

    A constrained MDP with the layers' costs as its cost signal (`info["cost"]`): the policy climbs
    the return minus multiplier times cost to go, the multiplier rises while the batch costs more
    than the limit and falls to 0 while it costs less (Tessler, Mankowitz, Mannor 2018, arXiv
    1805.11074). It moves as the multiplier of the reward `lagrangian` does, once a rollout. By
    default the reward has no multiplier of its own.
    """

    env_defaults: ClassVar[dict[str, Any]] = {
        "reward": "nll_minus_cost",
        "reward_kwargs": {"cost_weight": 0.0},
    }

    settings_class = LagrangianSettings
    settings: LagrangianSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy and optimiser (Adam); see `LagrangianSettings`."""
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_cost_limit(record.cost_limit)
        self.level = level_of(record.initial_multiplier, record.multiplier_scale)
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=record.learning_rate)

    @property
    def multiplier(self) -> float:
        """Multiplier: cost of the whole dense network, in units of the reward."""
        return price_of(self.level, self.settings.multiplier_scale)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient of the Lagrangian, one step of the multiplier."""
        worth = less_costs(rollout.returns, rollout.costs, self.multiplier)
        loss, entropy = self.surrogate(rollout, above_mean(worth))
        # Steps that end at 0 let the last policy be one that meets the limit, not a swing about it.
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * (1 - self.progress)
        weight = self.settings.entropy_weight * (1 - self.progress)
        descend(self.optimizer, loss - weight * entropy)
        paid = self.multiplier
        excess = relative_excess(rollout.means["compute_cost"], self.settings.cost_limit)
        self.level = max(0.0, self.level + self.settings.multiplier_lr * excess)
        return self.read(loss=loss, entropy=entropy) | {"multiplier": paid}

    def parameters(self) -> dict[str, Tensor]:
        """The policy, and the multiplier that it has met."""
        return super().parameters() | {"multiplier": torch.tensor(self.multiplier)}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Agent.load_parameters`."""
        super().load_parameters(tensors)
        self.level = level_of(float(tensors["multiplier"]), self.settings.multiplier_scale)
