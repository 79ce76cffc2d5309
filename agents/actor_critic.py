"""REINFORCE with a learned baseline: a critic predicts the return from the observation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ccenv.agents.advantages import explained_variance, generalised
from ccenv.agents.base import descend
from ccenv.agents.losses import value_loss
from ccenv.agents.scores import PolicyGradient, PolicySettings
from ccenv.simulator.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings(PolicySettings):
    """Settings of `ActorCritic`."""

    learning_rate: float = 0.05
    """of the policy."""
    critic_learning_rate: float = 0.003
    """of the critic."""
    critic_units: int = 64
    """of the critic's hidden layer."""
    gae_lambda: float = 1.0
    """in [0, 1]; 1 compares whole returns with the critic's prediction, 0 the next reward and
    prediction."""


class ActorCritic(PolicyGradient):
    """Raises the log-probability of masks whose return is above the critic's prediction.

    Returns are not bootstrapped by default (Sutton and Barto 2018, section 13.4): episodes of one
    input are short. Of sequences generalised advantages with `gae_lambda` below 1 trade variance
    for the critic's errors (Schulman et al. 2016, arXiv 1506.02438).
    """

    settings_class = ActorCriticSettings
    settings: ActorCriticSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy, critic and their optimiser (Adam); see `ActorCriticSettings`."""
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        if not 0 <= record.gae_lambda <= 1:
            raise ValueError(f"expected gae_lambda in [0, 1], got {record.gae_lambda}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = nn.Sequential(
                nn.Linear(self.simulator.obs_size, record.critic_units),
                nn.Tanh(),
                nn.Linear(record.critic_units, 1),
            ).to(self.simulator.device)
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.scores.parameters(), "lr": record.learning_rate},
                {"params": self.critic.parameters(), "lr": record.critic_learning_rate},
            ]
        )

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Steps of both, one by default: the policy up its gradient, the critic to the returns."""
        with torch.no_grad():
            values = self.critic(rollout.observations).squeeze(-1)
        advantages = rollout.returns - values
        if self.settings.gae_lambda < 1:
            advantages = generalised(rollout.rewards, values, self.settings.gae_lambda)
        weight = self.settings.entropy_weight * (1 - self.progress)
        for part, *worth in self.passes.over(self, rollout, advantages):
            policy_loss, entropy = self.surrogate(part, *worth)
            predicted = self.critic(part.observations).squeeze(-1)
            critic_loss = value_loss(predicted, part.returns)
            descend(self.optimizer, policy_loss + critic_loss - weight * entropy)
        return self.read(
            loss=policy_loss,
            value_loss=critic_loss,
            explained_variance=explained_variance(values, rollout.returns),
            entropy=entropy,
        )
