"""Sequences whose state goes on under their own masks: (inputs, masks of all positions) -> logits.

An episode over a sequence walks so position by position; here a network learns from it, with
gradients through what one position leaves to the next.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.values import lacking
from ccenv.networks.core.abilities import Continues, ability, parts_of
from ccenv.networks.core.protocol import through


def continues(network: Any) -> Any:
    """A network whose state goes on from position to position; ValueError of any other."""
    found = ability(network, Continues)
    if found is None or lacking(found, *parts_of(Continues)):
        raise ValueError(
            "expected a network that keeps a state from position to position, such as skip_gru or "
            f"lm, with episode='sequence', got {type(network).__name__}; take episode='input'"
        )
    return found


def sequence_logits(
    network: Any,
    inputs: Tensor,
    masks: Sequence[Tensor],
    length: int,
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Walks whole sequences, each position behind what those before it left.

    Args:
        network: with the ability `Continues`.
        inputs: [sequences * length, ...]; the positions of a sequence are neighbours.
        masks: bool [sequences * length, num_blocks] for each gate.
        length: positions of a sequence.
        backend: see `ccenv.block_sparse_linear`.
        weights: float [sequences * length, num_blocks] for each gate, see `GatedNetwork.step`.

    Returns:
        Logits [sequences * length, num_classes].
    """
    places = inputs.unflatten(0, (-1, length)).unbind(1)
    kept = list(zip(*(mask.unflatten(0, (-1, length)).unbind(1) for mask in masks), strict=True))
    scales: Any = [None] * length
    if weights is not None:
        scales = list(zip(*(w.unflatten(0, (-1, length)).unbind(1) for w in weights), strict=True))
    cache, answers = network.empty_cache(places[0]), []
    for place, seen in enumerate(places):
        own = kept[place]
        hidden = through(
            network, seen, lambda gate, _, own=own: own[gate], backend, scales[place], cache=cache
        )
        answers.append(network.logits(hidden, backend))
        if place + 1 < length:
            cache = network.cache_after(hidden)
    return torch.stack(answers, dim=1).flatten(0, 1)
