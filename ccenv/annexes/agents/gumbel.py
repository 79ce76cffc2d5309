"""Gumbel gates: noisy hard masks forward, the gradient of their relaxation backward.

Relaxation and straight-through: Jang, Gu, Poole 2017, "Categorical reparameterization with
Gumbel-softmax", arXiv 1611.01144; Maddison, Mnih, Teh 2017, arXiv 1611.00712 (one coin: logistic
noise). Gates with a target rate each: Veit, Belongie 2018, "Convolutional networks with adaptive
inference graphs", arXiv 1711.11503. k of n: the relaxed draw without replacement of Xie and
Ermon 2019, "Reparameterizable subset sampling via continuous relaxations", arXiv 1901.10517.

Faithful: forward a hard mask of noisy scores, backward the slope of the relaxation at that noise;
independent gates are held to a target rate each by a squared loss, as in ConvNet-AIG. Ours: a gate
is a block's of any network, with an affine map or one hidden layer on what the environment shows,
where theirs pools a residual unit's input; the temperature falls by equal factors; in use a gate is
a coin of its probability, and k of n are the highest scores (whether theirs draw in use is an open
question of their users). Left out: classes of gates that must not be skipped, and rates by class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.agents.distributions import (
    IndependentBlocks,
    OrderedBlocks,
    check_densities,
    check_kept,
    gumbel_like,
)
from ccenv.agents.scores import ScoreSettings, start_at
from ccenv.annexes.agents.straight_through_ops import (
    ThroughMasks,
    load_balance,
    rate_loss,
    straight_through,
)
from ccenv.base.masks import as_mask
from ccenv.base.registry import check_names
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout

SAMPLINGS = ("independent", "ordered")


@dataclass(frozen=True, kw_only=True)
class GumbelSettings(ScoreSettings):
    """Settings of `Gumbel`."""

    sampling: str = "independent"
    """"independent" gates each block by itself at a target rate; "ordered" keeps k of n."""
    target_density: float | Sequence[float] = 0.25
    """of independent gates: wanted share of inputs that keep each block, one number or one for each
    gated layer. Over sequences the share at the start alone."""
    density_weight: float = 16.0
    """of the squared distance from it, a block, in nats."""
    num_kept: int | Sequence[int] = 2
    """k of ordered draws, one number or one for each gated layer."""
    balance_weight: float = 0.01
    """of ordered draws: of `topk`'s load balance loss."""
    temperature: float = 1.0
    """of the relaxation at the start."""
    last_temperature: float = 0.5
    """in the end; it falls by equal factors."""
    learning_rate: float = 0.005
    """Adam's."""


