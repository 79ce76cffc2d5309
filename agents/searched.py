"""Agents whose masks are searched with the reward in hand: one for all inputs, or one for each."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.base.masks import full_mask, random_mask
from ccenv.base.seeding import stream
from ccenv.mdp.choosers import Chooser
from ccenv.mdp.dynamics import EpisodeState, initial, outcomes
from ccenv.simulator.simulator import Simulator

NUM_SEARCHED = 2000
"""Validation inputs at most."""


class FixedMask(Agent):
    """Says what pruning gives: whatever beats it gains by looking at the input."""

    learns: ClassVar[bool] = False
    resumes: ClassVar[bool] = True

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        """Keeps everything; the search itself is `learn`."""
        super().__init__(env, seed=seed)
        self.masks = [full_mask(1, n) for n in self.num_blocks]

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Searches on validation inputs by the environment's reward, then lets the network learn.

        In co-training the search comes first, on the initial weights: any later and the network
        would have learned under other masks.
        """
        if not self.images_done:
            self.search()
        return super().learn(num_images, on_rollout)

    def search(self) -> None:
        """Finds the masks on validation inputs."""
        count = min(NUM_SEARCHED, len(self.simulator.on_split("validation", 1).data))
        on_validation = self.simulator.on_split("validation", count)
        with torch.no_grad():
            state = initial(self.simulator.network, *on_validation.data.batch(torch.arange(count)))
        generator = stream(self.seed, "mask search")
        masks = search_masks(
            on_validation, state, generator, shared=True, num_candidates=64, num_sweeps=3
        )
        self.masks = [mask[:1].cpu() for mask in masks]

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Repeats the mask for every input."""
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


class Oracle(Agent):
    """Uses the label: an upper bound for policies that see only the input.

    The search is greedy and may miss the best mask, so the true bound is higher.
    """

    learns: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = True

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        """See `Agent`."""
        super().__init__(env, seed=seed)
        self.policy_macs = [0] * len(self.num_blocks)
        self.masks: list[Tensor] = []

    def begin_episode(self, simulator: Simulator) -> None:
        """Searches masks for the inputs that start now."""
        assert simulator.state is not None
        generator = stream(self.seed, "mask search")
        self.masks = search_masks(
            simulator, simulator.state, generator, shared=False, num_candidates=32, num_sweeps=2
        )

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """The masks found when the episode began."""
        return self.masks[layer]


@torch.no_grad()
def search_masks(
    simulator: Simulator,
    state: EpisodeState,
    generator: torch.Generator,
    *,
    shared: bool,
    num_candidates: int,
    num_sweeps: int,
) -> list[Tensor]:
    """Tries random masks of all densities, then flips one block after the other where that helps.

    Args:
        simulator: gives network and reward.
        state: at the start of the episodes.
        generator: of the candidates.
        shared: one mask for all inputs, by their mean return, or one for each input.
        num_candidates: random masks to start from, and the dense network's.
        num_sweeps: how often every block is tried the other way.

    Returns:
        bool [batch, num_blocks] for each layer.
    """
    batch, device = len(state.labels), state.labels.device

    def score(masks: list[Tensor]) -> Tensor:
        scores, _ = under(simulator, state, masks)
        return scores.mean().expand(batch) if shared else scores

    best = [full_mask(batch, n, device) for n in simulator.num_blocks]
    best_score = score(best)
    rows = 1 if shared else batch
    for candidate in range(num_candidates):
        density = (candidate + 0.5) / num_candidates
        drawn = [random_mask(rows, n, density, generator) for n in simulator.num_blocks]
        masks = [mask.to(device, non_blocking=True).expand(batch, -1) for mask in drawn]
        best, best_score = keep_better(best, best_score, masks, score(masks))
    every_block = [(i, j) for i, n in enumerate(simulator.num_blocks) for j in range(n)]
    for layer, block in every_block * num_sweeps:
        masks = [mask.clone() for mask in best]
        masks[layer][:, block] ^= True
        best, best_score = keep_better(best, best_score, masks, score(masks))
    return best


def keep_better(
    best: list[Tensor], best_score: Tensor, masks: list[Tensor], score: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Takes the new masks of the inputs whose score they raise."""
    better = score > best_score
    chosen = [torch.where(better[:, None], new, old) for new, old in zip(masks, best, strict=True)]
    return chosen, torch.where(better, score, best_score)


def under(
    simulator: Simulator, state: EpisodeState, masks: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Undiscounted return and compute cost of each input under masks of all layers: two [batch]."""
    total = torch.zeros(len(state.labels), device=state.labels.device)
    for outcome in outcomes(simulator.network, state, lambda now: masks[now.layer]):
        total = total + torch.stack(list(simulator.reward(outcome).values())).sum(dim=0)
    return total, outcome.compute_cost
