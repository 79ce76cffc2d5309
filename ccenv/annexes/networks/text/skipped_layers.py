"""Layers of `lm` that positions skip as a whole, where they then leave no keys and values.

Keys and values of a layer lie side by side, so that a position reads those of earlier positions
that have kept it, and no others: of each place it is counted how many there are.

Raposo et al. 2024, "Mixture-of-Depths: dynamically allocating compute in transformer-based language
models" (arXiv 2404.02258). Ours: a policy chooses, and not so many positions of each sequence.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.annexes.networks.text.attention import Layer, Pair, Places


def run_kept(
    layer: Layer,
    x: Tensor,
    cached: Pair,
    rows: Places,
    mask: Tensor | None,
    weights: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Pair]:
    """Runs single positions that keep a layer: [rows, width] -> [rows, width].

    Returns:
        Features, which rows were run, int64 [run], and keys and values of these.
    """
    numbers = run_numbers(x, mask)
    few = x.index_select(0, numbers)
    sequence, num_read = (values.index_select(0, numbers) for values in rows)
    y, pair = layer.attention.at(few, cached, (sequence, num_read))
    y = layer.some_experts(y, None, None, backend, by_expert=False)
    return with_kept(x, numbers, y, mask, weights), numbers, pair


def run_kept_of_sequences(
    layer: Layer, x: Tensor, mask: Tensor, weights: Tensor | None
) -> tuple[Tensor, Pair, Tensor]:
    """Runs the positions of whole sequences, [sequences, length, width], that keep a layer.

    Args:
        layer: of which positions.
        x: features before it.
        mask: bool [sequences * length, 1].
        weights: gate values [sequences * length, 1], or None.

    Returns:
        Features, keys and values, and how many there are before each place and behind the last:
        int64 [sequences, length + 1].
    """
    (count, length), flat = x.shape[:2], x.flatten(0, 1)
    before = pad(mask.view(count, length).cumsum(dim=1), (1, 0))
    numbers = run_numbers(flat, mask)
    few, sequence = flat.index_select(0, numbers), numbers // length
    num_read = before[:, :-1].flatten().index_select(0, numbers)
    parts = torch.stack(layer.attention.parts(few), dim=1)
    # What nobody reads goes behind all others.
    slot = torch.where(mask.index_select(0, numbers)[:, 0], num_read, length)
    room = parts.new_zeros(count, length + 1, *parts.shape[2:])
    keys, values = (
        room.index_put((sequence, slot), part)[:, :length].transpose(1, 2).contiguous()
        for part in (parts[:, 1], parts[:, 2])
    )
    y = layer.attention.mixed(few, parts, (keys, values), (sequence, num_read))
    y = layer.some_experts(y, None, None, "auto", by_expert=False)
    return with_kept(flat, numbers, y, mask, weights).view(x.shape), (keys, values), before


def run_numbers(x: Tensor, mask: Tensor | None) -> Tensor:
    """Rows that are run: int64. On a GPU all of them: to list those that keep, the host waits."""
    if mask is None or x.is_cuda:
        return torch.arange(len(x), device=x.device)
    return mask[:, 0].nonzero().squeeze(1)


def with_kept(
    x: Tensor, numbers: Tensor, y: Tensor, mask: Tensor | None, weights: Tensor | None
) -> Tensor:
    """Features [rows, width], those of the rows that keep a layer behind it; gate values blend."""
    before = x.index_select(0, numbers)
    if weights is not None:
        y = before + weights.index_select(0, numbers) * (y - before)
    if mask is not None and x.is_cuda:
        y = torch.where(mask, y, before)
    return x.index_copy(0, numbers, y)
