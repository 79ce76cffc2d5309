"""REINFORCE under a cost limit: reward and compute cost come apart, a multiplier joins them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.advantages import above_mean, less_costs
from ccenv.agents.base import descend
from ccenv.agents.scores import EmbeddingSize, IndependentPolicy
from ccenv.rewards import check_cost_limit
from ccenv.rewards.lagrangian import level_of, price_of, relative_excess
from ccenv.simulator.rollout import Rollout


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

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        cost_limit: float = 0.25,
        multiplier_lr: float = 0.05,
        initial_multiplier: float = 0.0,
        multiplier_scale: float = 0.01,
        learning_rate: float = 0.01,
        entropy_weight: float = 0.001,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            cost_limit: mean compute cost to reach, in (0, 1].
            multiplier_lr: see `price_learning_rate` of `ccenv.rewards.lagrangian`.
            initial_multiplier: at least 0.
            multiplier_scale: see `price_scale` there.
            learning_rate: Adam's at the start; falls to 0 linearly.
            entropy_weight: of the bonus on the masks' entropy, in nats; fades to 0 linearly.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units, embedding_size=embedding_size)
        check_cost_limit(cost_limit)
        self.cost_limit, self.multiplier_lr = cost_limit, multiplier_lr
        self.multiplier_scale = multiplier_scale
        self.level = level_of(initial_multiplier, multiplier_scale)
        self.learning_rate, self.entropy_weight = learning_rate, entropy_weight
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    @property
    def multiplier(self) -> float:
        """Multiplier: cost of the whole dense network, in units of the reward."""
        return price_of(self.level, self.multiplier_scale)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient of the Lagrangian, one step of the multiplier."""
        worth = less_costs(rollout.returns, rollout.costs, self.multiplier)
        loss, entropy = self.surrogate(rollout, above_mean(worth))
        # Steps that end at 0 let the last policy be one that meets the limit, not a swing about it.
        self.optimizer.param_groups[0]["lr"] = self.learning_rate * (1 - self.progress)
        descend(self.optimizer, loss - self.entropy_weight * (1 - self.progress) * entropy)
        paid = self.multiplier
        excess = relative_excess(rollout.means["compute_cost"], self.cost_limit)
        self.level = max(0.0, self.level + self.multiplier_lr * excess)
        return self.read(loss=loss, entropy=entropy) | {"multiplier": paid}

    def parameters(self) -> dict[str, Tensor]:
        """The policy, and the multiplier that it has met."""
        return super().parameters() | {"multiplier": torch.tensor(self.multiplier)}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Agent.load_parameters`."""
        super().load_parameters(tensors)
        self.level = level_of(float(tensors["multiplier"]), self.multiplier_scale)