class Gumbel(ThroughMasks):
    """Learns from the network's loss, whatever the environment's reward, through noisy masks.

    Over sequences what the reward charges as `cost` is part of it, see `ThroughMasks`.

    An update computes skipped blocks too, as `straight_through` does; the two differ in the slope,
    here that of the relaxation at the noise that was drawn. In use, k of n blocks are those of
    highest score, without noise. Independent gates are coins there too, where masks are drawn: a
    gate that keeps a quarter of the inputs for its noise would keep none without it.
    """

    sequences = True

    settings_class = GumbelSettings
    settings: GumbelSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy and optimiser (Adam); see `GumbelSettings`."""
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_names([record.sampling], SAMPLINGS, "sampling")
        if min(record.temperature, record.last_temperature) <= 0:
            raise ValueError(
                f"expected temperatures above 0, got {record.temperature} and "
                f"{record.last_temperature}"
            )
        self.num_kept = [1] * len(self.num_blocks)
        self.targets: list[float] = []
        if record.sampling == "ordered":
            self.num_kept = check_kept(record.num_kept, self.num_blocks)
        else:
            self.targets = check_densities(record.target_density, len(self.num_blocks))
            start_at(self.scores, self.targets)
        self.noise: dict[int, Tensor] = {}
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=record.learning_rate)

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks | OrderedBlocks:
        """Masks of a layer's images: [batch, obs_size] -> a coin for each block, or k of n."""
        scores = self.scores(observation, layer)
        if self.settings.sampling == "independent":
            return IndependentBlocks(scores.sigmoid())
        return OrderedBlocks(scores, self.num_kept[layer])

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; training, which draws from the agent's own stream, notes its noise."""
        if generator is self.generator:
            scores = self.scores(observation, layer)
            noise = self.draw_noise(scores)
            self.noise[self.simulator.position * len(self.num_blocks) + layer] = noise
            noisy = scores + noise
            if self.settings.sampling == "independent":
                return noisy > 0
            return noisy.topk(self.num_kept[layer], dim=1).indices
        drawn = self.settings.sampling == "independent"
        return super().act(observation, layer, generator if drawn else None)

    def draw_noise(self, scores: Tensor) -> Tensor:
        """Gumbel noise, or of a coin the difference of two: like the scores."""
        noise = gumbel_like(scores, self.generator)
        is_ordered = self.settings.sampling == "ordered"
        return noise if is_ordered else noise - gumbel_like(scores, self.generator)

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`; of k of n nothing is drawn in use."""
        if self.settings.sampling == "independent":
            return self.scores.choosers(deterministic)
        return self.scores.choosers(True, self.num_kept)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """See `ThroughMasks.update`."""
        return super().update(rollout) | {"temperature": self.temperature}

    def terms(self, rollout: Rollout, layer: int) -> tuple[Tensor, Tensor]:
        """See `ThroughMasks.terms`."""
        mask = as_mask(rollout.actions[layer], self.num_blocks[layer], self.simulator.checks)
        scores = self.scores(rollout.observations[layer], layer)
        soft_mask = self.with_slope(mask, scores, layer)
        return soft_mask, self.held(soft_mask, scores, mask, layer)

    def relaxed_mask(self, observation: Tensor, mask: Tensor, step: int) -> Tensor:
        """See `ThroughMasks.relaxed_mask`."""
        return self.with_slope(mask, self.scores(observation, step % len(self.num_blocks)), step)

    def with_slope(self, mask: Tensor, scores: Tensor, step: int) -> Tensor:
        """Soft masks with the slope of the relaxation at the noise of a step, forgotten here."""
        noisy = scores + self.noise.pop(step)
        return straight_through(mask, self.relaxed(noisy, step % len(self.num_blocks)))

    @property
    def temperature(self) -> float:
        """Of the relaxation at this moment of the training."""
        first, last = self.settings.temperature, self.settings.last_temperature
        return float(first * (last / first) ** self.progress)

    def relaxed(self, noisy: Tensor, layer: int) -> Tensor:
        """What has the gradient of noisy scores' masks: [batch, num_blocks], at least 0."""
        if self.settings.sampling == "independent":
            return (noisy / self.temperature).sigmoid()
        return relaxed_top_k(noisy, self.num_kept[layer], self.temperature)

    def held(self, soft_mask: Tensor, scores: Tensor, mask: Tensor, layer: int) -> Tensor:
        """The loss that holds rates or balance, in nats."""
        if self.settings.sampling == "ordered":
            return self.settings.balance_weight * load_balance(scores, mask)
        return self.settings.density_weight * rate_loss(soft_mask, self.targets[layer])


def relaxed_top_k(noisy: Tensor, num_kept: int, temperature: float) -> Tensor:
    """Soft masks of noisy scores: k softmaxes, each less likely to take what is taken.

    Rows sum to k. A block taken twice in part may be above 1, and the first one below the second.
    Towards a temperature of 0 the soft mask becomes that of the k highest.

    >>> relaxed_top_k(torch.tensor([[3.0, 2.0, -9.0]]), 2, temperature=0.05).round().tolist()
    [[1.0, 1.0, 0.0]]
    """
    total = torch.zeros_like(noisy)
    for _ in range(num_kept):
        drawn = (noisy / temperature).softmax(dim=1)
        total = total + drawn
        noisy = noisy + (1 - drawn).clamp(min=1e-6).log()
    return total
