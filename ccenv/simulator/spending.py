"""Keeping a budget: (a mask that was chosen, what is left) -> the blocks that can be paid."""

import torch
from torch import Tensor

from ccenv.mdp.dynamics import EpisodeState
from ccenv.networks.core.protocol import GatedNetwork


def affordable(network: GatedNetwork, state: EpisodeState, mask: Tensor, budget: Tensor) -> Tensor:
    """Skips the blocks that a budget cannot pay: those of the highest numbers first.

    Args:
        network: that is computed.
        state: of the episodes, before the layer.
        mask: bool [batch, num_blocks[state.layer]]; what was chosen.
        budget: float32 [batch]; compute cost of the whole episode.

    Returns:
        What is executed, bool [batch, num_blocks[state.layer]].
    """
    gate, hidden = state.layer, state.hidden
    # Whole MACs, so that no rounding lets a block slip through.
    limit = (budget.double() * network.dense_macs).floor().long()
    left = limit - state.macs - least_macs(network, gate + 1)
    if bool((network.macs(gate, hidden, mask) <= left).all()):
        return mask
    kept = torch.zeros_like(mask)
    for block in range(mask.shape[1]):
        more = kept.clone()
        more[:, block] = mask[:, block]
        is_paid = network.macs(gate, hidden, more) <= left
        kept = torch.where(is_paid[:, None], more, kept)
    return kept


def least_macs(network: GatedNetwork, gate: int) -> int:
    """What gates from this one on cost at least, whatever is kept.

    Raises:
        ValueError: if the network cannot say so.
    """
    if gate == len(network.gates):
        return 0
    if not hasattr(network, "least_macs"):
        raise ValueError(
            f"expected a network with least_macs(gate) beside a budget, got "
            f"{type(network).__name__}; define it, or take a context of cost_weight"
        )
    return int(network.least_macs(gate))
