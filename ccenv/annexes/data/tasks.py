"""Tasks of memory as sequences of symbols: what was read early is asked for late.

A row is one position, as of texts that are cut in sequences (`ccenv.annexes.data.windows`). At all
positions that ask for nothing the label is 0, and the symbol says whether one asks: so everything
that is hard is memory.

- `adding`: 48 digits, of which two are marked, one in each half; then a question, the sum of the
  two. A policy that updates the state at the two marks and at the question needs no other update.
  Hochreiter and Schmidhuber 1997, "Long short-term memory", with digits in place of numbers in
  [0, 1]; as in Skip RNN (Campos et al. 2018, arXiv 1708.06834, section 4.1), 50 symbols there.
- `copying`: five of eight symbols, blanks, and five questions, at which they are said again in
  order. Arjovsky, Shah, Bengio 2016, "Unitary evolution recurrent neural networks"
  (arXiv 1511.06464, section 4.2).

`surprise` are windows, not sequences, in which doubt comes at known places.
"""

import torch
from torch import Tensor

from ccenv.annexes.data.windows import Positions
from ccenv.base.seeding import stream
from ccenv.data.registry import SPLITS
from ccenv.data.split import Split

SIZES = {"train": 8192, "validation": 512, "test": 1024}
"""Sequences of each split."""
DIGITS = 10
NUMBERS = 48
"""Digits of a sequence of `adding`."""
ASK = 2 * DIGITS
"""The question; digits from `DIGITS` on are marked ones."""
LETTERS, COPIED, BLANKS = 8, 5, 20


def adding(split: str, numbers: int = NUMBERS) -> Split:
    """Sequences of 49 symbols of 21, see the module; the label at the end is the sum and one.

    Other `numbers` of digits make sequences of one symbol more than these.
    """
    generator = stream(SPLITS.index(split), "adding")
    rows = SIZES[split]
    symbols = torch.randint(DIGITS, (rows, numbers), generator=generator)
    half = numbers // 2
    marks = torch.randint(half, (rows, 2), generator=generator) + torch.tensor([0, half])
    total = symbols.gather(1, marks).sum(dim=1)
    symbols = symbols.scatter_add(1, marks, torch.full_like(marks, DIGITS))
    symbols = torch.cat([symbols, torch.full((rows, 1), ASK)], dim=1)
    labels = torch.zeros_like(symbols)
    labels[:, -1] = total + 1
    return in_positions(symbols, labels, ASK + 1)


def copying(split: str) -> Split:
    """Sequences of 30 symbols of 10, see the module; labels at the end are the five symbols."""
    generator = stream(SPLITS.index(split), "copying")
    rows = SIZES[split]
    copied = torch.randint(1, LETTERS + 1, (rows, COPIED), generator=generator)
    blanks = torch.zeros(rows, BLANKS, dtype=torch.int64)
    asks = torch.full((rows, COPIED), LETTERS + 1)
    symbols = torch.cat([copied, blanks, asks], dim=1)
    labels = torch.cat([torch.zeros_like(copied), blanks, copied], dim=1)
    return in_positions(symbols, labels, LETTERS + 2)


def in_positions(symbols: Tensor, labels: Tensor, num_symbols: int) -> Split:
    """A row for each position of sequences: int64 [sequences, length] both."""
    length = symbols.shape[1]
    shape, flat = (symbols.numel(), length), symbols.flatten().byte()
    rows = Positions(shape, torch.int64, torch.device("cpu"), flat, num_symbols)
    return Split(rows, labels.flatten(), num_symbols, together=length)


SURPRISES = {"train": 8000, "validation": 1000, "test": 2000}
"""Windows of each split of `surprise`."""
NUM_KEYS = 8
FIRST_WAIT, SECOND_WAIT = NUM_KEYS + 1, NUM_KEYS + 2
NUM_SYMBOLS = NUM_KEYS + 3
LENGTH = 24
"""Symbols of a window."""
BURST = 4
"""Symbols of a surprise: the key, two of waiting, the key."""


def surprise(split: str, probability: float = 0.1, length: int = LENGTH) -> Split:
    """Calm texts in which, now and then, a key comes, two symbols of waiting, and the key again.

    Nothing tells when a key comes or which; what follows is certain for a network that remembers
    it. So a reader in patches is in doubt at one place only: behind the second symbol of waiting,
    where the key lies in the patch that is not read yet. Not from a paper.

    Args:
        split: "train", "validation" or "test".
        probability: of a key behind a calm symbol, or behind a surprise.
        length: symbols of a window.

    Returns:
        Windows int64 [inputs, length] of 11 symbols, and the symbol behind.
    """
    generator = stream(SPLITS.index(split), "surprises")
    rows, long = SURPRISES[split], length + 1
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
