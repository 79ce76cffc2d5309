"""Causal attention of sequences or of single positions, and layers of which masks choose."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from ccenv.networks.stages.linear import Experts, scale_blocks
from ccenv.sparse.linear import block_sparse_linear

Pair = tuple[Tensor, Tensor]
"""Keys and values, of rows [rows, heads, head_size] or of sequences [sequences, heads, length,
head_size]."""
Places = tuple[Tensor, Tensor]
"""Which sequence each row reads, rising, and how many of its positions: int64 [rows] each."""


def write_pair(cached: Pair, at: tuple[Any, ...], pair: Pair) -> None:
    """Writes keys and values of positions into those of sequences, in the dtype of these.

    Under autocast products have another dtype than a cache that was made before them.
    """
    for there, new in zip(cached, pair, strict=True):
        there[at] = new.to(there.dtype)


class CausalAttention(nn.Module):
    """x + attention(norm(x)) to positions up to one's own, of whole sequences or of single rows."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Heads divide the width."""
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: [..., width] -> [..., heads, head_size] each."""
        projected = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = projected.unbind(-3)
        return query, key, value

    def forward(self, x: Tensor) -> tuple[Tensor, Pair]:
        """Sequences [n, length, width] -> the same, and their keys and values for `at`."""
        query, key, value = (part.transpose(1, 2) for part in self.parts(x))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        # Those of a head side by side: else each later position's products copy all of them.
        pair = key.contiguous(), value.contiguous()
        return x + self.output(mixed.transpose(1, 2).flatten(2)), pair

    def at(self, x: Tensor, cached: Pair, rows: Places) -> tuple[Tensor, Pair]:
        """Single positions [rows, width] -> the same, and their own keys and values.

        `cached` are keys and values of sequences, `rows` says which of them each row reads.
        """
        parts = torch.stack(self.parts(x), dim=1)
        return self.mixed(x, parts, cached, rows), (parts[:, 1], parts[:, 2])

    def mixed(self, x: Tensor, parts: Tensor, cached: Pair, rows: Places) -> Tensor:
        """As `at`, by the rows' own queries, keys and values: [rows, 3, heads, head_size]."""
        residual: Tensor = x + self.output(attend(parts, cached, rows).flatten(1))
        return residual

    def keys_and_values(self, x: Tensor) -> Pair:
        """Those of positions, without queries: [..., width] -> [..., heads, head_size] each."""
        width = x.shape[-1]
        weight, bias = self.query_key_value.weight[width:], self.query_key_value.bias[width:]
        key, value = (
            linear(self.norm(x), weight, bias).unflatten(-1, (2, self.num_heads, -1)).unbind(-3)
        )
        return key, value

    def some_heads(
        self,
        x: Tensor,
        pair: Pair,
        cached: Pair,
        rows: Places,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
        *,
        by_head: bool,
    ) -> Tensor:
        """As `at`, by the rows' own keys and values; heads that are skipped have no query.

        Mask and weights are [rows, heads], where the bias is added whatever is kept, or [rows, 1]
        for all heads and the bias at once.
        """
        width, heads = x.shape[1], self.num_heads
        bias: Tensor = self.output.bias
        mask = x.new_ones(len(x), 1, dtype=torch.bool) if mask is None else mask
        bias = bias if by_head else kept_bias(bias, mask, weights)
        mask, scale = mask.expand(-1, heads), None if weights is None else weights.expand(-1, heads)
        of_queries = self.query_key_value.weight[:width], self.query_key_value.bias[:width]
        query = block_sparse_linear(self.norm(x), *of_queries, None, mask, backend=backend)
        parts = torch.stack([query.unflatten(1, (heads, -1)), *pair], dim=1)
        if copies_keys(x, cached):
            mixed = torch.where(mask.unsqueeze(2), attend(parts, cached, rows), 0.0)
        else:
            # A head of a sequence is a sequence of one head, of which only kept ones are there.
            row, head = mask.nonzero(as_tuple=True)
            order = (rows[0][row] * heads + head).argsort(stable=True)
            row, head = row[order], head[order]
            there, sequence = (rows[0][row] * heads + head).unique_consecutive(return_inverse=True)
            keys, values = (part.flatten(0, 1)[there].unsqueeze(1) for part in cached)
            few = parts[row, :, head].unsqueeze(2)
            attended = attend(few, (keys, values), (sequence, rows[1][row])).squeeze(1)
            mixed = torch.zeros_like(parts[:, 0]).index_put((row, head), attended)
        mixed = scale_blocks(mixed.flatten(1), scale)
        added = block_sparse_linear(mixed, self.output.weight, None, mask, backend=backend)
        return x + added + bias


