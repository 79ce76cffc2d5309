"""Images for the equal-cost sweeps that no epoch shows twice: the name of a split -> standardised.

As in `runs.sweeps.shifted`, but with a moved copy of each image for every epoch instead of seven in
all, moved further, and made when drawn: conditional networks have many times the weights of dense
ones of their cost and learn a few copies by heart. Used as `dataset="runs.sweeps.moved:cifar10"`.
"""

import dataclasses

from ccenv.data import Split, load_split
from ccenv.data.moves import random_moves
from ccenv.seeding import stream
from runs.sweeps import shifted

NUM_COPIES = 39
"""Beside the image itself: enough for 40 epochs."""
MAX_SHIFT = 3


def cifar10(split: str) -> Split:
    """CIFAR-10, shifted and mirrored."""
    return moved("cifar10", split, mirror=True)


def svhn(split: str) -> Split:
    """SVHN, shifted."""
    return moved("svhn", split, mirror=False)


def mixed(split: str) -> Split:
    """The mixture of MNIST, CIFAR-10 and SVHN, shifted."""
    return moved("mixed", split, mirror=False)


def moved(dataset: str, split: str, mirror: bool) -> Split:
    """A split, with its copies if it is the training split; standardised by the training images."""
    part = load_split(dataset, split)
    mean, sd = shifted.scale_of(load_split(dataset, "train"))
    part = dataclasses.replace(part, mean=mean, sd=sd)
    if split != "train":
        return part
    height, width = part.images.shape[2:]
    moves = random_moves(
        len(part.images),
        NUM_COPIES,
        (height, width),
        generator=stream(0, f"moved {dataset}"),
        max_shift=MAX_SHIFT,
        mirror=mirror,
    )
    return dataclasses.replace(part, labels=part.labels.repeat(1 + NUM_COPIES), moves=moves)
