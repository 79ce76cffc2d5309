"""Sequences whose state goes on under their own masks: (inputs, masks of all positions) -> logits.

An episode over a sequence walks so position by position; here a network learns from it, with
gradients through what one position leaves to the next.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.masks import as_mask, gate_values_of
from ccenv.networks.core.abilities import Continues, PlaysWindows, ability
from ccenv.networks.core.precision import in_own_dtype
from ccenv.networks.core.protocol import GatedNetwork, Rule, through


def continues(network: GatedNetwork) -> Continues:
    """A network whose state goes on from position to position; ValueError of any other."""
    continuing = ability(network, Continues)
    if continuing is None:
        raise ValueError(
            "expected a network that keeps a state from position to position, such as skip_gru or "
            f"lm, with episode='sequence', got {type(network).__name__}, which does not name the "
            "ability Continues; take episode='input'"
        )
    return continuing


def along(
    network: Any, places: Iterable[tuple[Any, ...]], run: Callable[..., Any]
) -> Iterator[Any]:
    """Plays sequences position by position, each behind what those before it left.

    Args:
        network: with the ability `Continues`.
        places: of each position its inputs, [sequences, ...], and what else `run` takes.
        run: (state before a position, its inputs, ...) -> its hidden state after the last gate.

    Yields:
        The hidden state of each position, after its last gate.
    """
    hidden = None
    for inputs, *others in places:
        state = network.empty_state(inputs) if hidden is None else network.advance(hidden)
        hidden = run(state, inputs, *others)
        yield hidden


def by_rule(network: Any, rule: Rule | None) -> Callable[[Any, Tensor], Any]:
    """Plays a position under a rule, with everything kept under none; see `along`."""

    def run(state: Any, inputs: Tensor) -> Any:
        hidden = network.read(inputs, state)
        for index, gate in enumerate(network.gates):
            mask, weights = None, None
            if rule is not None:
                with torch.no_grad():
                    action = in_own_dtype(rule, index, hidden, inputs)
                mask, weights = as_mask(action, gate.num_blocks), gate_values_of(action)
            hidden = network.step(index, hidden, mask, weights)
        return hidden

    return run


def played(network: Any, inputs: Tensor, rule: Rule | None) -> Any:
    """The state before the last positions of windows, None of inputs that are none."""
    windows = ability(network, PlaysWindows)
    return None if windows is None else windows.played(inputs, rule)


def sequence_logits(
    network: Any,
    inputs: Tensor,
    masks: Sequence[Tensor],
    length: int,
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Answers at every position of whole sequences, see `along`.

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

    def run(state: Any, seen: Tensor, place: int) -> Any:
        rows = slice(place, None, length)
        scale = None if weights is None else [values[rows] for values in weights]
        return through(
            network, seen, lambda gate, _: masks[gate][rows], backend, scale, state=state
        )

    places = zip(inputs.unflatten(0, (-1, length)).unbind(1), range(length), strict=True)
    logits = [network.logits(hidden, backend) for hidden in along(network, places, run)]
    return torch.stack(logits, dim=1).flatten(0, 1)
