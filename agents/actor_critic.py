"""REINFORCE with a learned baseline: a critic predicts the return from the observation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ccenv.agents.advantages import explained_variance, generalised
from ccenv.agents.base import descend
from ccenv.agents.losses import value_loss
from ccenv.agents.scores import DrawnPolicy, EmbeddingSize
from ccenv.simulator.rollout import Rollout


class ActorCritic(DrawnPolicy):
    """Raises the log-probability of masks whose return is above the critic's prediction.

    Returns are not bootstrapped by default (Sutton and Barto 2018, section 13.4): episodes of one
    input are short. Of sequences generalised advantages with `gae_lambda` below 1 trade variance
    for the critic's errors (Schulman et al. 2016, arXiv 1506.02438).
    """

    sequences = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        learning_rate: float = 0.05,
        critic_learning_rate: float = 0.003,
        critic_units: int = 64,
        gae_lambda: float = 1.0,
        entropy_weight: float = 0.001,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
        num_kept: int | Sequence[int] | None = None,
        min_probability: float = 0.001,
        num_epochs: int = 1,
        num_minibatches: int = 1,
    ) -> None:
        """Prepares policy, critic and their optimisers (Adam).

        Args:
            learning_rate: of the policy.
            critic_learning_rate: of the critic.
            critic_units: of the critic's hidden layer.
            gae_lambda: in [0, 1]; 1 compares whole returns with the critic's prediction, 0 the next
                reward and prediction.
            entropy_weight: of the bonus on the masks' entropy, in nats; fades to 0 linearly.
            num_kept: k of a gate's blocks are drawn, one number or one for each gate; None: a coin
                for each block.
            min_probability: lowest keep probability of a coin, see `ScoredAgent`.
            num_epochs: how often an update goes through the rollout; see `ccenv.agents.passes`.
            num_minibatches: parts of it, with a gradient step each.
        """
        super().__init__(
            env,
            seed=seed,
            hidden_units=hidden_units,
            embedding_size=embedding_size,
            num_kept=num_kept,
            min_probability=min_probability,
            num_epochs=num_epochs,
            num_minibatches=num_minibatches,
        )
        if not 0 <= gae_lambda <= 1:
            raise ValueError(f"expected gae_lambda in [0, 1], got {gae_lambda}")
        self.entropy_weight, self.gae_lambda = entropy_weight, gae_lambda
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = nn.Sequential(
                nn.Linear(self.simulator.obs_size, critic_units),
                nn.Tanh(),
                nn.Linear(critic_units, 1),
            ).to(self.simulator.device)
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.scores.parameters(), "lr": learning_rate},
                {"params": self.critic.parameters(), "lr": critic_learning_rate},
            ]
        )

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Steps of both, one by default: the policy up its gradient, the critic to the returns."""
        with torch.no_grad():
            values = self.critic(rollout.observations).squeeze(-1)
        advantages = rollout.returns - values
        if self.gae_lambda < 1:
            advantages = generalised(rollout.rewards, values, self.gae_lambda)
        weight = self.entropy_weight * (1 - self.progress)
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
