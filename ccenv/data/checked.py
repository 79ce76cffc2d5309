"""Checks of splits: (a split, name of its data set) -> the split, or an error that helps."""

import math
from numbers import Integral

import torch
from torch import Tensor

from ccenv.base.values import lacking, shown
from ccenv.data.rows import check_finite
from ccenv.data.split import NUM_SHOWN, Split

INPUT_TYPES = (torch.uint8, torch.float32, torch.int64)
MOST_CLASSES = 1_000_000
"""Labels are numbers of classes, each of which a network answers for."""
LABEL_TYPES = (torch.int64, torch.int16)


def check_split(split: Split, name: str) -> Split:
    """Refuses images that are not finite, labels out of range, and shapes that do not match.

    Raises:
        TypeError, ValueError: if it is no `Split`, or one that cannot be used.
    """
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
    check_form(split, name)
    check_classes(split, name)
    images, labels = split.images, split.labels
    # Of inputs that are read when they are drawn the first are looked at, and each as it is drawn.
    seen = images if isinstance(images, Tensor) else images[:NUM_SHOWN]
    check_finite(seen, name)
    if seen.dtype == torch.int64 and int(seen.min()) < 0:
        raise ValueError(
            f"dataset {name!r}: expected symbols of at least 0, got {int(seen.min())}; "
            "renumber them"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= split.num_classes:
        raise ValueError(
            f"dataset {name!r}: expected labels in 0..{split.num_classes - 1}, "
            f"got {int(labels.min())}..{int(labels.max())}"
        )
    return split


def check_classes(split: Split, name: str) -> None:
    """Refuses a number of classes that is none, or that no network answers for (ValueError)."""
    number = split.num_classes
    is_whole = isinstance(number, Integral) and not isinstance(number, bool)
    if not is_whole or not 1 <= number <= MOST_CLASSES:
        raise ValueError(
            f"dataset {name!r}: expected 1 to {MOST_CLASSES:,} classes, got {shown(number)}, and "
            f"labels {int(split.labels.min())}..{int(split.labels.max())}; renumber them, for "
            "instance with numpy.unique(y, return_inverse=True)"
        )


def check_form(split: Split, name: str) -> None:
    """Refuses shapes and types that are no inputs with a label each (ValueError)."""
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
