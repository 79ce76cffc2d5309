"""Random streams: (root seed, name of the stream) -> a generator of its own."""

import zlib
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from ccenv.base.values import shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def stream_seed(root_seed: int, name: str) -> int:
    """Mixes a root seed and a stream name into a 63-bit seed; streams are independent."""
    if not isinstance(root_seed, Integral) or root_seed < 0:
        raise ValueError(
            f"expected seed to be a whole number of at least 0, got {shown(root_seed)} "
            f"({type(root_seed).__name__}); give seed as an int"
        )
    words = np.random.SeedSequence([int(root_seed), zlib.crc32(name.encode())]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1


def stream(root_seed: int, name: str, device: "str | torch.device" = "cpu") -> "torch.Generator":
    """Returns a generator for one purpose (data order, initial weights, masks, ...).

    A device has draws of its own, equal by seed; making them does not block the host.
    """
    import torch

    return torch.Generator(device).manual_seed(stream_seed(root_seed, name))


def uniform(
    shape: Sequence[int], generator: "torch.Generator", device: "str | torch.device"
) -> "Tensor":
    """Draws in [0, 1) of a generator, on a device, which need not be the generator's: float32."""
    import torch

    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def integers(
    high: int, shape: Sequence[int], generator: "torch.Generator", device: "str | torch.device"
) -> "Tensor":
    """Draws in 0..high-1: int64; arguments as of `uniform`."""
    import torch

    drawn = torch.randint(high, shape, generator=generator, device=generator.device)
    return drawn.to(device)


def normal(
    shape: Sequence[int], generator: "torch.Generator", device: "str | torch.device"
) -> "Tensor":
    """Standard normal draws; arguments as of `uniform`."""
    import torch

    return torch.randn(shape, generator=generator, device=generator.device).to(device)
