"""Data sets without a download: digits, noise, surprises, algorithmic tasks.

`addition`, `sorting` and `parity64` are tasks of Graves 2016, "Adaptive computation time for
recurrent neural networks" (arXiv 1603.08983, sections 3.1, 3.3 and 3.4), with the paper's sizes.
The paper has sequences with a target at every step; here each row has one size and one label. A row
of `addition` asks for one digit of the sum, a row of `sorting` for one place of the order. Rows are
computed when they are drawn, row i always the same, so that only labels take memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccenv.base.seeding import stream, stream_seed
from ccenv.data.registry import SPLITS
from ccenv.data.rows import READ_AT_ONCE, Rows
from ccenv.data.split import Split

SIZES = {"train": 8000, "validation": 1000, "test": 2000}
"""of parity of few entries and of surprises."""
MADE_SIZES = {"train": 2**18, "validation": 10_000, "test": 10_000}
"""of what is made when it is drawn."""
NUM_ENTRIES = 6
"""The paper has 64, which takes it a hundred million inputs to learn."""
PAPER_ENTRIES = 64
NUM_ADDENDS, NUM_DIGITS, BASE = 5, 5, 10
SUM_DIGITS = 6
"""Of a sum of five numbers of five digits."""
NO_DIGIT = BASE
"""The class of a place before a sum's first digit."""
LEAST_SORTED, MOST_SORTED = 2, 15

Make = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Uniform numbers float64 [batch, draws] in (0, 1) -> inputs [batch, ...] and labels [batch]."""


@dataclass(frozen=True)
class MadeRows(Rows):
    """Rows that are made when they are drawn, each of random numbers of its own."""

    make: Make
    """what they are made of the numbers."""
    num_draws: int
    """numbers of a row."""
    seed: int
    """of all numbers, 64 bits."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`."""
        return self.make(self.draws(rows))[0]

    def labels(self) -> Tensor:
        """Labels of all rows: int64 [n]."""
        parts = np.array_split(np.arange(len(self)), -(-len(self) // READ_AT_ONCE))
        return torch.cat([self.make(self.draws(part))[1] for part in parts])

    def draws(self, rows: np.ndarray) -> Tensor:
        """The random numbers of some rows: float64 [batch, num_draws] in (0, 1)."""
        first = rows.astype(np.uint64) * np.uint64(self.num_draws)
        number = np.add.outer(first, np.arange(self.num_draws, dtype=np.uint64))
        bits = splitmix(number * np.uint64(0x9E3779B97F4A7C15) + np.uint64(self.seed % 2**64))
        return torch.from_numpy(((bits >> np.uint64(12)) + 0.5) * 2.0**-52)


def splitmix(bits: np.ndarray) -> np.ndarray:
    """Numbers that look random from any that differ, as uint64 (Steele et al. 2014, SplitMix)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def made(split: str, name: str, make: Make, num_draws: int, num_classes: int) -> Split:
    """A split whose rows are made when they are drawn, from a stream of its own."""
    seed = stream_seed(SPLITS.index(split), name)
    first = make(torch.full((1, num_draws), 0.5, dtype=torch.float64))[0]
    shape = (MADE_SIZES[split], *first.shape[1:])
    rows = MadeRows(shape, first.dtype, torch.device("cpu"), make, num_draws, seed)
    return Split(rows, rows.labels(), num_classes)


def whole_numbers(draws: Tensor, least: int, most: int) -> Tensor:
    """Uniform numbers in (0, 1) -> whole numbers in least..most, all equally often: int64."""
    return least + (draws * (most - least + 1)).long()


def one_hot(numbers: Tensor, size: int) -> Tensor:
    """Float32 [..., size]; of a number that is none of 0..size - 1 nothing but zeros."""
    return (numbers[..., None] == torch.arange(size)).float()


def parity_of(draws: Tensor) -> tuple[Tensor, Tensor]:
    """One number draws how many entries, then one each its place and its sign; see `parity`."""
    number, places, signs = draws.split([1, PAPER_ENTRIES, PAPER_ENTRIES], dim=1)
    largest = places.sort(dim=1).values.gather(1, whole_numbers(number, 0, PAPER_ENTRIES - 1))
    entries = torch.where(signs < 0.5, -1.0, 1.0)
    inputs = torch.where(places <= largest, entries, 0.0)
    return inputs, (inputs > 0).sum(dim=1) % 2


def addition_of(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Draws the place that is asked for, how many numbers, their lengths, their digits."""
    asked, count, lengths, digits = draws.split(
        [1, 1, NUM_ADDENDS, NUM_ADDENDS * NUM_DIGITS], dim=1
    )
    place = whole_numbers(asked[:, 0], 0, SUM_DIGITS - 1)
    is_there = torch.arange(NUM_ADDENDS) < whole_numbers(count, 1, NUM_ADDENDS)
    length = whole_numbers(lengths, 1, NUM_DIGITS) * is_there
    # Digits from the ones on; behind a number's last one stand zeros, no digit 0.
    numbers = whole_numbers(digits, 0, BASE - 1).unflatten(1, (NUM_ADDENDS, NUM_DIGITS))
    written = torch.arange(NUM_DIGITS) < length[:, :, None]
    values = torch.where(written, numbers, 0) * BASE ** torch.arange(NUM_DIGITS)
    left = values.sum(dim=(1, 2)) // BASE**place
    has_digit = (left > 0) | (place == 0)
    shown = one_hot(torch.where(written, numbers, -1), BASE).flatten(1)
    inputs = torch.cat([shown, one_hot(place, SUM_DIGITS)], dim=1)
    return inputs, torch.where(has_digit, left % BASE, NO_DIGIT)


def sorting_of(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Draws the place that is asked for, how many numbers, and the numbers."""
    asked, count, places = draws.split([1, 1, MOST_SORTED], dim=1)
    number = whole_numbers(count, LEAST_SORTED, MOST_SORTED)
    is_there = torch.arange(MOST_SORTED) < number
    values = torch.special.ndtri(places)
    place = (asked * number).long()
    order = torch.where(is_there, values, torch.inf).argsort(dim=1)
    shown = torch.where(is_there, values, 0.0).float()
    inputs = torch.cat([shown, is_there.float(), one_hot(place[:, 0], MOST_SORTED)], dim=1)
    return inputs, order.gather(1, place)[:, 0]


def parity64(split: str) -> Split:
    """`parity` with the paper's 64 entries: float32 [inputs, 64] -> 0 or 1."""
    return made(split, "parity64", parity_of, 1 + 2 * PAPER_ENTRIES, 2)


def addition(split: str) -> Split:
    """One to five numbers of one to five digits, and a place -> the digit of the sum there.

    Float32 [inputs, 256]: 5 x 5 x 10 one-hot digits, a number's ones first, then the place one-hot,
    0 for the ones. Ten digits and, before the first one, class 10 (section 3.3 of the paper, where
    a network answers for all six places at each number that is added).
    """
    draws = 2 + NUM_ADDENDS * (1 + NUM_DIGITS)
    return made(split, "addition", addition_of, draws, BASE + 1)


def sorting(split: str) -> Split:
    """Two to fifteen normal numbers and a place -> which of them stands there in rising order.

    Float32 [inputs, 45]: the numbers, 1 where there is one, the place one-hot. Fifteen classes
    (section 3.4 of the paper, where a network gives the whole order, one step after the other).
    """
    return made(split, "sorting", sorting_of, 2 + MOST_SORTED, MOST_SORTED)


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


NUM_KEYS = 8
CALM, FIRST_WAIT, SECOND_WAIT = 0, NUM_KEYS + 1, NUM_KEYS + 2
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
