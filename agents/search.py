"""Search over masks with the reward in hand: (images, labels, network) -> the best masks found."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ccenv.base.masks import full_mask, random_mask
from ccenv.mdp.dynamics import EpisodeState, outcomes
from ccenv.simulator.simulator import Simulator


def under(
    simulator: Simulator, state: EpisodeState, masks: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Undiscounted return and compute cost of each image under masks of all layers: two [batch]."""
    total = torch.zeros(len(state.labels), device=state.labels.device)
    for outcome in outcomes(simulator.network, state, lambda now: masks[now.layer]):
        total = total + torch.stack(list(simulator.reward(outcome).values())).sum(dim=0)
    return total, outcome.compute_cost


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
        num_candidates: random masks to start from, and the dense network's.
        num_sweeps: how often every block is tried the other way.

    Returns:
        A list of bool [batch, num_blocks], one for each layer.
    """
    batch, device = len(state.labels), state.labels.device

    def score(masks: list[Tensor]) -> Tensor:
        found, _ = under(simulator, state, masks)
        return found.mean().expand(batch) if shared else found

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
    best: list[Tensor], best_score: Tensor, masks: list[Tensor], found: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Takes the new masks of the images whose score they raise."""
    better = found > best_score
    chosen = [torch.where(better[:, None], new, old) for new, old in zip(masks, best, strict=True)]
    return chosen, torch.where(better, found, best_score)
