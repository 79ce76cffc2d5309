"""Training images shifted and mirrored beforehand: the name of a split -> four times the images.

Three copies beside each image, shifted by up to two pixels each way, where mirror images mean the
same also mirrored at random. Drawn once, so that a batch is the same whoever looks at it;
validation and test images stay as they are. Used as `dataset="runs.sweeps.shifted:cifar10"`.
"""

import torch
from torch import Tensor

from ccenv.data import Split, load_split
from ccenv.seeding import stream

MAX_SHIFT = 2
NUM_COPIES = 3


def cifar10(split: str) -> Split:
    """CIFAR-10, shifted and mirrored."""
    return with_copies("cifar10", split, mirror=True)


def svhn(split: str) -> Split:
    """SVHN, shifted."""
    return with_copies("svhn", split, mirror=False)


def mixed(split: str) -> Split:
    """The mixture of MNIST, CIFAR-10 and SVHN, shifted."""
    return with_copies("mixed", split, mirror=False)


def with_copies(dataset: str, split: str, mirror: bool) -> Split:
    """A split with moved copies of its images, if it is the training split."""
    part = load_split(dataset, split)
    if split != "train":
        return part
    generator = stream(0, f"shifted {dataset}")
    copies = [moved(part.images, generator, mirror) for _ in range(NUM_COPIES)]
    labels = part.labels.repeat(1 + NUM_COPIES)
    return Split(torch.cat([part.images, *copies]), labels, part.num_classes)


def moved(images: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    """Shifts every image by its own number of pixels, black behind it, and mirrors half of them.

    Args:
        images: [n, channels, height, width] of any type.
        generator: of the draws.
        mirror: whether to mirror.
    """
    count, (height, width) = len(images), images.shape[2:]
    padded = torch.nn.functional.pad(images, (MAX_SHIFT,) * 4)
    shifts = torch.randint(2 * MAX_SHIFT + 1, (2, count), generator=generator)
    result = torch.empty_like(images)
    for down in range(2 * MAX_SHIFT + 1):
        for right in range(2 * MAX_SHIFT + 1):
            chosen = ((shifts[0] == down) & (shifts[1] == right)).nonzero()[:, 0]
            window = padded[chosen, :, down : down + height, right : right + width]
            result[chosen] = window
    if mirror:
        chosen = (torch.rand(count, generator=generator) < 0.5).nonzero()[:, 0]
        result[chosen] = result[chosen].flip(3)
    return result
