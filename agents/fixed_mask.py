"""The best static mask: the same blocks for every image, found on validation images."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.agents.search import search_masks
from ccenv.base.masks import full_mask
from ccenv.base.seeding import stream
from ccenv.mdp.choosers import Chooser
from ccenv.mdp.dynamics import initial


class FixedMask(Agent):
    """Says what pruning gives: whatever beats it gains by looking at the image."""

    learns: ClassVar[bool] = False
    resumes: ClassVar[bool] = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_candidates: int = 64,
        num_sweeps: int = 3,
        num_search_images: int = 2000,
    ) -> None:
        """Sets the effort; the search itself is `learn`.

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            num_candidates: random masks to start from.
            num_sweeps: how often every block is tried the other way.
            num_search_images: validation images at most.
        """
        super().__init__(env, seed=seed)
        self.effort = {"num_candidates": num_candidates, "num_sweeps": num_sweeps}
        self.num_search_images = num_search_images
        self.masks = [full_mask(1, n) for n in self.num_blocks]

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Searches on validation images by the environment's reward, then lets the network learn.

        In co-training the search comes first, on the initial weights: any later and the network
        would have learned under other masks.
        """
        if not self.images_done:
            self.search()
        return super().learn(num_images, on_rollout)

    def search(self) -> None:
        """Finds the masks on validation images."""
        count = min(self.num_search_images, len(self.simulator.on_split("validation", 1).data))
        found = self.simulator.on_split("validation", count)
        with torch.no_grad():
            state = initial(self.simulator.network, *found.data.batch(torch.arange(count)))
        generator = stream(self.seed, "mask search")
        masks = search_masks(found, state, generator, shared=True, **self.effort)
        self.masks = [mask[:1].cpu() for mask in masks]

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Repeats the mask for every image."""
        mask = self.masks[layer].to(observation.device, non_blocking=True)
        return mask.expand(len(observation), -1)

    def choosers(self, *, deterministic: bool) -> list[Chooser]:
        """See `Agent.choosers`."""
        return [Chooser(mask[0].float() - 0.5, "greedy") for mask in self.masks]

    def parameters(self) -> dict[str, Tensor]:
        """The masks."""
        return {f"mask_{layer}": mask.clone() for layer, mask in enumerate(self.masks)}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """The masks that `parameters` gave."""
        self.masks = [tensors[f"mask_{layer}"].clone() for layer in range(len(self.num_blocks))]
