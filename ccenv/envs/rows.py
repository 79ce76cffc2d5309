"""Rows that go in and out of environments: actions checked, infos with their twins; numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def with_presence(info: dict[str, Any], present: np.ndarray) -> dict[str, Any]:
    """Adds Gymnasium's boolean twin `_key` to each key of a vector info."""
    return info | {f"_{key}": present.copy() for key in info}


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
    if array.dtype != np.bool_ and not (
        np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    ):
        raise TypeError(
            f"expected the action to be an array of bits, got dtype {array.dtype}; "
            "give bool, int or float with the values 0 and 1"
        )
    if array.shape != shape:
        raise ValueError(
            f"expected an action of shape {list(shape)}, one bit a block, got {list(array.shape)}"
        )
    if array.dtype != np.bool_:
        if not bool(((array == 0) | (array == 1)).all()):
            odd = array[(array != 0) & (array != 1)].flat[0]
            raise ValueError(
                f"expected every bit of the action to be 0 or 1, got {odd}; "
                "threshold or sample probabilities first"
            )
        array = array.astype(np.bool_)
    return np.ascontiguousarray(array)
