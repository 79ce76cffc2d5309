"""Stages whose blocks add to the stream: attention heads, groups of feed-forward units."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from ccenv.networks.core.stage import Rows, Stage

Blocks = tuple[int, ...] | None
"""Numbers of blocks in rising order, at least one; None for all."""
ROWS_OF_A_GROUP = 16
"""A further group's calls take as long as gathering so many rows once more; measured."""


class Summed(Stage):
    """x + bias + the sum of what kept blocks add; a skipped block adds zero.

    Blocks do not see each other: each is computed for the rows that keep it, and blocks that a row
    keeps are computed together.
    """

    lists_rows: ClassVar[bool] = True
    tells_norms: ClassVar[bool] = False

    bias: Tensor
    """[features] that every row gets, whatever it keeps."""

    def prepared(self, x: Tensor) -> Tensor:
        """What all blocks read: the norm of the input."""
        return x

    def added(self, x: Tensor, blocks: Blocks, weights: Tensor | None) -> Tensor:
        """What some blocks add together; see the class."""
        raise NotImplementedError

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, ...] -> the same shape; see `Stage`."""
        seen = self.prepared(x)
        if mask is None:
            return x + self.bias + self.added(seen, None, weights)
        if backend == "reference":
            return x + self.bias + self.masked(seen, mask, weights)
        y = x + self.bias
        for rows, blocks in rows_by_blocks(mask):
            if rows is None:
                y += self.added(seen, blocks, some_weights(weights, None, blocks))
            else:
                part = seen.index_select(0, rows)
                added = self.added(part, blocks, some_weights(weights, rows, blocks))
                # Under autocast products have another dtype than the sum.
                y.index_add_(0, rows, added.to(y.dtype))
        return y

    def masked(self, x: Tensor, mask: Tensor, weights: Tensor | None) -> Tensor:
        """Everything computed, block by block, and thrown away where it is skipped: the meaning."""
        total = torch.zeros_like(x)
        for block in range(self.num_blocks):
            part = self.added(x, (block,), some_weights(weights, None, (block,)))
            keep = mask[:, block].reshape(-1, *[1] * (x.ndim - 1))
            total = total + torch.where(keep, part, 0.0)
        return total


def some_weights(weights: Tensor | None, rows: Tensor | None, blocks: Blocks) -> Tensor | None:
    """Rows and columns of weights [rows, num_blocks]; None stands for all."""
    if weights is None:
        return None
    weights = weights if rows is None else weights.index_select(0, rows)
    return weights if blocks is None else weights[:, list(blocks)]


def rows_by_blocks(mask: Tensor) -> Iterator[tuple[Tensor | None, Blocks]]:
    """Rows that are computed together, and with which blocks; None stands for all.

    Rows of the mask, bool [rows, num_blocks], that keep the same blocks are one group, so that each
    row is gathered once. Where that makes too many groups, a group is a block with its rows.
    """
    num_rows, num_blocks = mask.shape
    groups = same_rows(mask)
    num_visits = sum(len(blocks) * len(rows) for blocks, rows in groups.items())
    num_kept = sum(len(rows) for blocks, rows in groups.items() if blocks)
    if len(groups) > num_blocks + (num_visits - num_kept) // ROWS_OF_A_GROUP:
        _, kept = mask.t().nonzero(as_tuple=True)
        for block, rows_of_block in enumerate(kept.split(mask.sum(dim=0).tolist())):
            if len(rows_of_block):
                yield rows_of_block, (block,)
        return
    for blocks, rows in groups.items():
        if blocks:
            some = None if len(rows) == num_rows else torch.tensor(rows, device=mask.device)
            yield some, None if len(blocks) == num_blocks else blocks


def same_rows(mask: Tensor) -> dict[tuple[int, ...], list[int]]:
    """Rows of each different mask: the blocks that are kept -> numbers of the rows that do."""
    # In plain Python: a dictionary of some rows takes less time than torch's unique.
    found: dict[tuple[bool, ...], list[int]] = {}
    for row, bits in enumerate(mask.tolist()):
        found.setdefault(tuple(bits), []).append(row)
    return {tuple(i for i, kept in enumerate(b) if kept): rows for b, rows in found.items()}


def some_blocks(weight: nn.Parameter, blocks: Blocks) -> Tensor:
    """Weights of some blocks, one after the other: [num_blocks, units, ...] -> [k * units, ...]."""
    if blocks is None:
        return weight.flatten(0, 1)
    first, last = blocks[0], blocks[-1] + 1
    if last - first == len(blocks):
        # Neighbours lie together in memory: nothing is copied.
        return weight[first:last].flatten(0, 1)
    return weight.index_select(0, torch.tensor(blocks, device=weight.device)).flatten(0, 1)