def attend(parts: Tensor, cached: Pair, rows: Places) -> Tensor:
    """Attention of single positions to earlier ones and to themselves: [rows, heads, head_size].

    `parts` are queries, keys and values of the rows: [rows, 3, heads, head_size].
    """
    (keys, values), (sequence, place) = cached, rows
    if not len(parts):
        return parts[:, 0]
    if copies_keys(parts, cached):
        return read_by_row(parts, cached, rows)
    # Rows of a sequence side by side, so that its keys are read once for all of them.
    counts = sequence.bincount(minlength=len(keys))
    slot = torch.arange(len(parts), device=parts.device) - (counts.cumsum(0) - counts)[sequence]
    shape = len(keys), int(counts.max())
    grid = parts.new_zeros(*shape, *parts.shape[1:]).index_put((sequence, slot), parts)
    query, key, value = grid.permute(2, 0, 3, 1, 4).unbind(0)
    length = int(place.max())
    num_read = place.new_zeros(shape).index_put((sequence, slot), place)
    is_read = torch.arange(length, device=parts.device) < num_read[:, None, :, None]
    scores = query @ keys[:, :, :length].transpose(2, 3)
    scores = scores.masked_fill(~is_read, -torch.inf)
    # As products of matrices, so that they are counted.
    own_score = (query.unsqueeze(-2) @ key.unsqueeze(-1)).squeeze(-1)
    shares = (torch.cat([scores, own_score], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed = shares[..., :length] @ values[:, :, :length]
    mixed = mixed + (shares[..., length:].unsqueeze(-1) @ value.unsqueeze(-2)).squeeze(-2)
    return mixed.transpose(1, 2)[sequence, slot]


MOST_COPIED = 1 << 28
"""Bytes of keys that rows on a GPU copy, each its own sequence's; there is as much of values."""


def copies_keys(rows: Tensor, cached: Pair) -> bool:
    """Whether rows copy the keys that they read, which a GPU need not be waited for."""
    return rows.is_cuda and len(rows) * cached[0][0].nbytes <= MOST_COPIED


def read_by_row(parts: Tensor, cached: Pair, rows: Places) -> Tensor:
    """What `attend` gives, row by row: shapes depend on no values."""
    (keys, values), (sequence, place) = cached, rows
    query, key, value = parts.unbind(1)
    length = keys.shape[2]
    is_read = torch.arange(length, device=parts.device) < place[:, None, None]
    scores = (keys.index_select(0, sequence) @ query.unsqueeze(-1)).squeeze(-1)
    scores = scores.masked_fill(~is_read, -torch.inf)
    own_score = (query.unsqueeze(-2) @ key.unsqueeze(-1)).squeeze(-1)
    shares = (torch.cat([scores, own_score], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed = (shares[..., None, :length] @ values.index_select(0, sequence)).squeeze(-2)
    return mixed + shares[..., length:] * value


class Layer(nn.Module):
    """Attention and experts, of which masks choose."""

    def __init__(self, width: int, num_heads: int, num_experts: int, size: int, act: Any) -> None:
        """Builds both; `size` hidden units in each expert."""
        super().__init__()
        self.attention = CausalAttention(width, num_heads)
        self.norm = nn.LayerNorm(width)
        self.experts = Experts(width, num_experts, size, width, act)
        self.bias = nn.Parameter(torch.zeros(width))

    def some_experts(
        self,
        x: Tensor,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
        *,
        by_expert: bool,
    ) -> Tensor:
        """Single positions [rows, width] -> the same; as `CausalAttention.some_heads` of heads."""
        bias: Tensor = self.bias
        if not by_expert:
            bias = kept_bias(bias, mask, weights)
            columns = self.experts.num_blocks
            mask, weights = (None if m is None else m.expand(-1, columns) for m in (mask, weights))
        expert_sum: Tensor = self.experts(self.norm(x), mask, None, weights, backend)
        return x + expert_sum + bias


def kept_bias(bias: Tensor, mask: Tensor | None, weights: Tensor | None) -> Tensor:
    """Returns a bias where a unit is kept, scaled as the unit is: [width] -> [rows, width]."""
    bias = bias if weights is None else bias * weights
    return bias if mask is None else torch.where(mask, bias, 0.0)
