"""Data sets that need no files: scikit-learn's digits, noise, parity, the probe, surprises."""

from typing import Any

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.data.registry import SPLITS
from ccenv.data.split import Split

SIZES = {"train": 8000, "validation": 1000, "test": 2000}
"""of parity and of surprises."""
NUM_ENTRIES = 6
"""The paper has 64, which takes it a hundred million inputs to learn."""


def parity(split: str, num_entries: int = NUM_ENTRIES) -> Split:
    """Float32 [inputs, num_entries], k of them -1 or 1 -> whether the number of 1s is odd.

    The first task of Graves 2016 (arXiv 1603.08983, section 3.1), where k is drawn from 1..n: how
    many entries there are is how hard an input is.
    """
    generator = stream(SPLITS.index(split), "parity")
    shape = (SIZES[split], num_entries)
    signs = 2.0 * torch.randint(2, shape, generator=generator) - 1
    number = torch.randint(1, num_entries + 1, shape[:1], generator=generator)
    # A random order of the entries: the first so many are not 0.
    place = torch.rand(shape, generator=generator).argsort(dim=1)
    inputs = torch.where(place < number[:, None], signs, 0.0)
    return Split(inputs, (inputs > 0).sum(dim=1) % 2, 2)


NUM_DOMAINS = 4
NUM_LABELS = 2
PROBE_SETTINGS: dict[str, Any] = {
    "dataset": "probe",
    "network": "probe",
    "num_blocks": (NUM_DOMAINS, NUM_DOMAINS),
    "block_size": NUM_LABELS,
    "activation": "relu",
}
"""Settings of an environment that is the probe."""


def probe_images(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy one-hot (domain, label) pairs: [num_images, 1, 1, 8] in [0, 1], labels 0 and 1."""
    generator = stream(seed, "probe")
    domains = torch.randint(NUM_DOMAINS, (num_images,), generator=generator)
    labels = torch.randint(NUM_LABELS, (num_images,), generator=generator)
    images = 0.1 * torch.rand(num_images, NUM_DOMAINS * NUM_LABELS, generator=generator)
    images[torch.arange(num_images), domains * NUM_LABELS + labels] += 0.9
    return images.view(num_images, 1, 1, -1), labels


def probe_optimal_masks(images: Tensor, num_layers: int) -> list[Tensor]:
    """The one block a layer that each image needs: bool [batch, 4] each, proved best by a test."""
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [
        torch.nn.functional.one_hot((domain + layer) % NUM_DOMAINS, NUM_DOMAINS).bool()
        for layer in range(num_layers)
    ]


def probe_unit_masks(images: Tensor) -> list[Tensor]:
    """The one unit of four that each image needs of `probe-residual`: four bool [batch, 1]."""
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [(domain == unit)[:, None] for unit in range(NUM_DOMAINS)]


def probe_exit_masks(images: Tensor) -> list[Tensor]:
    """Where each image should stop in `probe-exit`: three bool [batch, 1], True = go on."""
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [(domain > number)[:, None] for number in range(NUM_DOMAINS - 1)]


def digits(split: str) -> Split:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, bundled with the library."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=stream(0, "digits")).numpy()
    images = torch.from_numpy(bunch.images[order]).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bunch.target[order]).long()
    start, stop = {"train": (0, 1097), "validation": (1097, 1297), "test": (1297, 1797)}[split]
    return Split(images[start:stop], labels[start:stop], 10)


def synthetic(split: str) -> Split:
    """Ten noisy prototypes of 16 x 16 pixels: learnable, free of files, the same everywhere."""
    generator = stream(0, "synthetic prototypes")
    prototypes = torch.rand(10, 1, 16, 16, generator=generator)
    size, generator = {"train": 2000}.get(split, 500), stream(SPLITS.index(split), "synthetic")
    labels = torch.randint(10, (size,), generator=generator)
    noise = torch.randn(size, 1, 16, 16, generator=generator)
    return Split((prototypes[labels] + 0.5 * noise).clamp(0, 1), labels, 10)


def probe(split: str) -> Split:
    """A tiny task with masks known to be optimal, to tell whether agents learn.

    An image carries one of `NUM_DOMAINS` domains and one of two labels. Only block d of the first
    gated layer reads domain d, and only block d + 1 (cyclic) of the second layer passes it on;
    every other block adds nothing. A classifier that sees nothing answers with a third class, which
    is always wrong. So one known block a layer is right for each image, and the others are waste.
    """
    size = {"train": 1024}.get(split, 256)
    return Split(*probe_images(size, seed=SPLITS.index(split)), num_classes=NUM_LABELS + 1)


NUM_KEYS = 8
CALM, FIRST_WAIT, SECOND_WAIT = 0, NUM_KEYS + 1, NUM_KEYS + 2
NUM_SYMBOLS = NUM_KEYS + 3
LENGTH = 24
"""Symbols of a window."""
BURST = 4
"""Symbols of a surprise: the key, two of waiting, the key."""


def surprise(split: str, probability: float = 0.1, length: int = LENGTH) -> Split:
    """Calm texts in which, now and then, a key comes, two symbols of waiting, and the key again.

    Nothing tells when a key comes or which; what follows is certain for whoever remembers it. So
    a reader in patches is in doubt at one place only: behind the second symbol of waiting, where
    the key lies in the patch that is not read yet. Not from a paper.

    Args:
        split: "train", "validation" or "test".
        probability: of a key behind a calm symbol, or behind a surprise.
        length: symbols of a window.

    Returns:
        Windows int64 [inputs, length] of 11 symbols, and the symbol behind.
    """
    generator = stream(SPLITS.index(split), "surprises")
    rows, long = SIZES[split], length + 1
    symbols = torch.zeros(rows, long + BURST, dtype=torch.int64)
    starts = torch.rand(rows, long, generator=generator) < probability
    keys = torch.randint(1, NUM_KEYS + 1, (rows, long), generator=generator)
    free = torch.zeros(rows, dtype=torch.int64)
    for place in range(long):
        begins = (starts[:, place] & (free <= place)).nonzero().squeeze(1)
        key = keys[begins, place]
        waits = [torch.full_like(key, wait) for wait in (FIRST_WAIT, SECOND_WAIT)]
        symbols[begins, place : place + BURST] = torch.stack([key, *waits, key], dim=1)
        free[begins] = place + BURST
    return Split(symbols[:, :length].clone(), symbols[:, length].clone(), NUM_SYMBOLS)
