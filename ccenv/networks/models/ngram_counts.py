"""Counted text: (windows and what follows them) -> shares of successors after each context.

Witten and Bell 1991, "The zero-frequency problem" (method C), interpolated as in Chen and Goodman
1998, "An empirical study of smoothing techniques for language modeling", section 2.5: after a
context seen N times with T different successors, a successor seen c times has c / (N + e T), and
the rest goes to the context that is one symbol shorter; e is 1 there. Which pairs are stored:
Seymore and Rosenfeld 1996, "Scalable backoff language models": those whose loss would cost the text
most, c times the difference of the logarithms with and without them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ccenv.data.split import Split

KEY_BITS = 63
"""Of a context and its successor, which are one whole number."""
READ_AT_ONCE = 2**18
"""Windows."""


@dataclass(frozen=True)
class Pairs:
    """Contexts of one length with a successor each, sorted by the context, then the successor."""

    keys: np.ndarray
    """int64 [pairs]; bits of the context's symbols, earliest first, and of the successor."""
    shares: np.ndarray
    """float64 [pairs]; c / (N + e T)."""
    chances: np.ndarray
    """float64 [pairs]; probability of the successor with all shorter contexts."""
    worth: np.ndarray
    """float64 [pairs]; nats that the text would cost more without it."""

    def at(self, places: np.ndarray) -> "Pairs":
        """Some of them."""
        return Pairs(*(column[places] for column in vars(self).values()))


def keys_of(split: Split, length: int, bits: int, positions: int | None) -> np.ndarray:
    """Last symbols of windows and what follows, as whole numbers: int64 [positions].

    Args:
        split: windows int64 [n, tokens] and their successors.
        length: symbols of the context.
        bits: of a symbol.
        positions: how many windows, evenly spaced; None or more than there are: all.
    """
    count = len(split) if positions is None else min(positions, len(split))
    keys = np.empty(count, np.int64)
    for part in torch.arange(count).split(READ_AT_ONCE):
        windows, following = split.batch(part * len(split) // count)
        found = following.cpu() | context_keys(windows.cpu(), length, bits) << bits
        keys[int(part[0]) : int(part[-1]) + 1] = found.numpy()
    return keys


def context_keys(windows: torch.Tensor, length: int, bits: int) -> torch.Tensor:
    """The last symbols as whole numbers, the last one in the lowest bits: int64 [rows].

    >>> context_keys(torch.tensor([[9, 1, 2]]), length=2, bits=4)
    tensor([18])
    """
    last = windows[:, -length:]
    shifts = bits * torch.arange(length - 1, -1, -1, device=windows.device)
    return (last << shifts).sum(dim=1)


def counted(
    keys: np.ndarray, bits: int, length: int, shorter: Pairs | None, escape: float = 1.0
) -> Pairs:
    """Counts pairs of one length.

    Args:
        keys: from `keys_of`, of this length or a longer one.
        bits: of a symbol.
        length: symbols of the context.
        shorter: pairs of the length before, all of them; None of single symbols.
        escape: e above.
    """
    found, counts = np.unique(keys & low_bits(bits * (length + 1)), return_counts=True)
    context = found >> bits
    group = np.concatenate([[0], (context[1:] != context[:-1]).cumsum()])
    seen, kinds = np.bincount(group, weights=counts), escape * np.bincount(group)
    shares, rest = counts / (seen + kinds)[group], (kinds / (seen + kinds))[group]
    if shorter is None:
        # Before single symbols stands nothing: all are alike, and none is impossible.
        lower = np.full(len(found), 1 / 2**bits)
    else:
        places = np.searchsorted(shorter.keys, found & low_bits(bits * length))
        lower = shorter.chances[places]
    chances = shares + rest * lower
    return Pairs(found, shares, chances, counts * np.log(chances / lower))


def low_bits(count: int) -> int:
    """A whole number whose lowest bits are set.

    >>> low_bits(3)
    7
    """
    return (1 << count) - 1


def best_pairs(
    keys: np.ndarray, bits: int, order: int, most: int, escape: float = 1.0
) -> list[Pairs]:
    """The pairs that a text needs most, of every length from 1 to `order`.

    Args:
        keys: from `keys_of` of the longest length.
        bits: of a symbol.
        order: longest context.
        most: pairs of all lengths together.
        escape: see `counted`.
    """
    levels = list(candidates(keys, bits, order, most, escape))
    worth = np.concatenate([pairs.worth for pairs in levels])
    chosen = np.zeros(len(worth), bool)
    chosen[np.argsort(-worth, kind="stable")[:most]] = True
    ends = np.cumsum([len(pairs.keys) for pairs in levels])[:-1]
    return [
        pairs.at(np.flatnonzero(own))
        for pairs, own in zip(levels, np.split(chosen, ends), strict=True)
    ]


def candidates(
    keys: np.ndarray, bits: int, order: int, most: int, escape: float
) -> Iterator[Pairs]:
    """Of each length the best pairs, no more than all lengths together may have."""
    # Chances of single symbols are needed below; what is stored begins with one symbol before.
    pairs = counted(keys, bits, 0, None, escape)
    for length in range(1, order + 1):
        pairs = counted(keys, bits, length, pairs, escape)
        best = np.argsort(-pairs.worth, kind="stable")[:most]
        yield pairs.at(np.sort(best))
