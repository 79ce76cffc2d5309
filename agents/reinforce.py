"""REINFORCE with a batch-mean baseline: one affine policy a layer."""

from collections.abc import Sequence
from typing import Any

import torch

from ccenv.agents.advantages import above_mean
from ccenv.agents.base import descend
from ccenv.agents.scores import DrawnPolicy, EmbeddingSize
from ccenv.simulator.rollout import Rollout


class Reinforce(DrawnPolicy):
    """Makes masks that return more than the batch's mean more probable (Williams 1992)."""

    sequences = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        learning_rate: float = 0.05,
        entropy_weight: float = 0.001,
        hidden_units: int = 0,
        anneal: bool = False,
        embedding_size: EmbeddingSize = 0,
        num_kept: int | Sequence[int] | None = None,
        min_probability: float = 0.001,
        num_epochs: int = 1,
        num_minibatches: int = 1,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            learning_rate: Adam's.
            entropy_weight: of the bonus on the masks' entropy, in nats; fades to 0 linearly.
            anneal: let the learning rate fall to 0 linearly, so that the last policy is no swing.
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
        self.entropy_weight = entropy_weight
        self.learning_rate, self.anneal = learning_rate, anneal
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Steps up the policy gradient, one by default."""
        if self.anneal:
            self.optimizer.param_groups[0]["lr"] = self.learning_rate * (1 - self.progress)
        for part in self.passes.over(self, rollout, above_mean(rollout.returns)):
            loss, entropy = self.surrogate(*part)
            descend(self.optimizer, loss - self.entropy_weight * (1 - self.progress) * entropy)
        return self.read(loss=loss, entropy=entropy)
