"""Transforms of chance: a table of moves, one line an image -> moved copies of training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Counted:
    """A transform with a number."""

    number: int

    def __post_init__(self) -> None:
        """Checks.

        Raises:
            ValueError: if the number is no whole one of at least 1.
        """
        if not isinstance(self.number, int) or self.number < 1:
            raise ValueError(f"expected a whole number of at least 1, got {self.number}")

    def check_fits(self, size: Sequence[int]) -> None:
        """Refuses a number that images of this height and width are too small for.

        Raises:
            ValueError: naming both.
        """
        if self.number >= min(size):
            name = type(self).__name__.lower()
            raise ValueError(
                f"expected {name} of fewer pixels than the images' sides {[*size]}, "
                f"got {self.number}"
            )


@dataclass(frozen=True)
class Copies(Counted):
    """How many moved copies stand beside each training image."""

    number: int = 7


@dataclass(frozen=True)
class Shift(Counted):
    """Moves every copy by a number of pixels of its own."""

    number: int = 2
    still: ClassVar[int] = 0

    def draw(self, count: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Pixels up and left: int16 [count, 2]."""
        self.check_fits(size)
        drawn = torch.randint(2 * self.number + 1, (2, count), generator=generator)
        return (drawn - self.number).short().T

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Moves images [batch, channels, height, width] by `drawn` [batch, 2]."""
        _, channels, height, width = images.shape
        padded = torch.nn.functional.pad(images, (self.number,) * 4)
        by_image, by_channel, by_line, _ = padded.stride()
        span = (channels - 1) * by_channel + (height - 1) * by_line + width
        # Windows that begin at any pixel, all of them views: choosing some copies whole lines,
        # many times faster than a gather of pixels.
        windows = padded.as_strided(
            (max(0, padded.numel() - span + 1), channels, height, width),
            (1, by_channel, by_line, 1),
        )
        down, right = (drawn.long() + self.number).unbind(1)
        first = torch.arange(len(images), device=images.device) * by_image
        return windows.index_select(0, first + down * by_line + right)


@dataclass(frozen=True)
class Mirror:
    """Exchanges left and right of half of the copies."""

    still: ClassVar[int] = 0

    def draw(self, count: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Whether: bool [count]."""
        return torch.rand(count, generator=generator) < 0.5

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Mirrors the images whose `drawn` [batch] is true."""
        both = torch.cat([images, images.flip(3)])
        rows = torch.arange(len(images), device=images.device)
        return both.index_select(0, rows + len(images) * drawn)


@dataclass(frozen=True)
class Hole(Counted):
    """Sets a square of every copy to zero, whose middle is anywhere; it may reach over an edge."""

    number: int = 8
    still: ClassVar[int] = -(2**14)

    def draw(self, count: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """First line and column: int16 [count, 2]."""
        self.check_fits(size)
        middles = [torch.randint(side, (count,), generator=generator) for side in size]
        return (torch.stack(middles, 1) - self.number // 2).short()

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Makes the holes that begin at `drawn` [batch, 2]."""
        sides = zip(images.shape[2:], drawn.unbind(1), strict=True)
        places = [torch.arange(n, device=images.device) - first[:, None] for n, first in sides]
        down, right = ((place >= 0) & (place < self.number) for place in places)
        return images.masked_fill((down[:, :, None] & right[:, None, :])[:, None], 0)
