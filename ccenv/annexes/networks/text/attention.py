"""Causal attention of sequences or of single positions, and layers of which masks choose."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from ccenv.annexes.networks.text.rows import Pair, Places, attend, attend_some, copies_keys
from ccenv.networks.stages.linear import Experts, scale_blocks
from ccenv.sparse.linear import block_sparse_linear


class CausalAttention(nn.Module):
    """x + attention(norm(x)) to positions up to one's own, of whole sequences or of single rows."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Heads divide the width."""
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def parts(self, x: Tensor) -> Tensor:
        """Queries, keys and values: [..., width] -> [..., 3, heads, head_size]."""
        projected: Tensor = self.query_key_value(self.norm(x))
        return projected.unflatten(-1, (3, self.num_heads, -1))

    def forward(self, x: Tensor) -> tuple[Tensor, Pair]:
        """Sequences [n, length, width] -> the same, and keys and values [n, length, heads, ...]."""
        query, key, value = self.parts(x).unbind(-3)
        mixed = scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True
        )
        return x + self.output(mixed.transpose(1, 2).flatten(2)), (key, value)

    def at(self, x: Tensor, cached: Pair, rows: Places) -> tuple[Tensor, Pair]:
        """Single positions [rows, width] -> the same, and their own keys and values.

        `cached` are keys and values of sequences, `rows` says which of them each row reads.
        """
        parts = self.parts(x)
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
            sequence, order = (rows[0][row] * heads + head).sort(stable=True)
            row, head = row[order], head[order]
            keys, values = (part.flatten(0, 1).unsqueeze(1) for part in cached)
            few = parts[row, :, head].unsqueeze(2)
            attended = attend_some(few, (keys, values), (sequence, rows[1][row])).squeeze(1)
            mixed = torch.zeros_like(parts[:, 0]).index_put((row, head), attended)
        mixed = scale_blocks(mixed.flatten(1), scale)
        added = block_sparse_linear(mixed, self.output.weight, None, mask, backend=backend)
        return x + added + bias


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
