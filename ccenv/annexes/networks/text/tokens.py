"""What networks of texts read: windows of symbols, their sequences, features without a product.

Embeddings side by side, or rows of hashed n-grams, which like n-gram counts are memory before all
else. Hashing: Weinberger et al. 2009, "Feature hashing for large scale
multitask learning" (arXiv 0902.2206); n-grams as a sum of rows: Joulin et al. 2017, "Bag of tricks
for efficient text classification" (arXiv 1607.01759).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad, relu

from ccenv.base.checks import AT_ONCE
from ccenv.base.machine import check_fits
from ccenv.base.registry import check_names
from ccenv.base.values import Sizes, positive_ints

PRIME = 2**31 - 1
"""N-grams are polynomials of their symbols modulo this; products of two such numbers fit int64."""
BASE = 1_103_515_245
"""Where the polynomials are taken."""
PLACES_STD = 0.1
"""Of the first numbers; 1 was 0.06 bits worse (validation text, one seed, 1.28 million places)."""
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": relu, "elu": elu}
"""What units may go through."""


class HashedRows(nn.Module):
    """Adds up a row for each symbol at its place and one for each hashed n-gram of the end; ReLU.

    N-grams of one length share a part of the table. A look-up and a sum cost no product; scaling
    costs one elementwise product for each unit, which `count_macs` does not count.
    """

    place: Tensor
    """int64 [context]; numbers of the places."""

    def __init__(
        self,
        num_symbols: int,
        units: int,
        context: int,
        order: int,
        num_rows: int,
        *,
        activation: str = "relu",
        row_shares: Sizes = (),
        is_scaled: bool = False,
    ) -> None:
        """Draws the rows of single places; rows of n-grams start at zero, scales at one.

        See `ccenv.annexes.networks.baselines.text.hashed_ngrams` for the settings.
        """
        super().__init__()
        sizes = (num_symbols, units, context, order, num_rows)
        positive_ints(sizes, "num_symbols, units, context, order and num_rows")
        if order > context:
            raise ValueError(
                f"expected an order of at most the {context} symbols that are read, got {order}"
            )
        check_names([activation], ACTIVATIONS, "activation")
        self.activation = ACTIVATIONS[activation]
        self.out_features, self.order, self.num_rows = units, order, num_rows
        self.lengths = rows_of_lengths(num_rows, order, row_shares)
        # The optimiser keeps two more numbers for each, and a gradient.
        num_floats = 4 * ((context + is_scaled) * num_symbols + num_rows) * units
        check_fits(num_floats, "hashed rows in training", "take fewer rows")
        self.places = nn.Embedding(num_symbols * context, units)
        nn.init.normal_(self.places.weight, std=PLACES_STD)
        self.rows = nn.Embedding.from_pretrained(torch.zeros(num_rows, units), freeze=False)
        self.scales = (
            nn.Embedding.from_pretrained(torch.ones(num_symbols, units), freeze=False)
            if is_scaled
            else None
        )
        # A symbol that there is not has no row: one place's rows are not another's neighbours.
        self.register_buffer("place", torch.arange(context), persistent=False)
        self.missing = num_symbols

    def forward(self, tokens: Tensor) -> Tensor:
        """Int64 [rows, symbols] -> [rows, units].

        The number behind the last symbol stands for a missing one: it has no row, and no n-gram
        that contains it has one.
        """
        context = len(self.place)
        tokens = tokens[:, -context:]
        is_missing = tokens == self.missing
        tokens = tokens.masked_fill(is_missing, 0)
        places = self.places(tokens * context + self.place)
        summed: Tensor = places.masked_fill(is_missing.unsqueeze(2), 0.0).sum(dim=1)
        if self.order > 1:
            # Behind the last symbol's own, the n-grams of 2 to `order` symbols.
            is_cut = is_missing.flip(1).cumsum(dim=1)[:, 1 : self.order].bool()
            rows = self.rows(self.hashed(tokens)).masked_fill(is_cut.unsqueeze(2), 0.0)
            summed = summed + rows.sum(dim=1)
        units: Tensor = self.activation(summed)
        return units if self.scales is None else units * self.scales(tokens[:, -1])

    def hashed(self, tokens: Tensor) -> Tensor:
        """Rows of the last n-grams, the shortest first: int64 [rows, order - 1]."""
        key, places = tokens[:, -1] + 1, []
        for length, (first, number) in enumerate(self.lengths, start=2):
            key = (key * BASE + tokens[:, -length] + 1) % PRIME
            places.append(key % number + first)
        return torch.stack(places, dim=1)


def rows_of_lengths(num_rows: int, order: int, shares: Sizes) -> list[tuple[int, int]]:
    """The first row and the number of rows of n-grams of 2 to `order` symbols.

    >>> rows_of_lengths(10, 3, shares=(3, 1))
    [(0, 7), (7, 2)]
    """
    parts = positive_ints(shares, "row_shares", allow_none=True) or (1,) * (order - 1)
    if len(parts) != order - 1:
        raise ValueError(
            f"expected {order - 1} row_shares, one for each length from 2 to {order}, got "
            f"{len(parts)}"
        )
    numbers = [num_rows * part // sum(parts) for part in parts]
    if 0 in numbers:
        raise ValueError(
            f"expected num_rows of at least {-(-sum(parts) // min(parts))}, got {num_rows}"
        )
    return list(zip(accumulate(numbers, initial=0), numbers, strict=False))


def window_length(input_shape: tuple[int, ...], network: str, context: int = 0) -> int:
    """Symbols of a window; what is none is refused, or has fewer symbols than are to be read."""
    if len(input_shape) != 1:
        raise ValueError(
            f"expected windows of symbols (length,) for {network!r}, got inputs "
            f"{tuple(input_shape)}"
        )
    if context > input_shape[0]:
        raise ValueError(
            f"expected context to be at most the window's {input_shape[0]} symbols, got {context}"
        )
    return input_shape[0]


def check_owner(state: Any, network: Any) -> None:
    """Refuses a state that another network has made (ValueError)."""
    if state.owner is not network:
        raise ValueError(
            "expected a state that this network has made, got another network's; call played or "
            "empty_state of this one"
        )


def check_alone(inputs: Tensor) -> None:
    """Refuses several windows where one sequence is to go on (ValueError)."""
    if len(inputs) != 1:
        raise ValueError(f"expected the end of one sequence, got {len(inputs)} inputs")


def check_windows(inputs: Tensor, num_tokens: int) -> None:
    """Refuses what are no windows of so many symbols: int64 [rows, num_tokens]."""
    if inputs.dtype != torch.int64 or inputs.shape[1:] != (num_tokens,):
        raise ValueError(
            f"expected symbols as int64 [rows, {num_tokens}], got {inputs.dtype} "
            f"{list(inputs.shape)}"
        )


def is_in_order(is_symbol: Tensor) -> Tensor:
    """Whether missing symbols of windows, bool [rows, symbols], are before all others: bool []."""
    return is_symbol[:, -1].all() & (is_symbol[:, 1:] >= is_symbol[:, :-1]).all()


def check_order(is_right: bool, missing: int) -> None:
    """Refuses windows whose missing symbols are not before all others (ValueError)."""
    if not is_right:
        raise ValueError(
            f"expected missing symbols ({missing}) before all others, got one behind a symbol"
        )


@dataclass(frozen=True)
class Sequences:
    """Sequences that a batch of inputs consists of."""

    symbols: Tensor
    """int64 [sequences, length]; behind the end of a shorter one its last symbol again."""
    is_there: Tensor
    """bool [sequences, length]; False behind the end of a shorter one."""
    sequence: Tensor
    """int64 [inputs], rising; the sequence of each input."""
    place: Tensor
    """int64 [inputs]; its place there."""
    at: int | None = None
    """the place of all inputs, where the host knows it without a look at the device."""

    @staticmethod
    def begun(inputs: Tensor) -> "Sequences":
        """The first position of sequences, one an input: int64 [inputs, window]."""
        numbers = torch.arange(len(inputs), device=inputs.device)
        symbols = inputs[:, -1:]
        is_there = torch.ones_like(symbols, dtype=torch.bool)
        return Sequences(symbols, is_there, numbers, torch.zeros_like(numbers), at=0)

    def last(self) -> "Sequences":
        """The last position of the one sequence that there is."""
        place = self.place[-1:]
        return replace(self, sequence=0 * place, place=place, at=self.symbols.shape[1] - 1)

    def after(self) -> "Sequences":
        """The next position of each input."""
        return replace(self, place=self.place + 1, at=None if self.at is None else self.at + 1)

    def is_full(self, window: int) -> bool:
        """Whether a place is behind a window; a device is waited for where `at` is None."""
        return (int(self.place.max()) if self.at is None else self.at) >= window


def sequences_of(inputs: Tensor, missing: int) -> Sequences:
    """Finds the sequences of inputs: an input continues or repeats the one before, or starts one.

    Args:
        inputs: int64 [rows, window].
        missing: stands before the first symbol, where there are fewer than the window holds.

    Raises:
        ValueError: if a number is above `missing`, or `missing` is behind a symbol.

    >>> sequences_of(torch.tensor([[9, 1], [1, 2], [9, 3]]), missing=9).symbols.tolist()
    [[1, 2], [3, 3]]
    """
    rows, window = inputs.shape
    if not rows:
        none = inputs.new_zeros(0, 1)
        return Sequences(none, none.bool(), none[:, 0], none[:, 0])
    is_symbol = inputs != missing
    lengths = is_symbol.sum(dim=1)
    repeats = (inputs[1:] == inputs[:-1]).all(dim=1)
    goes_on = (inputs[1:, :-1] == inputs[:-1, 1:]).all(dim=1) & (lengths[1:] == lengths[:-1] + 1)
    begins = pad(~(repeats | goes_on), (1, 0), value=True)
    # All that the host has to know, in one copy: a device is waited for once.
    counts = AT_ONCE.on_host(
        {
            "least": inputs.min(),
            "most": inputs.max(),
            "is_right": is_in_order(is_symbol),
            "sequences": begins.sum(),
            "longest": lengths.max(),
        }
    )
    least, most, is_right, count, longest = (int(value) for value in counts.values())
    if most > missing or least < 0:
        raise ValueError(
            f"expected symbols in 0..{missing - 1}, and {missing} for missing ones before them, "
            f"got {least}..{most}"
        )
    check_order(bool(is_right), missing)
    is_end = pad(begins[1:], (0, 1), value=True)
    ends = (~is_end).byte().argsort(stable=True)[:count]
    of_ends = lengths.index_select(0, ends)[:, None]
    columns = torch.arange(longest, device=inputs.device)
    places = (window - of_ends + columns).clamp(max=window - 1)
    symbols = inputs.index_select(0, ends).gather(1, places)
    return Sequences(symbols, columns < of_ends, begins.cumsum(0) - 1, lengths - 1)


def windows_of(symbols: Tensor, window: int, missing: int) -> Tensor:
    """Inputs of all positions of sequences: int64 [sequences, length] -> [.., length, window].

    >>> windows_of(torch.tensor([[1, 2]]), 3, missing=9).tolist()
    [[[9, 9, 1], [9, 1, 2]]]
    """
    return pad(symbols, (window - 1, 0), value=missing).unfold(1, window, 1)
