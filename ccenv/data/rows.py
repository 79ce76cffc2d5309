"""Inputs that are read when they are drawn: (an array on disk, row numbers) -> those rows.

Larger than memory is what these are for: nothing here holds more than the rows that are asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

READ_AT_ONCE = 4096
"""Rows held in memory where all are read, one part after the other."""


@dataclass(frozen=True)
class Rows:
    """Inputs of a data set in the place of a tensor [n, ...]; a subclass reads some of them."""

    shape: tuple[int, ...]
    """(n, ...)."""
    dtype: torch.dtype
    """of what is read: uint8, float32 or int64."""
    device: torch.device
    """where rows are brought; they are read on the CPU."""

    def read(self, rows: np.ndarray) -> Tensor:
        """Some inputs [batch, ...], by their numbers int64 [batch]."""
        raise NotImplementedError

    def parts(self) -> Iterator[Tensor]:
        """All that the inputs are made of, part by part: what a checksum is taken of."""
        for rows in np.array_split(np.arange(len(self)), -(-len(self) // READ_AT_ONCE)):
            yield self.read(rows)

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """As of a tensor along its first dimension: int64 [batch] -> [batch, ...]."""
        return self.read(rows.cpu().numpy()).to(self.device, non_blocking=True)

    def __getitem__(self, rows: slice) -> Tensor:
        """Neighbouring rows."""
        return self.index_select(0, torch.arange(*rows.indices(len(self))))

    def __len__(self) -> int:
        """Number of inputs."""
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Dimensions, that of the rows included."""
        return len(self.shape)

    def to(self, device: str | torch.device, non_blocking: bool = False) -> "Rows":
        """The same, with rows copied to a device without waiting for the copy."""
        return replace(self, device=torch.device(device))


@dataclass(frozen=True)
class ArrayRows(Rows):
    """Rows of an array on disk, such as `numpy.memmap`, or anything that is sliced like one."""

    array: Any
    """[n, ...] with `shape`, `dtype` and rows in brackets, given as a rising list of numbers."""
    name: str
    """of its data set, for messages."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`; ValueError if a number that is read is not finite."""
        # In the order of the file, and none twice: some libraries read rows in no other way.
        distinct, places = np.unique(rows, return_inverse=True)
        read = torch.from_numpy(np.asarray(self.array[distinct])[places]).to(self.dtype)
        return check_finite_rows(read, self.name)


@dataclass(frozen=True)
class ChosenRows(Rows):
    """Some rows of others."""

    whole: Rows
    """where they are read."""
    numbers: np.ndarray
    """int64 [n], which of those."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`."""
        return self.whole.read(self.numbers[rows])


def some_rows(inputs: "Tensor | Rows", numbers: np.ndarray) -> "Tensor | Rows":
    """Some rows of a tensor, copied, or of `Rows`, read when they are drawn."""
    if isinstance(inputs, Tensor):
        return inputs[torch.from_numpy(numbers)]
    shape = (len(numbers), *inputs.shape[1:])
    return ChosenRows(shape, inputs.dtype, inputs.device, inputs, numbers)


def check_finite_rows(rows: Tensor, name: str) -> Tensor:
    """Refuses NaN and infinity among what was read (ValueError, naming the data set)."""
    if rows.is_floating_point() and not bool(rows.isfinite().all()):
        raise ValueError(
            f"dataset {name!r}: expected finite pixels, got NaN or infinity; clean the images"
        )
    return rows


def stored_dtype(dtype: torch.dtype, name: str) -> torch.dtype:
    """Bytes stay, whole numbers are int64, others float32; ValueError of what is no number."""
    if dtype == torch.uint8:
        return dtype
    if dtype.is_floating_point:
        return torch.float32
    if dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        return torch.int64
    raise ValueError(
        f"dataset {name!r}: expected pixels as uint8 in 0..255 or as float, or symbols as whole "
        f"numbers, got {dtype}; convert them"
    )
