"""The ceiling: masks found for each image by search on its true label; no policy can know them."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.agents.search import search_masks
from ccenv.base.seeding import stream
from ccenv.simulator.simulator import Simulator


class Oracle(Agent):
    """Uses the label: an upper bound for policies that see only the image.

    The search is greedy and may miss the best mask, so the true bound is higher.
    """

    learns: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = True

    def __init__(
        self, env: Any, *, seed: int = 0, num_candidates: int = 32, num_sweeps: int = 2
    ) -> None:
        """Sets the effort of the search.

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            num_candidates: random masks to start from.
            num_sweeps: how often every block is tried the other way.
        """
        super().__init__(env, seed=seed)
        self.effort = {"num_candidates": num_candidates, "num_sweeps": num_sweeps}
        self.masks: list[Tensor] = []

    def begin_episode(self, simulator: Simulator) -> None:
        """Searches masks for the images that start now."""
        assert simulator.state is not None
        generator = stream(self.seed, "mask search")
        self.masks = search_masks(
            simulator, simulator.state, generator, shared=False, **self.effort
        )

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """The masks found when the episode began."""
        return self.masks[layer]
