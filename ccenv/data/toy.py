"""Data sets without a download: digits, noise, parity."""

from pathlib import Path

import numpy as np
import torch

from ccenv.base.seeding import stream
from ccenv.data.registry import SPLITS
from ccenv.data.split import Split

SIZES = {"train": 8000, "validation": 1000, "test": 2000}
"""of parity."""
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


def digits(split: str) -> Split:
    """1,797 handwritten digits of 8 x 8 pixels, in the order of scikit-learn's `load_digits`.

    E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; the test part, shades 0..16.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as stored:
        pixels, answers = stored["images"], stored["labels"]
    order = torch.randperm(len(answers), generator=stream(0, "digits")).numpy()
    images = torch.from_numpy(pixels[order]).float().unsqueeze(1) / 16
    labels = torch.from_numpy(answers[order]).long()
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
