"""What an input ends with: (network, state of the episode) -> its last symbols as numbers.

    observation="symbols"

A look for policies that look symbols up themselves, in embeddings (`embedding_size`) or in a table
(agent `hash`): a look-up costs no product. Of bytes and other whole numbers; pixels count as bytes.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.mdp.dynamics import EpisodeState

LAST_SYMBOLS = "symbols"
"""The setting `observation` that shows them."""
NUM_SEEN = 4
"""Symbols that are shown of networks without `look_tokens`."""
NUM_BYTES = 256


def last_symbols(network: Any, state: EpisodeState) -> Tensor:
    """The last `look_tokens` symbols of each input, the same at every gate.

    Args:
        network: one of symbols has `look_tokens`, how many are shown, and `num_symbols`.
        state: where the inputs are.

    Returns:
        Whole numbers as float32 [batch, look_tokens], the last symbol in the last column; of an
        image its last pixels in 0..255.
    """
    shown = state.images.flatten(1)[:, -getattr(network, "look_tokens", NUM_SEEN) :]
    if shown.is_floating_point():
        shown = (shown * (NUM_BYTES - 1)).round().clamp(0, NUM_BYTES - 1)
    return state.by_row(shown.to(torch.float32))


def num_symbols_of(network: Any) -> int:
    """How many different numbers `last_symbols` shows of a network's inputs."""
    return int(getattr(network, "num_symbols", NUM_BYTES))


def num_seen(observe: Any) -> int:
    """How many symbols an observer shows, as the last of its informative columns.

    Raises:
        ValueError: if it does not show symbols.
    """
    if observe.kind != LAST_SYMBOLS:
        raise ValueError(
            f"expected observation={LAST_SYMBOLS!r} for a policy that looks symbols up, got "
            f"{observe.kind!r}"
        )
    # Numbers of a context stand before them.
    base = getattr(observe, "base", observe)
    return int(base.lengths[0])
