"""Values of any structure, as of spaces and infos: (dicts, tuples, arrays) -> their parts."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def leaves(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays within dicts, tuples and arrays of objects."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list) or (
        isinstance(value, np.ndarray) and value.dtype == object
    ):
        for index, part in enumerate(value):
            yield from leaves(part, f"{name}[{index}]")
    elif isinstance(value, np.ndarray):
        yield name, value


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, NaN equal to itself; wrappers' clock times are skipped."""
    if isinstance(a, dict) and isinstance(b, dict):
        # {"r", "l", "t"} is RecordEpisodeStatistics' entry; its "t" is measured time.
        skipped = {"t"} if a.keys() == {"r", "l", "t"} else set()
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a.keys() - skipped)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype == object:
            return len(a) == len(b) and all(map(same, a, b))
        inexact = np.issubdtype(a.dtype, np.inexact)
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=inexact)
    return bool(a == b)


def row_of(value: Any, row: int) -> Any:
    """One row of a batch in any structure."""
    if isinstance(value, dict):
        return {key: row_of(part, row) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(row_of(part, row) for part in value)
    return value[row]
