"""Images of half their height and width: the name of a split -> averages over 2 x 2 pixels.

A first layer then costs a quarter of its MACs, for dense networks and conditional ones alike.
Rows on them stand beside rows on whole images of the same data set, see `WHOLE`. Used as
`dataset="runs.sweeps.halved:mnist"`; those of the colour sweeps are moved first, and standardised
as halves.
"""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from ccenv.data import Split, load_split
from runs.sweeps.shifted import scale_of, with_copies

WHOLE: Mapping[str, str] = {
    "runs.sweeps.halved:mnist": "mnist",
    "runs.sweeps.halved:cifar10": "runs.sweeps.shifted:cifar10",
    "runs.sweeps.halved:svhn": "runs.sweeps.shifted:svhn",
    "runs.sweeps.halved:mixed": "runs.sweeps.shifted:mixed",
}
"""Name of halved images -> of the whole ones: the same test images, so errors compare."""
CHUNK = 4096
"""Images halved at a time: as float32 all training images of a sweep are gigabytes."""


def mnist(split: str) -> Split:
    """MNIST, 14 x 14."""
    part = load_split("mnist", split)
    return dataclasses.replace(part, images=halves(part.images))


def cifar10(split: str) -> Split:
    """CIFAR-10, shifted and mirrored, then 16 x 16."""
    return prepared("cifar10", split, mirror=True)


def svhn(split: str) -> Split:
    """SVHN, shifted, then 16 x 16."""
    return prepared("svhn", split, mirror=False)


def mixed(split: str) -> Split:
    """The mixture of MNIST, CIFAR-10 and SVHN, shifted, then 16 x 16."""
    return prepared("mixed", split, mirror=False)


def prepared(dataset: str, split: str, mirror: bool) -> Split:
    """A split with its moved copies, halved and standardised by the halved training images."""
    part = with_copies(dataset, split, mirror)
    train = load_split(dataset, "train")
    mean, sd = scale_of(dataclasses.replace(train, images=halves(train.images)))
    return dataclasses.replace(part, images=halves(part.images), mean=mean, sd=sd)


def halves(images: Tensor) -> Tensor:
    """Averages over 2 x 2 pixels; bytes stay bytes, rounded.

    Args:
        images: [n, channels, height, width], uint8 or float; of an odd height or width the last
            row or column is left out.

    Returns:
        [n, channels, height // 2, width // 2], of the same type.
    """
    return torch.cat([_halves(part) for part in images.split(CHUNK)])


def _halves(images: Tensor) -> Tensor:
    averages = torch.nn.functional.avg_pool2d(images.float(), 2)
    whole_numbers = not images.is_floating_point()
    return (averages.round() if whole_numbers else averages).to(images.dtype)
