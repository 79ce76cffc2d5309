"""Static masks of each size: (a table of all masks) -> the best one, and greedy removal's.

Among all masks with so many units the best is known; greedy removal leaves out one unit after the
other, as it must where all masks cannot be tried (see `menu`). How much it loses is seen beside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccenv.mask_table.evaluation.exact import Outcomes

EXACT, GREEDY = "exact", "greedy"


@dataclass(frozen=True)
class Sized:
    """A mask and how it was found."""

    number: int
    """in the table."""
    size: int
    """units that run."""
    ways: tuple[str, ...]
    """`EXACT`, `GREEDY` or both."""


def of_sizes(outcomes: Outcomes) -> list[Sized]:
    """The best mask of each size and the greedy one, from nothing kept to everything.

    Args:
        outcomes: of a whole table, of the inputs that choose.

    Raises:
        ValueError: if not all masks are there.
    """
    ways: dict[int, tuple[str, ...]] = {}
    for way, numbers in ((EXACT, exact(outcomes)), (GREEDY, greedy(outcomes))):
        for number in numbers:
            ways[number] = (*ways.get(number, ()), way)
    found = [Sized(number, int(outcomes.kept[number]), ways[number]) for number in ways]
    return sorted(found, key=lambda one: (one.size, one.ways, one.number))


def exact(outcomes: Outcomes) -> list[int]:
    """Of each size the mask of the highest mean score."""
    means = outcomes.scores.mean(axis=0, dtype=np.float64)
    found = []
    for size in np.unique(outcomes.kept):
        places = np.flatnonzero(outcomes.kept == size)
        found.append(int(places[means[places].argmax()]))
    return found


def greedy(outcomes: Outcomes) -> list[int]:
    """Everything, then always without the unit that costs the least score for what it saves.

    Raises:
        ValueError: if not all masks are there.
    """
    if outcomes.num_units is None:
        raise ValueError("expected a table of all masks to remove units from, got a menu")
    means = outcomes.scores.mean(axis=0, dtype=np.float64)
    found = [len(means) - 1]
    while found[-1]:
        here = found[-1]
        tried = without_each(here, outcomes.num_units)
        saved = np.maximum(outcomes.costs[here] - outcomes.costs[tried], 1e-9)
        found.append(int(tried[((means[here] - means[tried]) / saved).argmin()]))
    return found


def without_each(number: int, units: int) -> NDArray[np.int64]:
    """Numbers of masks that keep one unit less.

    >>> without_each(0b101, 3).tolist()
    [4, 1]
    """
    bits = 1 << np.arange(units)
    found: NDArray[np.int64] = number - bits[(number & bits) > 0]
    return found
