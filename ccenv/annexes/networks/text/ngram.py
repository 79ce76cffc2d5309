"""Counts of a text as a network: (window of symbols) -> log-probabilities of what comes next.

Nothing is trained, next to nothing is multiplied, and all of it is memory. Contexts of every length
are interpolated: Witten and Bell 1991, "The zero-frequency problem" (method C), as in Chen and
Goodman 1998, "An empirical study of smoothing techniques for language modeling", section 2.5: after
a context seen N times with T different successors, a successor seen c times has c / (N + e T), and
the rest goes to the context that is one symbol shorter; e is 1 there. Which pairs are stored:
Seymore and Rosenfeld 1996, "Scalable backoff language models": those whose loss would cost the text
most, c times the difference of the logarithms with and without them.

Positions of sequences are windows that begin with missing symbols (the number behind the last
symbol): no context contains one, so that the first symbols of a sequence have shorter contexts.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.annexes.networks.text.tokens import (
    check_order,
    check_windows,
    is_in_order,
    window_length,
)
from ccenv.base.values import positive_ints
from ccenv.data.split import Split
from ccenv.networks.core.abilities import Beforehand, Bounds
from ccenv.networks.core.protocol import (
    Abilities,
    Gate,
    GatedNetwork,
    group_of,
    repeat_rows,
    rows_each,
)
from ccenv.networks.core.stage import put_rows

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


@dataclass(frozen=True)
class Contexts:
    """The last symbols of windows, before what follows them or without it."""

    keys: Any
    """int64 [rows], an array or a tensor; bits of the symbols, the last one in the lowest."""
    lengths: Any
    """int64 [rows]; how many of the symbols are not missing. The others are zeros in the keys."""


def contexts_of(windows: Tensor, length: int, bits: int, missing: int) -> Contexts:
    """The last `length` symbols of windows: int64 [rows, symbols] -> [rows].

    Raises:
        IndexError: if a number is above `missing`.
        ValueError: if `missing` is behind a symbol.
    """
    last = windows[:, -length:]
    if len(last) and int(last.max()) > missing:
        raise IndexError(f"it counts symbols in 0..{missing - 1}")
    is_symbol = last != missing
    check_order(bool(is_in_order(is_symbol)), missing)
    shifts = bits * torch.arange(length - 1, -1, -1, device=windows.device)
    keys = (last.masked_fill(~is_symbol, 0) << shifts).sum(dim=1)
    return Contexts(keys, is_symbol.sum(dim=1))


def counted_positions(split: Split, length: int, bits: int, positions: int | None) -> Contexts:
    """The last `length` symbols of windows and what follows, as arrays.

    So many windows, evenly spaced; None or more than there are: all. Of sequences as many whole
    ones as have no more positions, which are drawn together in training, too.

    Raises:
        ValueError: if a sequence has more positions.
    """
    together = split.together
    count = (len(split) if positions is None else min(positions, len(split))) // together
    if not count:
        raise ValueError(
            f"expected positions of at least {together}, the length of a sequence, got {positions}"
        )
    contexts = Contexts(np.empty(count * together, np.int64), np.empty(count * together, np.int64))
    for part in torch.arange(count * together).split(READ_AT_ONCE):
        first = part // together * (len(split) // together) // count
        windows, following = split.batch(first * together + part % together)
        read = contexts_of(windows.cpu(), length, bits, split.num_classes)
        rows = slice(int(part[0]), int(part[-1]) + 1)
        contexts.keys[rows] = (following.cpu() | read.keys << bits).numpy()
        contexts.lengths[rows] = read.lengths.numpy()
    return contexts


def pairs_of_length(
    length: int, keys: np.ndarray, bits: int, shorter: Pairs | None, escape: float = 1.0
) -> Pairs:
    """Counts pairs of one length of the context, with all pairs of the length before.

    Keys, from `counted_positions`, are those that have a context of this length or a longer one.
    """
    followed, counts = np.unique(keys & low_bits(bits * (length + 1)), return_counts=True)
    context = followed >> bits
    group = np.concatenate([[0], (context[1:] != context[:-1]).cumsum()])
    seen, kinds = np.bincount(group, weights=counts), escape * np.bincount(group)
    shares, rest = counts / (seen + kinds)[group], (kinds / (seen + kinds))[group]
    if shorter is None:
        # Before single symbols stands nothing: all are alike, and none is impossible.
        lower = np.full(len(followed), 1 / 2**bits)
    else:
        places = np.searchsorted(shorter.keys, followed & low_bits(bits * length))
        lower = shorter.chances[places]
    chances = shares + rest * lower
    return Pairs(followed, shares, chances, counts * np.log(chances / lower))


def low_bits(count: int) -> int:
    """A whole number whose lowest bits are set: 3 -> 7."""
    return (1 << count) - 1


def best_pairs(
    positions: Contexts, bits: int, order: int, most: int, escape: float = 1.0
) -> list[Pairs]:
    """The `most` pairs that a text needs most, of every length from 1 to `order` together."""
    # Chances of single symbols are needed below; what is stored begins with one symbol before.
    pairs, levels = pairs_of_length(0, positions.keys, bits, None, escape), []
    for length in range(1, order + 1):
        keys = positions.keys[positions.lengths >= length]
        pairs = pairs_of_length(length, keys, bits, pairs, escape)
        # Of each length no more than all lengths together may have.
        levels.append(pairs.at(np.sort(np.argsort(-pairs.worth, kind="stable")[:most])))
    worth = np.concatenate([pairs.worth for pairs in levels])
    is_best = np.zeros(len(worth), bool)
    is_best[np.argsort(-worth, kind="stable")[:most]] = True
    ends = np.cumsum([len(pairs.keys) for pairs in levels])[:-1]
    return [
        pairs.at(np.flatnonzero(is_best_here))
        for pairs, is_best_here in zip(levels, np.split(is_best, ends), strict=True)
    ]


TABLES = ("contexts", "starts", "symbols", "shares")
"""Of each length: contexts in order, where their pairs begin, and the pairs."""


@dataclass(frozen=True)
class Mixture:
    """Windows on their way from the longest context to the shortest."""

    keys: Tensor
    """int64 [rows]; the last symbols."""
    lengths: Tensor
    """int64 [rows]; how many of them are not missing."""
    chances: Tensor
    """float [rows, num_classes]; probabilities by the contexts so far."""
    left: Tensor
    """float [rows, 1]; what they leave to shorter ones."""


class Ngram(GatedNetwork):
    """Predicts the next symbol of a text from n-gram counts.

    A gate is a length of the context, the longest first; its one block looks it up. What is skipped
    leaves everything to shorter contexts; without any, symbols are as frequent as in the text.
    """

    abilities: Abilities = (Beforehand, Bounds)
    often: Tensor
    """float32 [num_classes]; how frequent single symbols are."""

    def __init__(
        self,
        input_shape: tuple[int, ...] = (24,),
        num_classes: int = 128,
        order: int = 6,
        max_pairs: int = 400_000,
        positions: int | None = None,
        escape: float = 1.0,
    ) -> None:
        """Builds empty tables.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too; one more is a missing one.
            order: longest context, in symbols.
            max_pairs: of a context and a successor, stored of all lengths together.
            positions: how many places of the training text are counted, evenly spaced; None: all.
                Of sequences whole ones are counted.
            escape: how much a context leaves to shorter ones; 1 is Witten and Bell's, and with
                fewer pairs than the text has more is better: to be chosen on validation text.
        """
        super().__init__()
        num_tokens = window_length(input_shape, "ngram")
        numbers = [num_tokens, num_classes, order, max_pairs, 1 if positions is None else positions]
        positive_ints(numbers, "num_tokens, num_classes, order, max_pairs and positions")
        if not 0 < escape < math.inf:
            raise ValueError(f"expected escape to be a finite number above 0, got {escape}")
        self.bits = max(1, (num_classes - 1).bit_length())
        longest = min(num_tokens, KEY_BITS // self.bits - 1)
        if order > longest:
            raise ValueError(
                f"expected an order of at most {longest} for windows of {num_tokens} symbols of "
                f"{num_classes} kinds, got {order}"
            )
        self.num_tokens, self.num_classes, self.order = num_tokens, num_classes, order
        self.symbols_read = num_classes + 1
        self.max_pairs, self.positions, self.escape = max_pairs, positions, escape
        self.open_lengths = tuple(f"{name}_{n}" for name in TABLES for n in range(1, order + 1))
        for length in range(1, order + 1):
            self.fill(length, np.empty(0, np.int64), np.empty(0))
        self.register_buffer("often", torch.full((num_classes,), 1 / num_classes))
        self.gates = tuple(Gate(f"order{length}", 1, 2) for length in range(order, 0, -1))
        self.dense_macs = (order + 1) * num_classes

    def fill(self, length: int, keys: np.ndarray, shares: np.ndarray) -> None:
        """Makes the tables of one length from sorted pairs; see `Pairs`."""
        context, starts = np.unique(keys >> self.bits, return_index=True)
        short = self.bits * length < 31
        kinds = (np.int32 if short else np.int64, np.int32, np.int16, np.float32)
        columns = (context, [*starts, len(keys)], keys & low_bits(self.bits), shares)
        for name, column, kind in zip(TABLES, columns, kinds, strict=True):
            self.register_buffer(f"{name}_{length}", torch.from_numpy(np.asarray(column, kind)))

    def tables(self, length: int) -> list[Tensor]:
        """Contexts, starts, symbols and shares of one length."""
        return [self.get_buffer(f"{name}_{length}") for name in TABLES]

    def learn_beforehand(self, split: Split) -> None:
        """Counts the windows of a split."""
        positions = counted_positions(split, self.order, self.bits, self.positions)
        following = positions.keys & low_bits(self.bits)
        counts = np.bincount(following, minlength=self.num_classes) + 1
        self.often.copy_(torch.from_numpy(counts / counts.sum()))
        best = best_pairs(positions, self.bits, self.order, self.max_pairs, self.escape)
        for length, pairs in enumerate(best, start=1):
            self.fill(length, pairs.keys, pairs.shares)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name in self.open_lengths:
            stored, buffer = state_dict.get(prefix + name), self.get_buffer(name)
            if isinstance(stored, Tensor) and stored.shape != buffer.shape:
                setattr(self, name, buffer.new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def start(self, inputs: Tensor) -> Mixture:
        """Reads the last symbols: int64 [rows, num_tokens]."""
        check_windows(inputs, self.num_tokens)
        last = contexts_of(inputs, self.order, self.bits, self.num_classes)
        left = self.often.new_ones(len(inputs), 1)
        shares = left.new_zeros(len(inputs), self.num_classes)
        return Mixture(last.keys, last.lengths, shares, left)

    def step(
        self,
        gate: int,
        hidden: Mixture,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Mixture:
        """See `GatedNetwork.step`; only rows that keep a length are looked up."""
        hidden = repeat_rows(hidden, group_of(hidden.keys.shape[0], mask, weights))
        keeps = hidden.keys.new_ones(len(hidden.keys), 1) if mask is None else mask
        rows = keeps[:, 0].nonzero()[:, 0]
        keys, lengths, chances, left = (v.index_select(0, rows) for v in vars(hidden).values())
        shares = self.looked_up(self.order - gate, keys, lengths)
        if weights is not None:
            shares = shares * weights.index_select(0, rows).to(shares.dtype)
        chances = with_shares(chances, left, shares)
        left = left * (1 - shares.sum(dim=1, keepdim=True))
        return replace(
            hidden,
            chances=put_rows(hidden.chances, rows, chances),
            left=put_rows(hidden.left, rows, left),
        )

    def looked_up(self, length: int, keys: Tensor, lengths: Tensor) -> Tensor:
        """Shares of all symbols after contexts of one length: int64 [rows] -> [rows, classes].

        Nothing is known after a context that has missing symbols.
        """
        contexts, starts, symbols, shares = self.tables(length)
        chances = shares.new_zeros(len(keys), self.num_classes)
        if not len(contexts):
            return chances
        wanted = (keys & low_bits(self.bits * length)).to(contexts.dtype)
        place = torch.searchsorted(contexts, wanted).clamp_(max=len(contexts) - 1)
        begin, end = starts[place].long(), starts[place + 1].long()
        is_known = (contexts[place] == wanted) & (lengths >= length)
        many = torch.where(is_known, end - begin, 0)
        rows = torch.arange(len(keys), device=keys.device).repeat_interleave(many)
        within = torch.arange(len(rows), device=keys.device) - (many.cumsum(0) - many)[rows]
        pairs = begin[rows] + within
        return chances.index_put((rows, symbols[pairs].long()), shares[pairs])

    def logits(self, hidden: Mixture, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`: logarithms of probabilities."""
        return with_shares(hidden.chances, hidden.left, self.often.expand_as(hidden.chances)).log()

    def look(self, gate: int, hidden: Mixture) -> Tensor:
        """What longer contexts leave, and their largest probability: float [rows, 2]."""
        return torch.cat([hidden.left, hidden.chances.amax(dim=1, keepdim=True)], dim=1)

    def macs(self, gate: int, hidden: Mixture, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`: one product a symbol and length, and one for single symbols."""
        rows_each(len(hidden.keys), len(mask))
        last = gate == len(self.gates) - 1
        return mask[:, 0].long() * self.num_classes + (self.num_classes if last else 0)

    def least_macs(self, gate: int) -> int:
        """See `GatedNetwork`: single symbols."""
        return self.num_classes


def with_shares(chances: Tensor, left: Tensor, shares: Tensor) -> Tensor:
    """What is found and the shares of what is left: [rows, classes], [rows, 1], [rows, classes]."""
    # As a product, so that whoever counts products finds these.
    return torch.baddbmm(chances.unsqueeze(1), left.unsqueeze(1), shares.unsqueeze(1)).squeeze(1)


ngram = Ngram
