"""Transformers: heads and groups of feed-forward units as blocks; a small vision transformer.

Vaswani et al. 2017, "Attention is all you need" (arXiv 1706.03762); Dosovitskiy et al. 2021, "An
image is worth 16x16 words" (arXiv 2010.11929). Norms stand before what they normalise.
"""

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ccenv.base.values import positive_ints
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows, Stage
from ccenv.networks.vision.residual import Centred

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
    rows_of: dict[tuple[bool, ...], list[int]] = {}
    for row, bits in enumerate(mask.tolist()):
        rows_of.setdefault(tuple(bits), []).append(row)
    return {tuple(i for i, kept in enumerate(b) if kept): rows for b, rows in rows_of.items()}


def some_blocks(weight: nn.Parameter, blocks: Blocks) -> Tensor:
    """Weights of some blocks, one after the other: [num_blocks, units, ...] -> [k * units, ...]."""
    if blocks is None:
        return weight.flatten(0, 1)
    first, last = blocks[0], blocks[-1] + 1
    if last - first == len(blocks):
        # Neighbours lie together in memory: nothing is copied.
        return weight[first:last].flatten(0, 1)
    return weight.index_select(0, torch.tensor(blocks, device=weight.device)).flatten(0, 1)


class HeadAttention(Summed):
    """x + attention(norm(x)); a block is a head, and what it adds needs its weights alone."""

    block_dims: ClassVar[Mapping[str, int]] = {
        "query_key_value": 0,
        "query_key_value_bias": 0,
        "output": 0,
    }

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        """Makes `num_heads` heads, which divide the features of a token."""
        super().__init__()
        check_whole_parts(num_heads, dim, "num_heads", "features of a token")
        self.num_blocks, self.head_size = num_heads, dim // num_heads
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = matrix(num_heads, 3 * self.head_size, dim, fan_in=dim)
        self.query_key_value_bias = nn.Parameter(torch.zeros(num_heads, 3 * self.head_size))
        self.output = matrix(num_heads, self.head_size, dim, fan_in=dim)
        self.bias = nn.Parameter(torch.zeros(dim))

    def prepared(self, x: Tensor) -> Tensor:
        """See `Summed.prepared`."""
        return self.norm(x)

    def added(self, x: Tensor, blocks: Blocks, weights: Tensor | None) -> Tensor:
        """Attention of some heads: [rows, tokens, dim] -> the same."""
        bias = some_blocks(self.query_key_value_bias, blocks)
        parts = nn.functional.linear(x, some_blocks(self.query_key_value, blocks), bias)
        parts = parts.unflatten(2, (-1, 3, self.head_size)).permute(3, 0, 2, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(*parts.unbind(0))
        if weights is not None:
            seen = seen * weights[:, :, None, None]
        return seen.transpose(1, 2).flatten(2) @ some_blocks(self.output, blocks)


class GroupedFFN(Summed):
    """x + feed-forward(norm(x)); a block is a group of hidden units."""

    block_dims: ClassVar[Mapping[str, int]] = {"hidden": 0, "hidden_bias": 0, "output": 0}

    def __init__(self, dim: int, num_units: int, num_groups: int = 4) -> None:
        """Cuts `num_units` hidden units in `num_groups` blocks."""
        super().__init__()
        check_whole_parts(num_groups, num_units, "num_groups", "hidden units")
        self.num_blocks = num_groups
        self.norm = nn.LayerNorm(dim)
        self.activation = nn.GELU()
        size = num_units // num_groups
        self.hidden = matrix(num_groups, size, dim, fan_in=dim)
        self.hidden_bias = nn.Parameter(torch.zeros(num_groups, size))
        self.output = matrix(num_groups, size, dim, fan_in=num_units)
        self.bias = nn.Parameter(torch.zeros(dim))

    def prepared(self, x: Tensor) -> Tensor:
        """See `Summed.prepared`."""
        return self.norm(x)

    def added(self, x: Tensor, blocks: Blocks, weights: Tensor | None) -> Tensor:
        """What some groups add: [rows, tokens, dim] -> the same."""
        bias = some_blocks(self.hidden_bias, blocks)
        units = self.activation(nn.functional.linear(x, some_blocks(self.hidden, blocks), bias))
        if weights is not None:
            wide = weights.repeat_interleave(units.shape[2] // weights.shape[1], dim=1)
            units = units * wide[:, None, :]
        return units @ some_blocks(self.output, blocks)


def matrix(num_blocks: int, units: int, dim: int, fan_in: int) -> nn.Parameter:
    """Weights block by block: [num_blocks, units, dim], uniform with deviation fan_in ** -1/2."""
    bound = math.sqrt(3 / fan_in)
    return nn.Parameter(torch.empty(num_blocks, units, dim).uniform_(-bound, bound))


def check_whole_parts(parts: int, whole: int, name: str, what: str) -> None:
    """Refuses a number of parts that leaves a rest."""
    if parts < 1 or whole < 1 or whole % parts:
        raise ValueError(f"expected {name} to divide {whole} {what}, got {parts}")


class Patches(nn.Module):
    """Square patches of an image as tokens, each with a vector for its place."""

    def __init__(self, channels: int, size: int, num_tokens: int, dim: int) -> None:
        """Takes the image's channels, a patch's side in pixels, and the tokens' number and size."""
        super().__init__()
        self.cut = nn.Conv2d(channels, dim, size, size)
        self.places = nn.Parameter(0.02 * torch.randn(1, num_tokens, dim))

    def forward(self, images: Tensor) -> Tensor:
        """[rows, channels, height, width] -> [rows, tokens, dim]."""
        tokens: Tensor = self.cut(images).flatten(2).transpose(1, 2)
        return tokens + self.places


class MeanOfTokens(nn.Module):
    """Averages over the sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, dim] -> [rows, dim]."""
        return x.mean(dim=1)


def vit(
    input_shape: tuple[int, ...] = (3, 32, 32),
    num_classes: int = 10,
    depth: int = 4,
    dim: int = 96,
    num_heads: int = 4,
    num_groups: int = 4,
    patch_size: int = 4,
) -> GatedSequential:
    """A small vision transformer: two gates a layer, its heads and its groups of hidden units.

    The answer is read from the mean of all tokens; hidden units are four times the features.

    Args:
        input_shape: (channels, height, width).
        num_classes: columns of the logits.
        depth: layers.
        dim: features of a token.
        num_heads: blocks of each attention.
        num_groups: blocks of each feed-forward layer.
        patch_size: side of a patch in pixels.
    """
    sizes = (depth, dim, num_heads, num_groups, patch_size)
    positive_ints(sizes, "depth, dim, num_heads, num_groups and patch_size")
    if len(input_shape) != 3:
        raise ValueError(
            f"expected images (channels, height, width) for 'vit', got inputs {tuple(input_shape)}"
        )
    channels, height, width = input_shape
    for side in (height, width):
        if side % patch_size:
            raise ValueError(
                f"expected patch_size to divide images of {height} x {width} pixels, got "
                f"{patch_size}"
            )
    num_tokens = (height // patch_size) * (width // patch_size)
    stem = nn.Sequential(Centred(), Patches(channels, patch_size, num_tokens, dim))
    parts: dict[str, nn.Module] = {}
    for number in range(depth):
        parts[f"layer{number}.heads"] = HeadAttention(dim, num_heads)
        parts[f"layer{number}.units"] = GroupedFFN(dim, 4 * dim, num_groups)
    head = nn.Sequential(nn.LayerNorm(dim), MeanOfTokens(), nn.Linear(dim, num_classes))
    return GatedSequential(stem, parts, head, torch.zeros(1, *input_shape))
