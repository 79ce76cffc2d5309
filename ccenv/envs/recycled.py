"""Arrays that are handed out anew once nobody else holds them: (shape, dtype) -> an array; numpy.

Fresh memory is mapped page by page when it is first written, which for a megabyte takes longer than
filling it. Whoever keeps an array, or a view of it, keeps its content: it is not handed out again.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MOST = 4
"""Arrays that are kept; where a caller stores more, others are made and forgotten."""


class Recycled:
    """Arrays of one shape, with any content."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Makes the first one, and counts the references to an array that nobody else holds."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.kept: list[NDArray[Any]] = [np.empty(shape, dtype)]
        # Interpreters differ in what they count, so that it is counted and not known.
        self.unused = self.references(0)

    def references(self, place: int) -> int:
        """To one of the arrays; views refer to the array that owns their memory."""
        return sys.getrefcount(self.kept[place])

    def take(self) -> NDArray[Any]:
        """One that nobody else holds, else a fresh one."""
        for place in range(len(self.kept)):
            if self.references(place) == self.unused:
                return self.kept[place]
        fresh = np.empty(self.shape, self.dtype)
        if len(self.kept) < MOST:
            self.kept.append(fresh)
        return fresh
