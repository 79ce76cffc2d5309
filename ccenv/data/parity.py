"""Parity: vectors with k of n entries -1 or 1 and the rest 0 -> whether the number of 1s is odd.

The first task of Graves 2016 (arXiv 1603.08983, section 3.1), where k is drawn from 1..n: how many
entries there are is how hard an input is.
"""

import torch

from ccenv.base.seeding import stream
from ccenv.data.split import SPLITS, Split

SIZES = {"train": 8000, "validation": 1000, "test": 2000}
NUM_ENTRIES = 6
"""The paper has 64, which takes it a hundred million inputs to learn."""


def parity(split: str, num_entries: int = NUM_ENTRIES) -> Split:
    """One split: float32 [inputs, num_entries] of -1, 0 and 1; labels 0 and 1."""
    generator = stream(SPLITS.index(split), "parity")
    shape = (SIZES[split], num_entries)
    signs = 2.0 * torch.randint(2, shape, generator=generator) - 1
    number = torch.randint(1, num_entries + 1, shape[:1], generator=generator)
    # A random order of the entries: the first so many are not 0.
    place = torch.rand(shape, generator=generator).argsort(dim=1)
    inputs = torch.where(place < number[:, None], signs, 0.0)
    return Split(inputs, (inputs > 0).sum(dim=1) % 2, 2)
