"""Sequences whose state goes on under their own masks: (inputs, masks of all positions) -> logits.

An episode over a sequence walks so position by position; here a network learns from it, with
gradients through what one position leaves to the next.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
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


def positions_of(
    network: Any,
    inputs: Tensor,
    length: int,
    choose: Callable[[int, int, Any], Tensor | None],
    backend: str = "auto",
    weights: Callable[[int], Sequence[Tensor] | None] = lambda place: None,
) -> Iterator[Any]:
    """Walks whole sequences, each position behind what those before it left.

    Args:
        network: with the ability `Continues`.
        inputs: [sequences * length, ...]; the positions of a sequence are neighbours.
        length: positions of a sequence.
        choose: (place, gate, hidden) -> bool [sequences, num_blocks], or None: everything.
        backend: see `ccenv.block_sparse_linear`.
        weights: place -> float [sequences, num_blocks] for each gate, see `GatedNetwork.step`.

    Yields:
        The hidden state of each position, after its last gate.
    """
    places = inputs.unflatten(0, (-1, length)).unbind(1)
    cache = network.empty_cache(places[0])
    for place, seen in enumerate(places):
        own = functools.partial(choose, place)
        hidden = through(network, seen, own, backend, weights(place), cache=cache)
        yield hidden
        if place + 1 < length:
            cache = network.cache_after(hidden)


def sequence_logits(
    network: Any,
    inputs: Tensor,
    masks: Sequence[Tensor],
    length: int,
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Answers at every position of whole sequences, see `positions_of`.

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

    def scale(place: int) -> Sequence[Tensor] | None:
        return None if weights is None else [values[place::length] for values in weights]

    walked = positions_of(
        network, inputs, length, lambda place, gate, _: masks[gate][place::length], backend, scale
    )
    logits = [network.logits(hidden, backend) for hidden in walked]
    return torch.stack(logits, dim=1).flatten(0, 1)
