"""Texts: (<root>/<name>/train*, validation*, test*) -> windows of symbols, and the symbol behind.

The 127 most frequent bytes of the training text are a symbol each, by how often they occur, and all
others are one: 128. An input is the 24 symbols before a place, its label the symbol there. Files of
a split are read one behind the other, in the order of their names. Windows are cut when they are
drawn: a byte takes three bytes of memory here.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccenv.data.rows import Rows
from ccenv.data.split import SPLITS, Split, data_root

NUM_SYMBOLS = 128
CONTEXT = 24
"""Symbols of a window."""
COUNTED_AT_ONCE = 2**20
"""Bytes."""


@dataclass(frozen=True)
class Windows(Rows):
    """Neighbouring symbols of a text; row i begins with symbol i."""

    symbols: Tensor
    """uint8 [n + length or more]."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`."""
        # A view of all windows: only those that are chosen are copied.
        every = self.symbols.unfold(0, self.shape[1], 1)
        return every.index_select(0, torch.from_numpy(rows)).long()

    def parts(self) -> Iterator[Tensor]:
        """See `Rows`: the text itself, of which the windows are cut."""
        yield self.symbols


def python_text(split: str) -> Split:
    """Source text of Python's standard library: 24 symbols, and which of 128 comes next.

    Raises:
        FileNotFoundError: if it is not there.
    """
    path = data_root() / "python_text"
    if not is_text(path):
        raise FileNotFoundError(
            f"dataset 'python_text' is not in {data_root()}; put text files there as "
            f"{path}/train.txt, validation.txt and test.txt (or set CCENV_DATA to the folder that "
            "holds it)"
        )
    return text_split(path, "python_text", split)


def is_text(path: Path) -> bool:
    """Whether a folder holds texts: files whose names begin with train."""
    return bool(files_of(path, "train"))


def files_of(path: Path, split: str) -> list[Path]:
    """Files of a split, by their names."""
    return sorted(file for file in path.glob(f"{split}*") if file.is_file())


def text_split(path: Path, name: str, split: str) -> Split:
    """Windows of one split of a text.

    Args:
        path: folder with files train*, validation* and test*.
        name: of the data set, for messages.
        split: "train", "validation" or "test".

    Raises:
        ValueError: if there is no file of a split, or the text is shorter than one window.
    """
    symbols = torch.from_numpy(symbol_table(path)[read_text(path, name, split)])
    num_rows = len(symbols) - CONTEXT
    if num_rows < 1:
        raise ValueError(
            f"dataset {name!r}: expected more than {CONTEXT} bytes of {split} text in {path}, got "
            f"{len(symbols)}"
        )
    shape = (num_rows, CONTEXT)
    windows = Windows(shape, torch.int64, torch.device("cpu"), symbols)
    # Two bytes a label instead of eight; a `Split` widens those that are drawn.
    return Split(windows, symbols[CONTEXT:].short(), NUM_SYMBOLS)


@functools.lru_cache(maxsize=4)
def symbol_table(path: Path) -> np.ndarray:
    """Symbol of each byte: uint8 [256]; most frequent first, of equally frequent the smaller."""
    text = read_text(path, path.name, "train")
    # Part by part: counting makes wide numbers of the bytes.
    parts = (text[i : i + COUNTED_AT_ONCE] for i in range(0, len(text), COUNTED_AT_ONCE))
    counts = sum((np.bincount(part, minlength=256) for part in parts), np.zeros(256, np.int64))
    order = np.argsort(-counts, kind="stable")
    table = np.full(256, NUM_SYMBOLS - 1, np.uint8)
    table[order[: NUM_SYMBOLS - 1]] = np.arange(NUM_SYMBOLS - 1)
    return table


def read_text(path: Path, name: str, split: str) -> np.ndarray:
    """All bytes of a split: uint8 [n].

    Raises:
        ValueError: if there is no file of it.
    """
    found = files_of(path, split)
    if not found:
        raise ValueError(
            f"dataset {name!r}: expected files named {', '.join(f'{s}*' for s in SPLITS)} in "
            f"{path}, got none for {split}"
        )
    return np.concatenate([np.fromfile(file, np.uint8) for file in found])
