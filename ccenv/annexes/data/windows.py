"""Texts: (files, the name of a split) -> windows of symbols, and the symbol behind.

The 127 most frequent bytes of the training text are a symbol each, by how often they occur, and all
others are one, "other": 128. An input is the 24 symbols before a place, its label the symbol there.
A bit here is one of a symbol of 128: which byte "other" was is left out, so that texts of more than
127 different bytes have fewer bits than bits per byte in the strict sense. Which files are a text:
`ccenv.annexes.data.files`.

`name@128` cuts the same text into sequences of 128 symbols that do not overlap, for networks that
predict at every position (`lm`, `gru`). A row is one position. Its input is the symbols of its
sequence up to there, after as many missing ones (the number behind the last symbol) as the sequence
is longer; its label is the next symbol. Rows of a sequence are neighbours and are drawn together.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.annexes.data.files import (
    BUNDLED,
    FOLDER,
    Texts,
    python_texts,
    texts_named,
    texts_of,
)
from ccenv.data.rows import Rows
from ccenv.data.split import Split, data_root

NUM_SYMBOLS = 128
CONTEXT = 24
"""Symbols of a window."""
COUNTED_AT_ONCE = 2**20
"""Bytes."""
STEPS = {"python_sample": 32, BUNDLED: 8}
"""Texts of which not every window and not every sequence validates and tests: how far apart."""
LENGTH = re.compile(r"(.+)@([0-9]+)")
"""Name of a text that is cut in sequences: the text's, and their length."""


