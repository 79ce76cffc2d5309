"""Straight-through estimator: hard masks forward, the sigmoid's gradient backward.

Bengio, Leonard, Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons for
Conditional Computation", arXiv 1308.3432. Policy gradients are compared with it.
Compute is held down by a wanted density, as in Veit and Belongie 2018, arXiv 1711.11503: a penalty
on every block would outweigh what kept blocks seem to be worth once the network is sure of itself.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.distributions import check_densities
from ccenv.agents.scores import EmbeddingSize, IndependentPolicy, start_at
from ccenv.annexes.agents.straight_through_ops import ThroughMasks, density_loss, straight_through
from ccenv.base.registry import check_names
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout

SAMPLINGS = ("bernoulli", "threshold")


class StraightThrough(ThroughMasks, IndependentPolicy):
    """Learns from the network's loss at a wanted density, whatever the environment's reward.

    Over sequences what the reward charges as `cost` takes the place of the density, see
    `ThroughMasks`. With `sampling="threshold"` it is then the gate of Skip RNN (Campos et al. 2018,
    arXiv 1708.06834).

    An update computes skipped blocks too, because their probabilities learn from what they
    would have added: training costs as much as the dense network's, and only use is cheaper.
    """

    sequences = True
    held_name: ClassVar[str] = "excess"

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        sampling: str = "bernoulli",
        target_density: float | Sequence[float] = 0.25,
        density_weight: float = 16.0,
        learning_rate: float = 0.005,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            sampling: "bernoulli" tosses a coin for each block, "threshold" keeps the likelier ones.
            target_density: wanted share of blocks kept, one number or one for each gated layer.
                Over sequences the share at the start alone.
            density_weight: of the squared distance from it, in nats.
            learning_rate: Adam's.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units, embedding_size=embedding_size)
        check_names([sampling], SAMPLINGS, "sampling")
        self.targets = check_densities(target_density, len(self.num_blocks))
        self.sampling, self.held_weight = sampling, density_weight
        start_at(self.scores, self.targets)
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; a threshold draws nothing."""
        return super().act(observation, layer, generator if self.sampling == "bernoulli" else None)

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return super().choosers(deterministic=deterministic or self.sampling == "threshold")

    def terms(self, rollout: Rollout, layer: int) -> tuple[Tensor, Tensor]:
        """See `ThroughMasks.terms`."""
        soft_mask = self.relaxed_mask(rollout.observations[layer], rollout.actions[layer], layer)
        return soft_mask, density_loss(soft_mask, self.targets[layer])

    def relaxed_mask(self, observation: Tensor, mask: Tensor, step: int) -> Tensor:
        """See `ThroughMasks.relaxed_mask`."""
        blocks = self.distribution(observation, step % len(self.num_blocks))
        return straight_through(mask, blocks.probability)
