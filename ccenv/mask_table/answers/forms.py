"""Forms of policies: what somebody gives -> numbers or probabilities of every input, or refused."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = NDArray[np.float64]
TOLERANCE = 1e-6
"""By which probabilities may miss a sum of 1."""


def checked_numbers(numbers: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    """One mask for each input, spread over all of them."""
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or len(numbers) not in (1, shape[0]):
        raise ValueError(
            f"expected int numbers of masks [{shape[0]}] or [1], got {numbers.dtype} "
            f"{list(numbers.shape)}"
        )
    if numbers.min() < 0 or numbers.max() >= shape[1]:
        raise ValueError(f"expected masks 0..{shape[1] - 1}, got {numbers.min()}..{numbers.max()}")
    return np.broadcast_to(numbers, shape[:1])


def checked_masks(probabilities: FLOATS, shape: tuple[int, int]) -> FLOATS:
    """Probabilities of all masks, spread over all inputs."""
    rows = checked_rows(probabilities, shape, "probabilities of masks")
    # Written so that what is no number is refused too.
    if not (rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() <= TOLERANCE):
        raise ValueError(
            "expected probabilities that are not negative and sum to 1 for each input, got "
            f"{rows.min():.3g} as the least, sums of {rows.sum(axis=1).min():.6g} to "
            f"{rows.sum(axis=1).max():.6g}"
        )
    return np.broadcast_to(rows, shape)


def checked_keep(keep: Any, num_inputs: int, num_units: int | None) -> FLOATS:
    """Keep probabilities, spread over all inputs; None units: not a table of all masks."""
    if num_units is None:
        raise ValueError(
            "expected a table of all masks for independent keep probabilities, got one of a menu, "
            "which has not all that they may draw; give probabilities of its masks"
        )
    shape = num_inputs, num_units
    rows = checked_rows(np.asarray(keep, dtype=np.float64), shape, "keep probabilities")
    if not (rows.min() >= 0 and rows.max() <= 1):
        raise ValueError(
            f"expected keep probabilities in [0, 1], got {rows.min():.3g}..{rows.max():.3g}"
        )
    return np.broadcast_to(rows, shape)


def checked_rows(values: FLOATS, shape: tuple[int, int], what: str) -> FLOATS:
    """Rows of a policy, or one row; ValueError for any other shape."""
    rows = values[None] if values.ndim == 1 else values
    if rows.ndim != 2 or rows.shape[1] != shape[1] or len(rows) not in (1, shape[0]):
        raise ValueError(
            f"expected {what} {list(shape)} or one row of {shape[1]}, got {list(values.shape)}"
        )
    return rows
