"""Sequences of symbols in a batch of positions, what earlier positions leave, and hidden states."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.base.checks import AT_ONCE
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.text.tokens import check_order, is_in_order


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
    found = AT_ONCE.on_host(
        {
            "least": inputs.min(),
            "most": inputs.max(),
            "is_right": is_in_order(is_symbol),
            "sequences": begins.sum(),
            "longest": lengths.max(),
        }
    )
    least, most, is_right, count, longest = (int(value) for value in found.values())
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


@dataclass(frozen=True)
class Cache:
    """Keys, values and features of sequences under committed masks."""

    owner: Any = field(repr=False)
    """the network whose keys and values these are."""
    sequences: Sequences
    keys: tuple[Tensor, ...] = ()
    """of each layer: [sequences, heads, length, head_size]."""
    values: tuple[Tensor, ...] = ()
    """as the keys."""
    streams: tuple[Tensor, ...] = ()
    """before each gate and behind the last one: [sequences, length, width]."""
    masks: tuple[Tensor, ...] = ()
    """of each gate: bool [sequences, length, num_blocks], or float gate values."""


@dataclass(frozen=True)
class Left:
    """Keys and values that rows leave for later positions."""

    layer: int
    rows: Tensor
    """int64 [n]; of the hidden state."""
    keys: Tensor
    """[n, heads, head_size]."""
    values: Tensor
    """as the keys."""


@dataclass(frozen=True)
class Position:
    """Hidden state of positions, before a gate or after the last one."""

    cache: Cache
    sequence: Tensor
    """int64 [rows], rising; which sequence of the cache a row belongs to."""
    place: Tensor
    """int64 [rows]; its place there."""
    own: Tensor
    """int64 [left], rising; rows that have left the committed masks and have not stopped."""
    x: Tensor
    """[left, width]; features of these rows. Those of the others are in the cache."""
    gate: int = 0
    """the next one."""
    left: tuple[Left, ...] | None = None
    """keys and values of rows that have left, layer by layer; None where nothing reads them."""
    flow: Flow | None = None
    """which rows have stopped at exits, and what they answer; None of a network without exits."""

    def repeated(self, group: int) -> "Position":
        """Each row for so many neighbours."""
        if group == 1:
            return self
        neighbours = torch.arange(group, device=self.own.device)
        return dataclasses.replace(
            self,
            sequence=self.sequence.repeat_interleave(group),
            place=self.place.repeat_interleave(group),
            own=(self.own[:, None] * group + neighbours).flatten(),
            x=self.x.repeat_interleave(group, 0),
            left=None,
            flow=None if self.flow is None else self.flow.repeated(group),
        )

    def committed(self, values: Tensor) -> Tensor:
        """Gathers each row's part of the cache: [sequences, length, n] -> [rows, n]."""
        flat = self.sequence * values.shape[1] + self.place
        return values.flatten(0, 1).index_select(0, flat)

    def features(self) -> Tensor:
        """Returns the features of all rows, of those that have stopped any: [rows, width]."""
        if self.all_left:
            return self.of_all(self.x)
        return self.committed(self.cache.streams[self.gate]).index_copy(0, self.own, self.x)

    @property
    def all_left(self) -> bool:
        """Whether no row that has not stopped follows the committed masks."""
        rows = None if self.flow is None else self.flow.rows
        return len(self.own) == len(self.sequence if rows is None else rows)

    def of_running(self, values: Tensor) -> Tensor:
        """The rows that have not stopped: [rows, ...] -> [running, ...]."""
        return values if self.flow is None else self.flow.of_running(values)

    def of_all(self, values: Tensor) -> Tensor:
        """Puts values of running rows in their places, zero where stopped: [rows, ...]."""
        return values if self.flow is None else self.flow.of_all(values)

    def is_running(self) -> Tensor:
        """Whether each row has not stopped: bool [rows]."""
        rows = self.sequence.new_ones(len(self.sequence), dtype=torch.bool)
        return self.of_all(self.of_running(rows))
