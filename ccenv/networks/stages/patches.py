"""Inputs in patches: chunks of images, features and texts, and a trunk that reads them in turn.

A trunk over patches: (a patch, what earlier patches left) -> its context and what it leaves.

A small causal transformer that runs once a patch: it attends to one entry a committed patch and to
the patch itself, so that memory grows with the patches and not with what they are made of.

Chunks: images in strips, features in parts, texts in symbols -> [rows, num_chunks, ...].
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ccenv.base.registry import check_names
from ccenv.networks.stages.linear import in_major_linear


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


PREDICTS = ("label", "next")
"""What is answered behind every chunk."""


def shape_of_chunks(
    input_shape: tuple[int, ...], chunk_size: int, predicts: str
) -> tuple[int, int]:
    """How many chunks an input has, and numbers of a chunk.

    Args:
        input_shape: (channels, height, width), (features,) or (symbols,).
        chunk_size: lines of an image, or features; 1 of symbols.
        predicts: one of `PREDICTS`; "next" is for symbols.

    Raises:
        ValueError: if the input cannot be cut so.

    >>> shape_of_chunks((1, 28, 28), 2, "label")
    (14, 56)
    """
    check_names([predicts], PREDICTS, "predicts")
    if predicts == "next" and (len(input_shape) != 1 or chunk_size != 1):
        raise ValueError(
            f"expected windows of symbols (length,) in chunks of 1 beside predicts='next', got "
            f"inputs {tuple(input_shape)} in chunks of {chunk_size}"
        )
    if len(input_shape) not in (1, 3):
        raise ValueError(
            f"expected images, features or symbols for 'streaming', got {tuple(input_shape)}"
        )
    long = input_shape[-2] if len(input_shape) == 3 else input_shape[0]
    if long % chunk_size or long == chunk_size:
        raise ValueError(
            f"expected a chunk_size that divides the input's {long} "
            f"{'lines' if len(input_shape) == 3 else 'numbers'} in at least two, got {chunk_size}"
        )
    num_chunks = long // chunk_size
    return num_chunks, math.prod(input_shape) // num_chunks


def cut(inputs: Tensor, num_chunks: int, chunk_size: int) -> Tensor:
    """Strips of images, each with all channels, or neighbouring numbers: [rows, num_chunks, n].

    Symbols int64 [rows, num_chunks] stay as they are.

    >>> cut(torch.arange(8.0).view(1, 2, 2, 2), 2, 1).tolist()
    [[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]
    """
    if inputs.ndim == 4:
        strips = inputs.unflatten(2, (num_chunks, chunk_size)).transpose(1, 2)
        return strips.flatten(2)
    return inputs if not inputs.is_floating_point() else inputs.unflatten(1, (num_chunks, -1))


class ChunkEncoder(nn.Module):
    """What is read of every chunk: tanh of an affine map, or of a symbol's embedding."""

    def __init__(
        self, chunk_numbers: int, num_chunks: int, units: int, num_symbols: int | None
    ) -> None:
        """Builds it.

        Args:
            chunk_numbers: of a chunk.
            num_chunks: each place has a bias of its own.
            units: columns of the encoding.
            num_symbols: different symbols; None for chunks of numbers.
        """
        super().__init__()
        self.read = (
            in_major_linear(chunk_numbers, units)
            if num_symbols is None
            else nn.Embedding(num_symbols, units)
        )
        self.places = nn.Parameter(torch.zeros(num_chunks, units))

    def forward(self, chunk: Tensor, place: int) -> Tensor:
        """[rows, chunk_numbers] or int64 [rows], at a place -> [rows, units] in (-1, 1)."""
        found: Tensor = (self.read(chunk) + self.places[place]).tanh()
        return found
