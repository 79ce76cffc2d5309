"""One part of a data set: inputs and labels, and the folders where data sets and caches lie."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ccenv.base.user_cache import user_cache
from ccenv.data.fitted_transforms import PART, Fitted, all_through, through
from ccenv.data.rows import Rows
from ccenv.data.transforms import Halve, as_floats
from ccenv.sparse.cpu.buffers import kept_memory

SPLITS = ("train", "validation", "test")
NUM_SHOWN = 16
"""Images by which transforms are judged."""
KEPT_BYTES = 2**29
"""Moved copies that take no more memory than this are made once instead of at each draw."""


@dataclass(frozen=True)
class Split:
    """Inputs and labels of one part of a data set, kept as stored and converted when drawn."""

    images: Tensor | Rows
    """[n, ...]: images [n, channels, height, width] or other features, uint8 in 0..255 or float32;
    or windows of symbols int64 [n, length]; `Rows` where they are read when they are drawn."""
    labels: Tensor
    """[rows] int64 (int16 where there are many) in 0..num_classes-1; row i shows image i
    modulo n."""
    num_classes: int
    """number of classes of the whole data set."""
    transforms: tuple[Fitted, ...] = ()
    """what images go through when they are drawn, one after the other."""

    def __len__(self) -> int:
        """Number of rows: of images, and of their moved copies."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one input as it is drawn, (channels, height, width) of images."""
        if not self.transforms:
            return tuple(self.images.shape[1:])
        first = torch.zeros(1, dtype=torch.int64, device=self.images.device)
        return tuple(through(self.transforms, self.images[:1], first).shape[1:])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Draws inputs [batch, ...] and labels int64 [batch] by their rows, int64 [batch].

        Bytes become float32 as shares of 255; float32 and symbols (int64) stay as they are.

        Raises:
            ValueError: if inputs that are read when they are drawn are no such inputs.
        """
        # index_select copies whole rows, many times faster than an index in brackets.
        first = indices if len(self.images) == len(self.labels) else indices % len(self.images)
        images = self.images.index_select(0, first)
        images = floats_of(through(self.transforms, images, indices))
        return images, self.labels.index_select(0, indices).long()

    def to(self, device: str | torch.device) -> "Split":
        """Copies images and labels to a device; on their own device nothing is copied."""
        transforms = tuple(transform.to(device) for transform in self.transforms)
        return Split(self.images.to(device), self.labels.to(device), self.num_classes, transforms)

    def tensors(self) -> Iterator[Tensor]:
        """All that a batch depends on; of transforms also what they make of the first images.

        Inputs that are read when they are drawn come part by part, and only once.
        """
        if isinstance(self.images, Rows):
            yield from self.images.parts()
        else:
            yield self.images
        yield self.labels
        for transform in self.transforms:
            yield torch.tensor([*transform.name.encode()], dtype=torch.uint8)
            yield from transform.tensors
        if self.transforms:
            few = torch.arange(min(NUM_SHOWN, len(self)), device=self.images.device)
            yield self.batch(few)[0]


def floats_of(images: Tensor) -> Tensor:
    """`as_floats` of a batch, in memory of a batch before it where that is free: [batch, ...]."""
    if images.dtype != torch.uint8 or not images.is_cpu or not images.is_contiguous():
        return as_floats(images)
    rows, *shape = images.shape
    return kept_memory(rows, math.prod(shape)).view(images.shape).copy_(images).div_(255)


def transformed(split: Split, transforms: Sequence[Fitted]) -> Split:
    """A split whose images go through fitted transforms, a row for each image and moved copy."""
    images, rest = split.images, list(transforms)
    while rest and isinstance(rest[0].function, Halve) and isinstance(images, Tensor):
        # Once for all draws: halves take a quarter of the memory, floats would take four times.
        images = all_through(rest[:1], images)
        del rest[0]
    tables = [table for one in rest if one.is_random for table in one.tensors]
    num_rows = len(tables[0]) if tables else len(images)
    labels = split.labels.repeat(num_rows // len(images))
    if isinstance(images, Tensor):
        images, rest = moved_once(images, rest, num_rows)
    return Split(images, labels, split.num_classes, tuple(rest))


def moved_once(
    images: Tensor, transforms: list[Fitted], num_rows: int
) -> tuple[Tensor, list[Fitted]]:
    """Moves and halves small images once, as long as they stay bytes: draws then take less time.

    Returns:
        Images, one a row where they were moved, and the transforms that are left.
    """
    first, bytes_to = images[:1], 0
    for number, transform in enumerate(transforms, start=1):
        first = transform(first, torch.zeros(1, dtype=torch.int64))
        if first.dtype != torch.uint8:
            break
        bytes_to = number
    leading = transforms[:bytes_to]
    one = through(leading, images[:1], torch.zeros(1, dtype=torch.int64))
    if not any(t.is_random for t in leading) or one.nbytes * num_rows > KEPT_BYTES:
        return images, transforms
    parts = [
        through(leading, images.index_select(0, rows % len(images)), rows)
        for rows in torch.arange(num_rows).split(PART)
    ]
    return torch.cat(parts), transforms[bytes_to:]


def data_root() -> Path:
    """Folder of the data sets: `CCENV_DATA`, else `data` in the folder of `user_cache`."""
    return Path(os.environ.get("CCENV_DATA") or user_cache() / "data").expanduser()


def cut(split: str, images: Tensor, labels: Tensor, num_classes: int, num_train: int) -> Split:
    """Cuts a training set in its first `num_train` images and the rest, which validates."""
    piece = slice(None, num_train) if split == "train" else slice(num_train, None)
    return Split(images[piece], labels[piece], num_classes)
