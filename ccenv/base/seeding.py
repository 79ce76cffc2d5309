"""Random streams: (root seed, name of the stream) -> a generator of its own."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(root_seed: int, name: str) -> int:
    """Derives the seed of a named stream, so that adding a stream never shifts another one."""
    words = np.random.SeedSequence([root_seed, zlib.crc32(name.encode())]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1


def stream(root_seed: int, name: str) -> "torch.Generator":
    """Returns a CPU generator for one purpose (data order, initial weights, masks, ...)."""
    import torch

    return torch.Generator().manual_seed(stream_seed(root_seed, name))
