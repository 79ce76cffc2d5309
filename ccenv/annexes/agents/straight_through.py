"""Straight-through estimator: hard masks forward, the sigmoid's gradient backward.

Bengio, Leonard, Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons for
Conditional Computation", arXiv 1308.3432. Policy gradients are compared with it.
Compute is held down by a wanted density, as in Veit and Belongie 2018, arXiv 1711.11503: a penalty
on every block would outweigh what kept blocks seem to be worth once the network is sure of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.distributions import check_densities
from ccenv.agents.scores import IndependentPolicy, ScoreSettings, start_at
from ccenv.annexes.agents.straight_through_ops import ThroughMasks, density_loss, straight_through
from ccenv.base.registry import check_names
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout

SAMPLINGS = ("bernoulli", "threshold")


@dataclass(frozen=True, kw_only=True)
class StraightThroughSettings(ScoreSettings):
    """Settings of `StraightThrough`."""

    sampling: str = "bernoulli"
    """"bernoulli" tosses a coin for each block, "threshold" keeps the likelier ones."""
    target_density: float | Sequence[float] = 0.25
    """wanted share of blocks kept, one number or one for each gated layer. Over sequences the share
    at the start alone."""
    density_weight: float = 16.0
    """of the squared distance from it, in nats."""
    learning_rate: float = 0.005
    """Adam's."""


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

    settings_class = StraightThroughSettings
    settings: StraightThroughSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy and optimiser (Adam); see `StraightThroughSettings`."""
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_names([record.sampling], SAMPLINGS, "sampling")
        self.targets = check_densities(record.target_density, len(self.num_blocks))
        self.held_weight = record.density_weight
        start_at(self.scores, self.targets)
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=record.learning_rate)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; a threshold draws nothing."""
        is_drawn = self.settings.sampling == "bernoulli"
        return super().act(observation, layer, generator if is_drawn else None)

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        is_threshold = self.settings.sampling == "threshold"
        return super().choosers(deterministic=deterministic or is_threshold)

    def terms(self, rollout: Rollout, layer: int) -> tuple[Tensor, Tensor]:
        """See `ThroughMasks.terms`."""
        soft_mask = self.relaxed_mask(rollout.observations[layer], rollout.actions[layer], layer)
        return soft_mask, density_loss(soft_mask, self.targets[layer])

    def relaxed_mask(self, observation: Tensor, mask: Tensor, step: int) -> Tensor:
        """See `ThroughMasks.relaxed_mask`."""
        blocks = self.distribution(observation, step % len(self.num_blocks))
        return straight_through(mask, blocks.probability)
