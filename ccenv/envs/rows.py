"""Rows that go in and out of environments: actions checked, infos with their twins; numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def with_presence(info: dict[str, Any], present: np.ndarray) -> dict[str, Any]:
    """Adds Gymnasium's boolean twin `_key` to each key of a vector info."""
    rows = np.empty((len(info), present.shape[0]), dtype=bool)
    rows[:] = present
    return info | {f"_{key}": row for key, row in zip(info, rows, strict=True)}


def row_of(info: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """One row as Python scalars and arrays: the scalar environment's and SB3's `info`."""
    return {
        key: value[row].copy() if value.ndim > 1 else value[row].item()
        for key, value in info.items()
    }


def checked_bits(action: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Reads a mask given by a user: bool array of that shape.

    Integers and floats that are 0 or 1 pass, because Stable-Baselines3 samples bits as floats.

    Raises:
        TypeError: if it is no array of numbers.
        ValueError: if the shape differs or a value is neither 0 nor 1.
    """
    array = np.asarray(action)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"expected the action to be an array of bits, got dtype {array.dtype}; "
            "give bool, int or float with the values 0 and 1"
        )
    if array.shape != shape:
        raise ValueError(
            f"expected an action of shape {list(shape)}, one bit a block, got {list(array.shape)}"
        )
    if array.dtype != np.bool_ and not are_bits(array):
        odd = array[(array != 0) & (array != 1)].flat[0]
        raise ValueError(
            f"expected every bit of the action to be 0 or 1, got {odd}; "
            "threshold or sample probabilities first"
        )
    # A copy: what a caller does with its array afterwards changes nothing.
    return array.astype(np.bool_, order="C")


def are_bits(array: np.ndarray) -> bool:
    """Whether all numbers of an array are 0 or 1."""
    if array.dtype.itemsize == 1:
        # What spaces sample: one look at the bytes, in which negative numbers are large.
        return bool(array.view(np.uint8).max(initial=0) <= 1)
    return bool(((array == 0) | (array == 1)).all())
