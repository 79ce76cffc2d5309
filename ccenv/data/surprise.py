"""Surprises: calm texts in which, now and then, a key comes, two symbols of waiting, and it again.

Nothing tells when a key comes or which; what follows is certain for whoever remembers it. So a
reader in patches is in doubt at one place only: behind the second symbol of waiting, where the key
lies in the patch that is not read yet. Made for the trial of refreshes by entropy against refreshes
by chance; not from a paper.
"""

import torch

from ccenv.base.seeding import stream
from ccenv.data.split import SPLITS, Split

SIZES = {"train": 8000, "validation": 1000, "test": 2000}
NUM_KEYS = 8
CALM, FIRST_WAIT, SECOND_WAIT = 0, NUM_KEYS + 1, NUM_KEYS + 2
NUM_SYMBOLS = NUM_KEYS + 3
LENGTH = 24
"""Symbols of a window."""
BURST = 4
"""Symbols of a surprise: the key, two of waiting, the key."""


def surprise(split: str, probability: float = 0.1, length: int = LENGTH) -> Split:
    """One split: windows int64 [inputs, length] of 11 symbols, and the symbol behind.

    Args:
        split: "train", "validation" or "test".
        probability: of a key behind a calm symbol, or behind a surprise.
        length: symbols of a window.
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
