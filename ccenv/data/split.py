"""One part of a data set: inputs and labels, and the folders where data sets and caches lie."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccenv.base.machine import user_cache
from ccenv.base.values import lacking, shown
from ccenv.data.rows import Rows, check_finite_rows
from ccenv.data.transforms import PART, Fitted, Halve, all_through, as_floats, through
from ccenv.sparse.buffers import kept_memory

NUM_SHOWN = 16
"""Images by which transforms are judged."""
INPUT_TYPES = (torch.uint8, torch.float32, torch.int64)
MOST_CLASSES = 1_000_000
"""Labels are numbers of classes, each of which a network answers for."""
LABEL_TYPES = (torch.int64, torch.int16)
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
    together: int = 1
    """so many neighbouring rows are drawn together, as positions of one sequence."""
    letters: np.ndarray | None = None
    """of a text: the byte of each symbol, uint8 [num_classes], for people to read."""

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
        images = through(self.transforms, images, indices)
        if images.dtype == torch.uint8 and images.is_cpu and images.is_contiguous():
            # In memory of a batch before it, where that is free.
            memory = kept_memory(len(images), math.prod(images.shape[1:])).view(images.shape)
            images = memory.copy_(images).div_(255)
        images = as_floats(images)
        return images, self.labels.index_select(0, indices).long()

    @property
    def most_telling(self) -> Tensor:
        """Number of a row to try a network with, int64 [1]: one with the highest of symbols."""
        if isinstance(self.images, Rows) or self.images.dtype != torch.int64:
            return torch.zeros(1, dtype=torch.int64, device=self.images.device)
        return self.images.flatten(1).amax(dim=1).argmax(keepdim=True)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Numbers of all rows in a random order, int64 [rows]; what belongs together stays so."""
        groups = torch.randperm(len(self) // self.together, generator=generator)
        if self.together == 1:
            return groups
        return (groups[:, None] * self.together + torch.arange(self.together)).flatten()

    def to(self, device: str | torch.device) -> "Split":
        """Copies images and labels to a device; on their own device nothing is copied."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            transforms=tuple(transform.to(device) for transform in self.transforms),
        )

    def tensors(self) -> Iterator[Tensor]:
        """All that a batch depends on; of transforms also what they make of some images."""
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
    """Images that are moved and halved once, where they stay small bytes; the transforms left."""
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


def training_part(
    split: str, images: Tensor, labels: Tensor, num_classes: int, num_train: int
) -> Split:
    """Cuts a training set in its first `num_train` images and the rest, which validates."""
    piece = slice(None, num_train) if split == "train" else slice(num_train, None)
    return Split(images[piece], labels[piece], num_classes)


def check_split(split: Split, name: str) -> Split:
    """Refuses what is no `Split` (TypeError), and what does not fit in it (ValueError)."""
    if lacking(split, "images", "labels", "num_classes"):
        raise TypeError(
            f"dataset {name!r}: expected a ccenv.data.Split, got {type(split).__name__}; return "
            "Split(images, labels, num_classes)"
        )
    if getattr(split, "transforms", ()):
        raise ValueError(
            f"dataset {name!r}: expected images as they are stored, got some with transforms; "
            "name those in the setting transforms"
        )
    images, labels = split.images, split.labels
    sizes = tuple(images.shape)
    if len(sizes) < 2 or tuple(labels.shape) != sizes[:1] or not math.prod(sizes):
        raise ValueError(
            f"dataset {name!r}: expected images [n, channels, height, width] (or other inputs "
            f"[n, ...]) and labels [n], n > 0, got {list(sizes)} and {list(labels.shape)}"
        )
    if images.dtype not in INPUT_TYPES or labels.dtype not in LABEL_TYPES:
        raise ValueError(
            f"dataset {name!r}: expected images uint8 or float32 (symbols: int64) and labels "
            f"int64, got {images.dtype} and {labels.dtype}"
        )
    number, lowest, highest = split.num_classes, int(labels.min()), int(labels.max())
    is_whole = isinstance(number, Integral) and not isinstance(number, bool)
    if not is_whole or not 1 <= number <= MOST_CLASSES:
        raise ValueError(
            f"dataset {name!r}: expected 1 to {MOST_CLASSES:,} classes, got {shown(number)}, and "
            f"labels {lowest}..{highest}; renumber them, for instance with "
            "numpy.unique(y, return_inverse=True)"
        )
    # Of inputs that are read when they are drawn the first are looked at, and each as it is drawn.
    seen = images if isinstance(images, Tensor) else images[:NUM_SHOWN]
    check_finite_rows(seen, name)
    if seen.dtype == torch.int64 and int(seen.min()) < 0:
        raise ValueError(
            f"dataset {name!r}: expected symbols of at least 0, got {int(seen.min())}; "
            "renumber them"
        )
    if lowest < 0 or highest >= number:
        raise ValueError(
            f"dataset {name!r}: expected labels in 0..{number - 1}, got {lowest}..{highest}"
        )
    return split


def check_alike(first: Split, second: Split, name: str) -> None:
    """Refuses two splits whose input shapes or numbers of classes differ (ValueError)."""
    forms = [(split.image_shape, split.num_classes) for split in (first, second)]
    if forms[0] != forms[1]:
        raise ValueError(
            f"dataset {name!r}: expected the same image shape and number of classes in every "
            f"split, got {forms[0][0]}, {forms[0][1]} and {forms[1][0]}, {forms[1][1]}"
        )


def check_transformed(split: Split, name: str) -> Split:
    """Refuses transforms that make no images of images (ValueError)."""
    rows = torch.arange(min(NUM_SHOWN, len(split)))
    images, _ = split.batch(rows)
    is_right = images.ndim == 4 and images.dtype == torch.float32 and len(images) == len(rows)
    if not is_right or not images.numel() or not bool(images.isfinite().all()):
        names = ", ".join(transform.name for transform in split.transforms)
        raise ValueError(
            f"dataset {name!r}: expected transforms ({names}) to make finite float32 images "
            f"[{len(rows)}, channels, height, width], got {images.dtype} {list(images.shape)}"
        )
    return split
