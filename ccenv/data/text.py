"""Texts: (files, the name of a split) -> windows of symbols, and the symbol behind.

The 127 most frequent bytes of the training text are a symbol each, by how often they occur, and all
others are one, "other": 128. An input is the 24 symbols before a place, its label the symbol there.
A bit here is one of a symbol of 128: which byte "other" was is not told, so that texts of more than
127 different bytes have fewer bits than bits per byte in the strict sense. Which files are
a split says `ccenv.data.text_files`. Windows are cut when they are drawn: a byte takes three bytes
of memory here.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.data.rows import Rows
from ccenv.data.split import Split, data_root
from ccenv.data.text_archives import archived_texts
from ccenv.data.text_files import Texts, library_texts, of_split, place_of, texts_of

NUM_SYMBOLS = 128
CONTEXT = 24
"""Symbols of a window."""
COUNTED_AT_ONCE = 2**20
"""Bytes."""
SAMPLED_STEP = 32
LIBRARY = ("python_text", "python_sample")
"""Data sets of the same text."""
BUNDLED, FOLDER = "python_bundled", Path(__file__).parent / "texts"
"""A text that comes with the package: its name, and where it lies."""
BUNDLED_STEP = 8


@dataclass(frozen=True)
class Windows(Rows):
    """Neighbouring symbols of a text; row i begins with symbol i * step."""

    symbols: Tensor
    """uint8 [(n - 1) * step + length + 1 or more]."""
    step: int = 1
    """symbols from one window's beginning to the next one's."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`."""
        # A view of all windows: only those that are chosen are copied.
        every = self.symbols.unfold(0, self.shape[1], self.step)
        return every.index_select(0, torch.from_numpy(rows)).long()

    def parts(self) -> Iterator[Tensor]:
        """See `Rows`: the text itself, of which the windows are cut."""
        yield self.symbols


def python_text(split: str) -> Split:
    """Source text of Python's library: 24 symbols, and which of 128 comes next.

    The texts in the folder `python_text` of the data sets, where they are; else the library of the
    Python that runs this, split by file (`ccenv.data.text_files`). Versions differ in it: a
    result's checksum says which it was.

    Raises:
        FileNotFoundError: if there is neither.
    """
    return text_split(python_texts(), split)


def python_sample(split: str) -> Split:
    """`python_text`, of whose validation and test texts every 32nd window is taken.

    For minutes: some 50,000 windows of each, beside which every place of the text to learn from.

    Raises:
        FileNotFoundError: as `python_text` does.
    """
    return text_split(python_texts(), split, 1 if split == "train" else SAMPLED_STEP)


def python_bundled(split: str) -> Split:
    """Sources of Python 3.11.7's library, the same on every machine; every 8th window judges.

    329 modules, without tests, IDLE, tkinter and tables of encodings: of 20 in the order of their
    paths 18 train, one validates and one tests. Copyright (c) Python Software Foundation, by the
    license beside the files.
    """
    return text_split(bundled_texts(), split, 1 if split == "train" else BUNDLED_STEP)


def enwik8(split: str) -> Split:
    """The first 10^8 bytes of a Wikipedia: 24 symbols, and which of 128 comes next.

    Raises:
        As `ccenv.data.text_archives.archived_texts`.
    """
    return text_split(archived_texts("enwik8"), split)


def text8(split: str) -> Split:
    """10^8 letters and spaces of a Wikipedia, 27 different symbols.

    Raises:
        As `ccenv.data.text_archives.archived_texts`.
    """
    return text_split(archived_texts("text8"), split)


def is_of_this_machine(name: str) -> bool:
    """Whether a data set is the library of the Python that runs, which differs between versions."""
    return name in LIBRARY and not of_split(data_root() / LIBRARY[0], "train")


def python_texts() -> Texts:
    """The files of `python_text`.

    Raises:
        FileNotFoundError: if there are none.
    """
    path = data_root() / "python_text"
    if of_split(path, "train"):
        return texts_of(path, "python_text")
    found = library_texts()
    if found is None:
        raise FileNotFoundError(
            f"dataset 'python_text' is not in {data_root()}, and this Python has no sources of its "
            f"library; put text files there as {path}/train.txt, validation.txt and test.txt (or "
            "set CCENV_DATA to the folder that holds it)"
        )
    return found


def bundled_texts() -> Texts:
    """The files of `python_bundled`."""
    return texts_of(FOLDER, BUNDLED)


def text_split(texts: Texts, split: str, step: int = 1) -> Split:
    """Windows of one split of a text.

    Args:
        texts: its files.
        split: "train", "validation" or "test".
        step: symbols from one window's beginning to the next one's.

    Raises:
        ValueError: if there is no file of a split, or the text is shorter than one window.
    """
    symbols = torch.from_numpy(symbol_table(texts)[texts.read(split)])
    num_rows = len(symbols) - CONTEXT
    if num_rows < 1:
        raise ValueError(
            f"dataset {texts.name!r}: expected more than {CONTEXT} bytes of {split} text in "
            f"{texts.place}, got {len(symbols)}"
        )
    shape = (-(-num_rows // step), CONTEXT)
    windows = Windows(shape, torch.int64, torch.device("cpu"), symbols, step)
    # Two bytes a label instead of eight; a `Split` widens those that are drawn.
    return Split(windows, symbols[CONTEXT::step].short(), NUM_SYMBOLS)


def coding(name: str) -> tuple[np.ndarray, np.ndarray]:
    """How a text's bytes became symbols, and back.

    Args:
        name: of a data set of text.

    Returns:
        uint8 [256], the symbol of each byte; uint8 [128], the byte of each symbol: "?" of "other"
        and of symbols that no byte has.

    Raises:
        ValueError: if there is no text of that name.
        FileNotFoundError: as `python_text` does.
    """
    if name in LIBRARY:
        texts = python_texts()
    elif name == BUNDLED:
        texts = bundled_texts()
    else:
        place = place_of(data_root(), name)
        if place is None:
            raise ValueError(f"expected the name of a text in {data_root()}, got {name!r}")
        texts = texts_of(place, name)
    symbols = symbol_table(texts)
    back = np.full(NUM_SYMBOLS, ord("?"), np.uint8)
    own = np.flatnonzero(symbols < NUM_SYMBOLS - 1)
    back[symbols[own]] = own
    return symbols, back


def letters_of(dataset: Any) -> np.ndarray | None:
    """The byte of each symbol of a data set, uint8 [128], for people to read; None of no text."""
    try:
        return coding(dataset)[1] if isinstance(dataset, str) else None
    except (ValueError, FileNotFoundError):
        return None


@functools.lru_cache(maxsize=4)
def symbol_table(texts: Texts) -> np.ndarray:
    """Symbol of each byte: uint8 [256]; most frequent first, of equally frequent the smaller."""
    text = texts.read("train")
    # Part by part: counting makes wide numbers of the bytes.
    parts = (text[i : i + COUNTED_AT_ONCE] for i in range(0, len(text), COUNTED_AT_ONCE))
    counts = sum((np.bincount(part, minlength=256) for part in parts), np.zeros(256, np.int64))
    order = np.argsort(-counts, kind="stable")
    table = np.full(256, NUM_SYMBOLS - 1, np.uint8)
    table[order[: NUM_SYMBOLS - 1]] = np.arange(NUM_SYMBOLS - 1)
    return table
