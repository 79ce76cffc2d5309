"""Search over masks with the reward in hand: (images, labels, network) -> the best masks found."""

import torch
from torch import Tensor

from ccenv.blocks import full_mask, random_mask
from ccenv.dynamics import EpisodeState, transition
from ccenv.simulator import Simulator


def episode_return(simulator: Simulator, state: EpisodeState, masks: list[Tensor]) -> Tensor:
    """Undiscounted return of each image under given masks of all layers: [batch]."""
    total = torch.zeros(len(state.labels), device=state.labels.device)
    for mask in masks:
        state, outcome = transition(simulator.network, state, mask)
        total = total + torch.stack(list(simulator.reward(outcome).values())).sum(dim=0)
    return total


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
        shared: one mask for all images, judged by their mean return, or one for each image.
        num_candidates: random masks to start from, beside the dense network's.
        num_sweeps: how often every block is tried the other way.

    Returns:
        A list of bool [batch, num_blocks], one for each layer.
    """
    batch, device = len(state.labels), state.labels.device

    def score(masks: list[Tensor]) -> Tensor:
        found = episode_return(simulator, state, masks)
        return found.mean().expand(batch) if shared else found

    def keep_better(masks: list[Tensor]) -> None:
        nonlocal best, best_score
        found = score(masks)
        better = found > best_score
        best = [
            torch.where(better[:, None], new, old) for new, old in zip(masks, best, strict=True)
        ]
        best_score = torch.where(better, found, best_score)

    best = [full_mask(batch, n, device) for n in simulator.num_blocks]
    best_score = score(best)
    rows = 1 if shared else batch
    for candidate in range(num_candidates):
        density = (candidate + 0.5) / num_candidates
        drawn = [random_mask(rows, n, density, generator) for n in simulator.num_blocks]
        keep_better([mask.to(device).expand(batch, -1) for mask in drawn])
    for _ in range(num_sweeps):
        for layer, num_blocks in enumerate(simulator.num_blocks):
            for block in range(num_blocks):
                flipped = [mask.clone() for mask in best]
                flipped[layer][:, block] ^= True
                keep_better(flipped)
    return best