@dataclass(frozen=True)
class TextRows(Rows):
    """Rows that are cut from a text, on the device where it lies."""

    symbols: Tensor
    """uint8 [n]: the text."""

    def cut(self, rows: Tensor) -> Tensor:
        """Some inputs [batch, length] by their numbers int64 [batch], on the text's device."""
        raise NotImplementedError

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`."""
        return self.index_select(0, torch.from_numpy(rows))

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """See `Rows`; nothing is brought from one device to another."""
        return self.cut(rows.to(self.device)).long()

    def parts(self) -> Iterator[Tensor]:
        """See `Rows`: the text itself, of which the rows are cut."""
        yield self.symbols

    def to(self, device: str | torch.device, non_blocking: bool = False) -> "TextRows":
        """The same on a device."""
        symbols = self.symbols.to(device, non_blocking=non_blocking)
        return replace(self, device=symbols.device, symbols=symbols)


@dataclass(frozen=True)
class Windows(TextRows):
    """Neighbouring symbols of a text; row i begins with symbol i * step."""

    step: int = 1
    """symbols from one window's beginning to the next one's."""

    def cut(self, rows: Tensor) -> Tensor:
        """See `TextRows`."""
        # A view of all windows: only those that are chosen are copied.
        return self.symbols.unfold(0, self.shape[1], self.step).index_select(0, rows)


@dataclass(frozen=True)
class Positions(TextRows):
    """Positions of sequences that do not overlap: each row holds the symbols up to one."""

    missing: int
    """stands for symbols before the sequence."""
    step: int = 1
    """sequences from one to the next one; sequence i begins with symbol i * step * length."""

    def cut(self, rows: Tensor) -> Tensor:
        """See `TextRows`."""
        length = self.shape[1]
        starts = rows.div(length, rounding_mode="floor") * (self.step * length)
        whole = self.symbols.unfold(0, length, 1).index_select(0, starts)
        # A view of the inputs at all places of a sequence; of each row one is copied.
        seen = pad(whole, (length - 1, 0), value=self.missing).unfold(1, length, 1)
        return seen[torch.arange(len(rows), device=rows.device), rows % length]

    def parts(self) -> Iterator[Tensor]:
        """See `Rows`: the text itself, and how it is cut."""
        yield from super().parts()
        yield torch.tensor([self.shape[1], self.step])


def python_text(split: str) -> Split:
    """Source text of Python's library: 24 symbols, and which of 128 comes next.

    The texts in the folder `python_text` of the data sets, where they are; else the library of the
    Python that runs this (FileNotFoundError where it has none). Versions differ in it: a result's
    checksum says which it was.
    """
    return cut_text(python_texts(), "python_text", split)


def python_sample(split: str) -> Split:
    """`python_text`, but every 32nd window of its validation and test texts: some 50,000 each."""
    return cut_text(python_texts(), "python_sample", split)


def python_bundled(split: str) -> Split:
    """Sources of Python 3.11.7's library, the same on every machine; every 8th window judges.

    329 modules, without tests, IDLE, tkinter and tables of encodings: of 20 in the order of their
    paths 18 train, one validates and one tests. Copyright (c) Python Software Foundation, by the
    license next to the files.
    """
    return cut_text(texts_of(FOLDER, BUNDLED), BUNDLED, split)


def base_and_length(name: str) -> tuple[str, int | None]:
    """Name of a text, and the length of its sequences; None: windows.

    >>> base_and_length("python_text@128"), base_and_length("python_text")
    (('python_text', 128), ('python_text', None))
    """
    parts = LENGTH.fullmatch(name)
    return (name, None) if parts is None else (parts[1], int(parts[2]))


def text_split(name: str, split: str) -> Split | None:
    """Windows of a text, or the positions of its sequences by a name such as python_text@128.

    None for names of other data sets; see `cut_text` for errors.
    """
    base, length = base_and_length(name)
    texts = texts_named(base)
    return None if texts is None else cut_text(texts, base, split, length)


def cut_text(texts: Texts, base: str, split: str, length: int | None = None) -> Split:
    """Windows of one split of a text, or positions of sequences of `length` symbols.

    Raises:
        ValueError: if the text is too short, or the length is 0.
    """
    table = symbol_table(texts)
    symbols, letters = torch.from_numpy(table[texts.read(split)]), byte_table(table)
    step, cpu = 1 if split == "train" else STEPS.get(base, 1), torch.device("cpu")
    if length is None:
        num_rows = len(symbols) - CONTEXT
        if num_rows < 1:
            raise ValueError(
                f"dataset {texts.name!r}: expected more than {CONTEXT} bytes of {split} text in "
                f"{texts.place}, got {len(symbols)}"
            )
        shape = (-(-num_rows // step), CONTEXT)
        # Two bytes a label instead of eight; a `Split` widens those that are drawn.
        labels = symbols[CONTEXT::step].short()
        windows = Windows(shape, torch.int64, cpu, symbols, step)
        return Split(windows, labels, NUM_SYMBOLS, letters=letters)
    if not 1 <= length < len(symbols):
        raise ValueError(
            f"dataset '{base}@{length}': expected sequences of 1 to {len(symbols) - 1} symbols, "
            f"fewer than the {split} text in {texts.place} has, got {length}"
        )
    starts = torch.arange(0, len(symbols) - length, step * length)
    labels = symbols[(starts[:, None] + torch.arange(1, length + 1)).flatten()].short()
    rows = Positions((len(labels), length), torch.int64, cpu, symbols, NUM_SYMBOLS, step)
    return Split(rows, labels, NUM_SYMBOLS, together=length, letters=letters)


def coding(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Symbol of each byte of a named text, uint8 [256], and byte of each symbol, uint8 [128].

    Symbols of no byte, and "other", are "?"; ValueError, FileNotFoundError without such a text.
    """
    texts = texts_named(base_and_length(name)[0])
    if texts is None:
        raise ValueError(f"expected the name of a text in {data_root()}, got {name!r}")
    symbols = symbol_table(texts)
    return symbols, byte_table(symbols)


def byte_table(symbols: np.ndarray) -> np.ndarray:
    """Byte of each symbol, uint8 [128], by the symbol of each byte; "?" of none and of "other"."""
    back = np.full(NUM_SYMBOLS, ord("?"), np.uint8)
    bytes_with_symbol = np.flatnonzero(symbols < NUM_SYMBOLS - 1)
    back[symbols[bytes_with_symbol]] = bytes_with_symbol
    return back


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
