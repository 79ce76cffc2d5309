"""How sure an exit is, as an observation: (network, state) -> float32 [batch, size]."""

from typing import Any

import torch
from torch import Tensor

from ccenv.mdp.dynamics import EpisodeState, look


def certainty(network: Any, state: EpisodeState) -> Tensor:
    """How sure the next exit is, before an exit; the network's own look before any other gate.

    Two numbers: the log-probability of the likeliest class and the entropy in nats, 0 of rows that
    have stopped. An affine policy on them is a threshold on confidence.

    Args:
        network: a `GatedSequential`.
        state: before a gate.

    Returns:
        float32 [batch, 2], or as `GatedNetwork.look`.
    """
    if network.gates[state.layer].skipped != "stop":
        return look(network, state)
    logits, _ = network.early_answer(state.layer, state.hidden)
    log_p = logits.float().log_softmax(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    found = state.hidden.of_all(torch.stack([log_p.amax(dim=1), entropy], dim=1))
    return found if len(found) == len(state.labels) else state.by_row(found)
