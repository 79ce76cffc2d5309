"""REINFORCE with a batch-mean baseline: one affine policy a layer, independent blocks."""

from typing import Any

import torch
from torch import Tensor

from agents.base import Agent, LayerScores
from agents.masks import IndependentBlocks, keep_probability
from ccenv.rollout import Rollout


class Reinforce(Agent):
    """Makes masks that return more than the batch's mean more probable (Williams 1992)."""

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        learning_rate: float = 0.01,
        entropy_weight: float = 0.001,
        hidden_units: int = 0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            learning_rate: Adam's.
            entropy_weight: of the bonus on the masks' entropy, in nats; fades to 0 linearly.
            hidden_units: of the policy's hidden layer; 0 for the paper's affine policy.
        """
        super().__init__(env, seed=seed)
        self.scores = LayerScores(self.simulator, seed, hidden_units)
        self.policy_macs = self.scores.macs
        self.entropy_weight = entropy_weight
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Masks of a layer's images: [batch, obs_size] -> independent blocks."""
        return IndependentBlocks(keep_probability(self.scores(observation, layer)))

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient."""
        loss, entropy = torch.zeros(()), torch.zeros(())
        for layer, mask in enumerate(rollout.actions):
            blocks = self.distribution(rollout.observations[layer], layer)
            advantage = rollout.returns[layer] - rollout.returns[layer].mean()
            loss = loss - (blocks.log_prob(mask) * advantage).mean()
            entropy = entropy + blocks.entropy().mean()
        weight = self.entropy_weight * (1 - self.progress)
        self.optimizer.zero_grad()
        (loss - weight * entropy).backward()
        self.optimizer.step()
        return {"loss": loss.item(), "entropy": entropy.item()}
