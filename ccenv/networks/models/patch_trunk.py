"""A trunk over patches: (a patch, what earlier patches left) -> its context and what it leaves.

A small causal transformer that runs once a patch: it attends to one entry a committed patch and to
the patch itself, so that memory grows with the patches and not with what they are made of.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ccenv.networks.models.linear_stage import in_major_linear


class TrunkLayer(nn.Module):
    """Attention to earlier patches and a feed-forward layer, both added to their input."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        """Glorot uniform weights, zero biases, norms before each half."""
        super().__init__()
        self.num_heads = num_heads
        self.norm_patch, self.norm_mixed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks = in_major_linear(width, 3 * width)
        self.mixes = in_major_linear(width, width)
        self.first, self.second = in_major_linear(width, hidden), in_major_linear(hidden, width)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One patch: [rows, width], [rows, patches, 2 * width] -> the next layer's, its entry."""
        query, key, value = self.asks(self.norm_patch(x)).chunk(3, dim=1)
        entry = torch.cat([key, value], dim=1)
        keys, values = torch.cat([memory, entry[:, None]], dim=1).chunk(2, dim=2)
        query, keys, values = map(self.by_head, (query[:, None], keys, values))
        scores = query @ keys.transpose(2, 3) / math.sqrt(keys.shape[3])
        mixed = (scores.softmax(dim=3) @ values).flatten(1)
        x = x + self.mixes(mixed)
        return x + self.second(relu(self.first(self.norm_mixed(x)))), entry

    def by_head(self, x: Tensor) -> Tensor:
        """[rows, patches, width] -> [rows, heads, patches, width / heads]."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class PatchTrunk(nn.Module):
    """What is expensive: some layers over patches."""

    def __init__(
        self, width: int, depth: int, num_heads: int, hidden: int, num_patches: int
    ) -> None:
        """Builds the layers.

        Args:
            width: of a patch and of a context.
            depth: layers.
            num_heads: of attention; the width is a multiple.
            hidden: units of a feed-forward layer.
            num_patches: of an input, each with a place of its own.

        Raises:
            ValueError: if the width is no multiple of the heads.
        """
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"expected a width that is a multiple of num_heads={num_heads}, got {width}"
            )
        self.width = width
        self.places = nn.Parameter(torch.zeros(num_patches, width))
        self.layers = nn.ModuleList(TrunkLayer(width, num_heads, hidden) for _ in range(depth))

    def no_memory(self, rows: int) -> Tensor:
        """Before the first patch: [rows, 0, depth, 2 * width]."""
        return self.places.new_zeros(rows, 0, len(self.layers), 2 * self.width)

    def forward(self, patch: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Reads a patch, whole or as far as it has come.

        Args:
            patch: [rows, width].
            memory: [rows, committed, depth, 2 * width]; keys and values of the patches before.

        Returns:
            Context [rows, width], and what it would leave in the memory: [rows, depth, 2 * width].
        """
        x, entries = patch + self.places[memory.shape[1]], []
        for number, layer in enumerate(self.layers):
            x, entry = layer(x, memory[:, :, number])
            entries.append(entry)
        return x, torch.stack(entries, dim=1)
