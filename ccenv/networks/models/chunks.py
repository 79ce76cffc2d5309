"""Chunks: images in strips, features in parts, texts in symbols -> [rows, num_chunks, ...]."""

import math

import torch
from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.networks.models.linear_stage import in_major_linear

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
