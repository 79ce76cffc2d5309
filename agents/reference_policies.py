"""Policies that look at nothing: the dense network, and blocks dropped at random at one rate."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.base.masks import full_mask, random_mask
from ccenv.base.values import check_within
from ccenv.mdp.choosers import Chooser


class Dense(Agent):
    """Keeps every block: the network that all savings are measured against."""

    learns: ClassVar[bool] = False

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Keeps everything."""
        return full_mask(len(observation), self.num_blocks[layer], observation.device)

    def choosers(self, *, deterministic: bool) -> list[Chooser]:
        """See `Agent.choosers`."""
        return [Chooser(torch.ones(n), "greedy") for n in self.num_blocks]


class BlockDropout(Agent):
    """Keeps every block with one probability, whatever the input (the paper's bdNN).

    The floor: a policy that does not beat it at equal compute cost has learned nothing.
    """

    learns: ClassVar[bool] = False

    def __init__(self, env: Any, *, seed: int = 0, keep_probability: float = 0.5) -> None:
        """Sets the rate.

        Args:
            keep_probability: of every block, in [0, 1].
        """
        super().__init__(env, seed=seed)
        check_within("[0, 1]", keep_probability=keep_probability)
        self.rate = keep_probability

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor:
        """The rate, for every input and block."""
        shape = len(observation), self.num_blocks[layer]
        return torch.full(shape, float(self.rate), device=observation.device)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws each block independently; the most probable mask keeps all blocks or none."""
        shape = (len(observation), self.num_blocks[layer])
        if generator is None:
            return torch.full(shape, self.rate > 0.5, device=observation.device)
        return random_mask(*shape, self.rate, generator).to(observation.device)

    def choosers(self, *, deterministic: bool) -> list[Chooser]:
        """See `Agent.choosers`."""
        rule = "greedy" if deterministic else "sampled"
        score = torch.tensor(float(self.rate)).logit()
        return [Chooser(score.expand(n), rule) for n in self.num_blocks]
