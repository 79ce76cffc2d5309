"""Winner-take-all hashing: (rows of numbers, windows) -> addresses of buckets, the nearest first.

Yagnik, Strelow, Ross, Lin 2011, "The power of comparative reasoning": a hash looks at a window of
coordinates and says which of them is largest, so that only the order of values counts. Two rows
agree with probability sum_i C(r_i, k - 1) / C(n, k), where k coordinates are compared and r_i is
the number of those that are below coordinate i in both rows; for k = 2 it is (1 + Kendall's tau)/2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def draw_windows(features: int, sizes: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """The first coordinates of random orders: int64 [tables, hashes, window].

    ValueError if a window is wider than there are features.
    """
    tables, hashes, window = sizes
    if window > features:
        raise ValueError(
            f"expected window of at most the {features} features of a layer's input, got {window}"
        )
    return torch.rand(tables, hashes, features, generator=generator).topk(window).indices


def check_probes(hashes: int, window: int, probes: int) -> None:
    """Refuses addresses that no int64 holds, and more probes than buckets."""
    if hashes * math.log2(window) >= 62 or probes > window**hashes:
        raise ValueError(
            "expected window ** hashes below 2 ** 62 and at most so many probes, got "
            f"{window} ** {hashes} and {probes}"
        )


def probe_codes(x: Tensor, windows: Tensor, probes: int) -> tuple[Tensor, Tensor]:
    """Buckets that rows [n, features] are looked up in by windows, the nearest first.

    Another bucket takes lower-ranked coordinates in place of some windows' winners; how far it is,
    is the sum of their gaps to the winners. The first so many probes are those of fewer probes.
    Addresses are int64 [n, tables, probes], digits to the base of the window; distances likewise.

    >>> x, windows = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[[0, 1, 2]]])
    >>> probe_codes(x, windows, 2)
    (tensor([[[0, 2]]]), tensor([[[0., 1.]]]))
    """
    tables, hashes, window = windows.shape
    # Stable, so that of equal values the first one wins, in keys and inputs alike.
    values, places = x[:, windows].sort(dim=3, descending=True, stable=True)
    gaps = values[..., :1] - values
    codes = torch.zeros(len(x), tables, 1, dtype=torch.int64)
    distances = torch.zeros(len(x), tables, 1, dtype=x.dtype)
    for number in range(hashes):
        sums = (distances[..., None] + gaps[:, :, number, None, :]).flatten(2)
        both = (codes[..., None] * window + places[:, :, number, None, :]).flatten(2)
        # The nearest of all need only the nearest of what came before.
        distances, order = sums.sort(dim=2, stable=True)
        distances, order = distances[..., :probes], order[..., :probes]
        codes = both.gather(2, order)
    return codes, distances


def fill_buckets(codes: Tensor, num_blocks: int) -> list[tuple[Tensor, Tensor]]:
    """For each table its codes in use and the blocks behind them.

    Of codes int64 [keys, tables], as many neighbouring keys for each block: sorted codes int64 [m],
    and how many keys of each block have them, float32 [m + 1, num_blocks]; the last bucket is
    empty.
    """
    owner = torch.arange(num_blocks).repeat_interleave(len(codes) // num_blocks)
    filled = []
    for column in codes.t():
        found, place = column.unique(return_inverse=True)
        members = torch.zeros(len(found) + 1, num_blocks)
        members.index_put_((place, owner), torch.ones(len(owner)), accumulate=True)
        filled.append((found, members))
    return filled


def count_hits(buckets: Sequence[tuple[Tensor, Tensor]], codes: Tensor) -> Tensor:
    """How many keys of each block lie in probed buckets, over all tables: float32 [n, num_blocks].

    Buckets are those of `fill_buckets`, codes int64 [n, tables, probes] those of `probe_codes`.
    """
    total = torch.zeros(len(codes), buckets[0][1].shape[1])
    for (found, members), asked in zip(buckets, codes.unbind(1), strict=True):
        place = torch.searchsorted(found, asked.contiguous()).clamp(max=len(found) - 1)
        row = torch.where(found[place] == asked, place, len(found))
        total += members[row].sum(dim=1)
    return total


def recall(mask: Tensor, worth: Tensor, best: int) -> float:
    """Share of each row's so many blocks of highest worth that a mask keeps, mean over the rows.

    The worth [n, blocks] may be products of inputs with keys.

    >>> recall(torch.tensor([[True, False, True]]), torch.tensor([[3.0, 2.0, 1.0]]), 2)
    0.5
    """
    wanted = worth.topk(best, dim=1).indices
    return mask.gather(1, wanted).double().mean().item()
