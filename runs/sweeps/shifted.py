"""Images for the equal-cost sweeps: the name of a split -> standardised, more to train on.

Seven copies beside each training image, shifted by up to two pixels each way, where mirror images
mean the same also mirrored at random. Drawn once, so that a batch is the same whoever looks at it;
validation and test images are not moved. Then every channel has mean 0 and standard deviation 1
over the training images: on pixels as they are, all of them positive, small networks hardly learn
SVHN. Used as `dataset="runs.sweeps.shifted:cifar10"`.
"""

import dataclasses

import torch
from torch import Tensor

from ccenv.data import Split, load_split
from ccenv.seeding import stream

MAX_SHIFT = 2
NUM_COPIES = 7


def mnist(split: str) -> Split:
    """MNIST, shifted."""
    return prepared("mnist", split, mirror=False)


def cifar10(split: str) -> Split:
    """CIFAR-10, shifted and mirrored."""
    return prepared("cifar10", split, mirror=True)


def svhn(split: str) -> Split:
    """SVHN, shifted."""
    return prepared("svhn", split, mirror=False)


def mixed(split: str) -> Split:
    """The mixture of MNIST, CIFAR-10 and SVHN, shifted."""
    return prepared("mixed", split, mirror=False)


def prepared(dataset: str, split: str, mirror: bool) -> Split:
    """A split with its copies, standardised by the training images when it is drawn."""
    part = with_copies(dataset, split, mirror)
    mean, sd = scale_of(load_split(dataset, "train"))
    return dataclasses.replace(part, mean=mean, sd=sd)


def scale_of(train: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the training images."""
    full = 255 if train.images.dtype == torch.uint8 else 1
    # Channel by channel: all of a data set as float64 is a gigabyte.
    means, sds = zip(*(of_channel(c.double() / full) for c in train.images.unbind(1)), strict=True)
    return torch.tensor(means), torch.tensor(sds)


def of_channel(pixels: Tensor) -> tuple[float, float]:
    """Mean and standard deviation; a channel of one value is divided by next to nothing."""
    return float(pixels.mean()), max(float(pixels.std()), 1e-6)


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
