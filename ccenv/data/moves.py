"""Images that are moved when drawn: a table of shifts, mirror images and holes, one line a row.

The table is drawn once, so that a row shows the same picture whoever looks at it and however often,
and a data set of many moved copies takes no more memory than its images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HOLE_FREE = -(2**14)
"""A hole that begins here covers nothing."""


@dataclass(frozen=True)
class Moves:
    """How each row's image is moved; on the same device as the images."""

    shift: Tensor
    """[rows, 2] int16, pixels down and right; black behind it."""
    mirrored: Tensor
    """[rows] bool, left and right exchanged, before the shift."""
    hole: Tensor
    """[rows, 2] int16, first row and column of a square hole; it may reach over an edge."""
    hole_size: int
    """pixels of the hole's sides; 0 for none."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.shift)

    def shifted(self, images: Tensor, rows: Tensor) -> Tensor:
        """Mirrors and shifts images.

        Args:
            images: [batch, channels, height, width], of any type.
            rows: int64 [batch], lines of the table.
        """
        height, width = images.shape[2:]
        down, right = self.shift.index_select(0, rows).unbind(1)
        y = torch.arange(height, device=images.device) - down[:, None]
        x = torch.arange(width, device=images.device) - right[:, None]
        inside = inside_of(y, height)[:, :, None] & inside_of(x, width)[:, None, :]
        mirrored = self.mirrored.index_select(0, rows)[:, None]
        x = torch.where(mirrored, width - 1 - x, x)
        flat = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
        places = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        found = images.flatten(2).gather(2, places).view_as(images)
        return found * inside[:, None].to(images.dtype)

    def holed(self, images: Tensor, rows: Tensor) -> Tensor:
        """Sets each image's hole to zero, see `shifted`."""
        if not self.hole_size:
            return images
        height, width = images.shape[2:]
        top, left = self.hole.index_select(0, rows).unbind(1)
        y = torch.arange(height, device=images.device) - top[:, None]
        x = torch.arange(width, device=images.device) - left[:, None]
        size = self.hole_size
        hole = inside_of(y, size)[:, :, None] & inside_of(x, size)[:, None, :]
        return images.masked_fill(hole[:, None], 0)

    def to(self, device: str | torch.device) -> "Moves":
        """Copies the table to a device; on its own device nothing is copied."""
        shift, mirrored, hole = (p.to(device) for p in (self.shift, self.mirrored, self.hole))
        return Moves(shift, mirrored, hole, self.hole_size)

    def tensors(self) -> tuple[Tensor, ...]:
        """All that a row's picture depends on."""
        return self.shift, self.mirrored, self.hole, torch.tensor(self.hole_size)


def inside_of(places: Tensor, size: int) -> Tensor:
    """Whether places are in 0..size-1."""
    return (places >= 0) & (places < size)


def random_moves(
    num_images: int,
    num_copies: int,
    image_size: tuple[int, int],
    *,
    generator: torch.Generator,
    max_shift: int = 0,
    mirror: bool = False,
    hole_size: int = 0,
) -> Moves:
    """A table for images as they are, then for copies of all of them that are moved at random.

    Args:
        num_images: images of the data set.
        num_copies: moved copies of each.
        image_size: height and width in pixels.
        generator: of the draws, on the CPU.
        max_shift: pixels in each direction at most.
        mirror: whether half of the copies are mirrored.
        hole_size: sides of a square hole, whose middle is anywhere (DeVries and Taylor 2017,
            "Improved regularization of convolutional neural networks with cutout", arXiv
            1708.04552); 0 for none.

    Raises:
        ValueError: if a number is negative.
    """
    numbers = {"num_copies": num_copies, "max_shift": max_shift, "hole_size": hole_size}
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"expected {name} of 0 or more, got {number}")
    rows = num_images * num_copies
    shift = torch.randint(-max_shift, max_shift + 1, (rows, 2), generator=generator).short()
    mirrored = (torch.rand(rows, generator=generator) < 0.5) & mirror
    middles = [torch.randint(side, (rows,), generator=generator) for side in image_size]
    hole = (torch.stack(middles, 1) - hole_size // 2).short()
    still = torch.zeros(num_images, 2, dtype=torch.int16)
    return Moves(
        torch.cat([still, shift]),
        torch.cat([torch.zeros(num_images, dtype=torch.bool), mirrored]),
        torch.cat([still + HOLE_FREE, hole]),
        hole_size,
    )
