"""REINFORCE with a batch-mean baseline: one affine policy a layer, independent blocks."""

from typing import Any

import torch

from ccenv.agents.advantages import above_mean
from ccenv.agents.base import descend
from ccenv.agents.scores import EmbeddingSize, IndependentPolicy
from ccenv.simulator.rollout import Rollout


class Reinforce(IndependentPolicy):
    """Makes masks that return more than the batch's mean more probable (Williams 1992)."""

    sequences = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        learning_rate: float = 0.01,
        entropy_weight: float = 0.001,
        hidden_units: int = 0,
        anneal: bool = False,
        embedding_size: EmbeddingSize = 0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            learning_rate: Adam's.
            entropy_weight: of the bonus on the masks' entropy, in nats; fades to 0 linearly.
            anneal: let the learning rate fall to 0 linearly, so that the last policy is no swing.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units, embedding_size=embedding_size)
        self.entropy_weight = entropy_weight
        self.learning_rate, self.anneal = learning_rate, anneal
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient."""
        loss, entropy = self.surrogate(rollout, above_mean(rollout.returns))
        if self.anneal:
            self.optimizer.param_groups[0]["lr"] = self.learning_rate * (1 - self.progress)
        descend(self.optimizer, loss - self.entropy_weight * (1 - self.progress) * entropy)
        return self.read(loss=loss, entropy=entropy)
