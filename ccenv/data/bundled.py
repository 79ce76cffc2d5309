"""Data sets that need no files: the name of a split -> scikit-learn's digits, noise, the probe."""

import torch

from ccenv.base.seeding import stream
from ccenv.data.probe import NUM_LABELS, probe_images
from ccenv.data.split import SPLITS, Split


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
    """The task of `ccenv.data.probe`, whose optimal masks are known."""
    size = {"train": 1024}.get(split, 256)
    return Split(*probe_images(size, seed=SPLITS.index(split)), num_classes=NUM_LABELS + 1)
