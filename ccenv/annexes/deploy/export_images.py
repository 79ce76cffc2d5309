"""Images of an exported classifier: as its data set stores them -> what its network sees."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.data import Fitted, load_split, preprocessing
from ccenv.data.transforms import Standardise, as_floats, is_of_chance, make_transform, through
from ccenv.mdp.observations import LAST_SYMBOLS, num_symbols_of
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.simulator.simulator import Simulator


def images_of(simulator: Simulator) -> dict[str, Any]:
    """Describes images as a simulator's data set stores them, and what they go through."""
    stored = load_split(simulator.dataset, simulator.split)
    transforms = preprocessing(simulator.dataset, simulator.transforms)
    return {
        "shape": stored.image_shape,
        "are_bytes": stored.images.dtype == torch.uint8,
        "are_symbols": stored.images.dtype == torch.int64,
        "transforms": [{"name": one.name, "tensors": one.tensors} for one in transforms],
    }


def known_symbols(network: GatedNetwork, observation: str) -> int | None:
    """Inputs hold symbols below it, for network and policy; None if neither says what it knows."""
    policy = num_symbols_of(network) if observation == LAST_SYMBOLS else None
    counts = (network.symbols_read or network.num_symbols, policy)
    return min((number for number in counts if number), default=None)


class Preparation(nn.Module):
    """What images go through before a classifier sees them."""

    def __init__(self, content: Mapping[str, Any], num_symbols: int | None) -> None:
        """Builds the transforms.

        Args:
            content: see `images_of`.
            num_symbols: see `known_symbols`.

        Raises:
            ValueError: if a name is no transform, or one of chance.
        """
        super().__init__()
        self.shape: tuple[int, ...] = tuple(content["shape"])
        self.are_bytes = bool(content["are_bytes"])
        self.are_symbols = bool(content.get("are_symbols", False))
        self.num_symbols = num_symbols
        self.functions: list[tuple[str, Any, int]] = []
        """of each transform its name, its function and its number of tensors, which are buffers."""
        for n, one in enumerate(content["transforms"]):
            function, tensors = make_transform(one["name"]), tuple(one["tensors"])
            if is_of_chance(function):
                raise ValueError(f"expected a transform without chance, got {one['name']!r}")
            for k, tensor in enumerate(tensors):
                self.register_buffer(f"tensor_{n}_{k}", tensor, persistent=False)
            self.functions.append((one["name"], function, len(tensors)))
        # Averages of bytes are rounded: those of floats would be others.
        is_exact = all(isinstance(function, Standardise) for _, function, _ in self.functions)
        self.rounds = self.are_bytes and not is_exact

    @property
    def transforms(self) -> list[Fitted]:
        """In their order, on the module's device."""
        return [
            Fitted(name, function, tuple(self.get_buffer(f"tensor_{n}_{k}") for k in range(count)))
            for n, (name, function, count) in enumerate(self.functions)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Makes float32 [batch, channels, height, width] of images as the data set stores them.

        Args:
            images: [batch, *shape] or flat; float32, of stored bytes shares of 255, or uint8 if
                bytes are stored.

        Raises:
            TypeError: if they are of another type.
            ValueError: if they are of another size or not finite, shares are outside of [0, 1],
                or a symbol is not known.
        """
        if self.are_symbols and images.dtype != torch.int64:
            raise TypeError(f"expected symbols as int64, got {images.dtype}; use .long()")
        is_stored = images.dtype == torch.uint8 and self.are_bytes
        if not (self.are_symbols or is_stored or images.dtype == torch.float32):
            also = " in [0, 1], or uint8 ones" if self.are_bytes else ""
            how = ".float() / 255" if images.dtype == torch.uint8 else ".float()"
            raise TypeError(f"expected float32 images{also}, got {images.dtype}; use {how}")
        flat = images.flatten(1) if images.ndim > 1 else images
        if flat.ndim != 2 or flat.shape[1] != math.prod(self.shape):
            raise ValueError(
                f"expected images [batch, {', '.join(map(str, self.shape))}], as the data set "
                f"stores them, got {list(images.shape)}"
            )
        images = images.reshape(len(images), *self.shape)
        if images.numel() and not is_stored:
            self.check_values(images)
        return self.transformed(images)

    def transformed(self, images: Tensor) -> Tensor:
        """The same of inputs that fit, without a look at their values."""
        if self.rounds and images.dtype != torch.uint8:
            images = (images * 255).round().to(torch.uint8)
        return as_floats(through(self.transforms, images))

    def check_values(self, images: Tensor) -> None:
        """Refuses unknown symbols, and floats that are not finite or no shares (ValueError)."""
        if self.are_symbols:
            num_symbols = self.num_symbols
            low, high = (int(end) for end in images.aminmax())
            if num_symbols and (low < 0 or high >= num_symbols):
                raise ValueError(
                    f"expected symbols in 0..{num_symbols - 1}, got {low if low < 0 else high}"
                )
            return
        # Of all numbers one, in less than a hundredth of the time that 256 images take.
        mean = float(images.mean())
        if not math.isfinite(mean):
            raise ValueError("expected finite numbers in images, got NaN or infinity")
        is_other = self.are_bytes and mean > 1
        if is_other or (self.rounds and not bool(((images >= 0) & (images <= 1)).all())):
            raise ValueError(
                f"expected pixels in [0, 1], got {float(images.min())} to {float(images.max())}; "
                "give bytes as shares of 255, or as uint8"
            )
