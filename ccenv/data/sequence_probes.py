"""Sequences in which a decision comes back, to tell whether agents credit over time.

`documents`: an expert that was loaded lies there for the tokens behind it. `staleness`: a summary
that was refreshed stays fresh for a while. The networks of `ccenv.networks.sequence_probes` answer
for them, and say what the best policies earn.
"""

import numpy as np
import torch

from ccenv.base.seeding import stream_seed
from ccenv.data.split import Split

SIZES = {"train": 2048, "validation": 512, "test": 1024}
"""Sequences of each split."""
NUM_KINDS, KINDS_OF_DOCUMENT, NUM_EXPERTS, TOKENS = 12, 3, 8, 16
PLACES, PATCH = 24, 8
"""Positions of a sequence, and of a patch."""
STALE_PROBABILITY, NOISE = 0.3, 0.8


def qualities() -> np.ndarray:
    """How well each expert answers each kind of token: float64 [kinds, experts] in (0, 1)."""
    draws = np.random.default_rng(stream_seed(0, "qualities of experts"))
    return draws.beta(0.7, 0.7, (NUM_KINDS, NUM_EXPERTS))


def documents(split: str) -> Split:
    """Documents of 16 tokens, each of one of the three kinds that its document has, of twelve.

    An input is one token: the experts' qualities for it (8 columns), its kind (12), the kinds of
    the document (12), and its place in [0, 1). The label is 1: the network of the same name gives
    it the probability that the chosen expert is right.
    """
    draws = np.random.default_rng(stream_seed(0, f"documents of {split}"))
    count = SIZES[split]
    # The first of a random order are a random choice without repeats.
    own = draws.random((count, NUM_KINDS)).argsort(axis=1)[:, :KINDS_OF_DOCUMENT]
    kinds = np.take_along_axis(own, draws.integers(KINDS_OF_DOCUMENT, size=(count, TOKENS)), 1)
    every = np.eye(NUM_KINDS)
    there = every[own].sum(axis=1)[:, None].repeat(TOKENS, axis=1)
    places = np.broadcast_to(np.arange(TOKENS) / TOKENS, kinds.shape)[..., None]
    inputs = np.concatenate([qualities()[kinds], every[kinds], there, places], axis=2)
    rows = torch.from_numpy(inputs).float().flatten(0, 1)
    return Split(rows, torch.ones(len(rows), dtype=torch.int64), 2, together=TOKENS)


def staleness(split: str) -> Split:
    """Sequences of 24 positions in patches of 8, at each of which a summary may become stale.

    An input is one position: whether the summary becomes stale (probability 0.3), the noise of
    what is seen of that (normal, standard deviation 0.8), and its place in the patch, one-hot. The
    label is 1, as of `documents`.
    """
    draws = np.random.default_rng(stream_seed(0, f"staleness of {split}"))
    shape = SIZES[split], PLACES
    events = draws.random(shape) < STALE_PROBABILITY
    noise = NOISE * draws.standard_normal(shape)
    places = np.broadcast_to(np.eye(PATCH)[np.arange(PLACES) % PATCH], (*shape, PATCH))
    inputs = np.concatenate([events[..., None], noise[..., None], places], axis=2)
    rows = torch.from_numpy(inputs).float().flatten(0, 1)
    return Split(rows, torch.ones(len(rows), dtype=torch.int64), 2, together=PLACES)
