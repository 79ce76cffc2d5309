"""One part of a data set as tensors, and the folders where data sets and caches lie."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ccenv.data.moves import Moves

SPLITS = ("train", "validation", "test")
Scale = tuple[Tensor, Tensor]
"""Mean and standard deviation [channels] float32."""


@dataclass(frozen=True)
class Split:
    """Images and labels of one part of a data set, kept as stored and converted when drawn."""

    images: Tensor
    """[n, channels, height, width], uint8 in 0..255 or float32."""
    labels: Tensor
    """[n] int64 in 0..num_classes-1; with `moves` as many as those have rows."""
    num_classes: int
    """number of classes of the whole data set."""
    mean: Tensor | None = None
    """[channels] float32, taken off every pixel of a channel when drawn; bytes are shares of 255
    by then."""
    sd: Tensor | None = None
    """[channels] float32 above 0, that pixels are divided by after that; None beside no mean."""
    moves: Moves | None = None
    """row i is image i modulo n, moved when drawn; holes are zeros, after mean and sd. None: a row
    is an image."""

    def __len__(self) -> int:
        """Number of rows: of images, or of moved copies of them."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def scale(self) -> Scale | None:
        """Mean and standard deviation of the channels, None where pixels stay as they are."""
        return None if self.mean is None or self.sd is None else (self.mean, self.sd)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Draws images as float32 [batch, channels, height, width] and labels int64 [batch].

        Args:
            indices: int64 [batch], which images.
        """
        # index_select copies whole rows, many times faster than an index in brackets.
        images = self.images.index_select(0, indices % len(self.images))
        if self.moves is not None:
            images = self.moves.shifted(images, indices)
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        if self.scale is not None:
            images = standardised(images, self.scale)
        if self.moves is not None:
            images = self.moves.holed(images, indices)
        return images, self.labels.index_select(0, indices)

    def to(self, device: str | torch.device) -> "Split":
        """Copies images and labels to a device; on their own device nothing is copied."""
        mean, sd = (part if part is None else part.to(device) for part in (self.mean, self.sd))
        moves = None if self.moves is None else self.moves.to(device)
        images, labels = self.images.to(device), self.labels.to(device)
        return Split(images, labels, self.num_classes, mean, sd, moves)

    def tensors(self) -> list[Tensor]:
        """All that a batch depends on."""
        moves = () if self.moves is None else self.moves.tensors()
        parts = (self.images, self.labels, self.mean, self.sd, *moves)
        return [part for part in parts if part is not None]


def standardised(images: Tensor, scale: Scale) -> Tensor:
    """Takes a channel's mean off and divides by its standard deviation.

    Args:
        images: [batch, channels, height, width], or flat [batch, in_features], float32.
        scale: of each channel.
    """
    mean, sd = (part.view(-1, 1) for part in scale)
    by_channel = images.reshape(len(images), len(mean), -1)
    return by_channel.sub(mean).div_(sd).view(images.shape)


def data_root() -> Path:
    """Folder of the data sets: `CCENV_DATA`, else `data` in the folder of `user_cache`."""
    return Path(os.environ.get("CCENV_DATA") or user_cache() / "data").expanduser()


def user_cache() -> Path:
    """Folder for what can be made again: `CCENV_CACHE`, else `ccenv` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CCENV_CACHE") or Path(base) / "ccenv").expanduser()


def check_split(split: Split, name: str) -> Split:
    """Refuses images that are not finite, labels out of range, and shapes that do not match.

    Raises:
        TypeError: if it is no `Split` at all.
        ValueError: if the split cannot be used; the message names the data set.
    """
    if not all(hasattr(split, field) for field in ("images", "labels", "num_classes")):
        raise TypeError(
            f"dataset {name!r}: expected a ccenv.data.Split, got {type(split).__name__}; return "
            "Split(images, labels, num_classes)"
        )
    images, labels = split.images, split.labels
    check_moves(split, name)
    moves: Moves | None = getattr(split, "moves", None)
    rows = len(images if moves is None else moves)
    if images.ndim != 4 or labels.ndim != 1 or rows != len(labels) or not images.numel():
        raise ValueError(
            f"dataset {name!r}: expected images [n, channels, height, width] and labels [n], n > 0,"
            f" got {list(images.shape)} and {list(labels.shape)}"
        )
    if images.dtype not in (torch.uint8, torch.float32) or labels.dtype != torch.int64:
        raise ValueError(
            f"dataset {name!r}: expected images uint8 or float32 and labels int64, "
            f"got {images.dtype} and {labels.dtype}"
        )
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise ValueError(
            f"dataset {name!r}: expected finite pixels, got NaN or infinity; clean the images"
        )
    check_scale(split, name)
    if int(labels.min()) < 0 or int(labels.max()) >= split.num_classes:
        raise ValueError(
            f"dataset {name!r}: expected labels in 0..{split.num_classes - 1}, "
            f"got {int(labels.min())}..{int(labels.max())}"
        )
    return split


def check_moves(split: Split, name: str) -> None:
    """Refuses a table of moves that does not fit the images.

    Raises:
        ValueError: naming the data set.
    """
    moves: Moves | None = getattr(split, "moves", None)
    if moves is None:
        return
    rows = len(split.labels)
    parts = [list(part.shape) for part in (moves.shift, moves.mirrored, moves.hole)]
    if parts != [[rows, 2], [rows], [rows, 2]] or rows % max(1, len(split.images)):
        raise ValueError(
            f"dataset {name!r}: expected moves of a multiple of the {len(split.images)} images, a "
            f"line for each of the {rows} labels, got {parts[0]}, {parts[1]} and {parts[2]}"
        )


def check_scale(split: Split, name: str) -> None:
    """Refuses a mean and standard deviation that are not one of each for each channel.

    Raises:
        ValueError: naming the data set.
    """
    mean: Tensor | None = getattr(split, "mean", None)
    sd: Tensor | None = getattr(split, "sd", None)
    if mean is None and sd is None:
        return
    shape = [split.images.shape[1]]
    if mean is None or sd is None or [*mean.shape] != shape or [*sd.shape] != shape:
        found = [None if part is None else list(part.shape) for part in (mean, sd)]
        raise ValueError(
            f"dataset {name!r}: expected mean and sd {shape} of the channels, or neither, "
            f"got {found[0]} and {found[1]}"
        )
    if not bool(mean.isfinite().all()) or not bool((sd.isfinite() & (sd > 0)).all()):
        raise ValueError(
            f"dataset {name!r}: expected finite means and sd above 0, got {mean} and {sd}"
        )


def check_alike(first: Split, second: Split, name: str) -> None:
    """Refuses two splits of one data set that no single network could classify.

    Raises:
        ValueError: if image shapes or numbers of classes differ.
    """
    forms = [(split.image_shape, split.num_classes) for split in (first, second)]
    if forms[0] != forms[1]:
        raise ValueError(
            f"dataset {name!r}: expected the same image shape and number of classes in every "
            f"split, got {forms[0][0]}, {forms[0][1]} and {forms[1][0]}, {forms[1][1]}"
        )


def cut(split: str, images: Tensor, labels: Tensor, num_classes: int, num_train: int) -> Split:
    """Cuts a training set in its first `num_train` images and the rest, which validates."""
    piece = slice(None, num_train) if split == "train" else slice(num_train, None)
    return Split(images[piece], labels[piece], num_classes)
