"""Finds the sequences of symbols that a batch of positions consists of."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.base.checks import AT_ONCE
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


def windows_of(symbols: Tensor, window: int, missing: int) -> Tensor:
    """Inputs of all positions of sequences: int64 [sequences, length] -> [.., length, window].

    >>> windows_of(torch.tensor([[1, 2]]), 3, missing=9).tolist()
    [[[9, 9, 1], [9, 1, 2]]]
    """
    return pad(symbols, (window - 1, 0), value=missing).unfold(1, window, 1)
