"""MNIST, CIFAR-10 and SVHN as one task: the name of a split -> 32 x 32 colour, 30 classes.

The case that conditional computation is for: a small dense network has to share its units between
the three domains.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.data.real import NUM_CLASSES, cifar10, mnist, svhn
from ccenv.data.split import Split

SIDE, CHANNELS = 32, 3
SOURCES: dict[str, Callable[[str], Split]] = {"mnist": mnist, "cifar10": cifar10, "svhn": svhn}
"""Domains in the order of their labels: 0 to 9, 10 to 19, 20 to 29."""


def mixed(split: str) -> Split:
    """Equal shares of the three data sets, as many images of each as the smallest has.

    Which images, and their order, depend on the split's name alone. A part comes from the same
    part of each source, so no image is in two.

    Raises:
        FileNotFoundError: if one of the three is not there.
        ValueError: if one of them is damaged or no 8-bit image.
    """
    parts = {name: source(split, name) for name in SOURCES}
    share = min(len(part) for part in parts.values())
    images, labels = [], []
    for domain, (name, part) in enumerate(parts.items()):
        generator = stream(0, f"mixed {name} {split}")
        chosen = torch.randperm(len(part), generator=generator)[:share]
        images.append(as_colour(part.images.index_select(0, chosen), name))
        labels.append(part.labels[chosen] + domain * NUM_CLASSES)
    order = torch.randperm(share * len(parts), generator=stream(0, f"mixed order {split}"))
    num_classes = NUM_CLASSES * len(parts)
    return Split(torch.cat(images)[order], torch.cat(labels)[order], num_classes)


def source(split: str, name: str) -> Split:
    """One of the three; says that it is wanted for the mixture where it is absent."""
    try:
        return SOURCES[name](split)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"dataset 'mixed' needs {', '.join(SOURCES)}; of these {error}"
        ) from error


def as_colour(images: Tensor, name: str) -> Tensor:
    """Brings uint8 [n, 1 or 3, height, width] to [n, 3, 32, 32]: a black border, grey as colour.

    Raises:
        ValueError: if the pixels are no bytes or the images too large.
    """
    channels, height, width = images.shape[1:]
    if images.dtype != torch.uint8 or channels not in (1, CHANNELS) or max(height, width) > SIDE:
        raise ValueError(
            f"dataset 'mixed': expected uint8 images of 1 or {CHANNELS} channels and at most "
            f"{SIDE} x {SIDE} pixels in {name!r}, got {images.dtype} {list(images.shape[1:])}"
        )
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    padding = (left, SIDE - width - left, top, SIDE - height - top)
    return torch.nn.functional.pad(images, padding).expand(-1, CHANNELS, -1, -1)
