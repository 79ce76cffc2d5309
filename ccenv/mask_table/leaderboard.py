"""The leaderboard: (entries, a table of inputs that judge) -> standings by regret.

A rank says that an entry was not made with the inputs that judge it. Only functions get one, and
only on inputs that do not ship: whoever has the package has the test images' table, and may have
fitted a function to it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.mask_table.evaluation.entry import (
    PRICES,
    Entry,
    as_policy,
    check_images,
    read_entry,
)
from ccenv.mask_table.evaluation.exact import FLOATS, Outcomes, optimum, value
from ccenv.mask_table.evaluation.fronts import check_alike
from ccenv.mask_table.shipped import SHIPPED, shipped_table
from ccenv.mask_table.table import MaskTable

FUNCTION, OPEN, ANSWERS = "function", "open function", "answers"
APART = (OPEN, ANSWERS)
"""Kinds that stand apart, without a rank."""


@dataclass(frozen=True)
class AtPrice:
    """What a policy reaches at one price; means over the inputs that judge."""

    price: float
    """of the dense network's MACs, in right answers."""
    regret: float
    """how much less than the optimum it earns."""
    error_of_regret: float
    """one standard error of that mean."""
    error: float
    """expected share of wrong answers."""
    cost: float
    """share of the dense network's MACs."""


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard."""

    name: str
    """of the entry."""
    kind: str
    """"function" of what is seen; "open function", judged on inputs that ship, which it may have
    been fitted to; "answers" for these inputs, which are on trust; "rival"."""
    at: tuple[AtPrice, ...]
    """one for each price."""
    rank: int | None = None
    """place among functions, from 1 on; None of all other kinds."""

    @property
    def regret(self) -> float:
        """Mean over the prices: the order of the standings."""
        return float(np.mean([one.regret for one in self.at]))


@dataclass(frozen=True)
class Refused:
    """An entry that does not stand."""

    file: str
    """its name."""
    why: str
    """one sentence."""


def judge(
    paths: Sequence[Path], table: MaskTable, choose: MaskTable
) -> tuple[list[Standing], list[Refused]]:
    """Ranks entries, and says why others are refused.

    Args:
        paths: of entries.
        table: of inputs that no entry was made with, and what is seen of them.
        choose: of other inputs of the same network; they choose the static rival.

    Returns:
        Standings: functions with their ranks and the best static mask at each price, then what is
        apart, each part with the least mean regret first; and what was refused.

    Raises:
        ValueError: if the two tables are not of the same masks, or hold no look.
    """
    outcomes = table.outcomes()
    check_alike(outcomes, choose.outcomes())
    bests = [optimum(outcomes, price).values for price in PRICES]
    standings, refused = [static_rival(outcomes, choose.outcomes(), bests)], []
    is_open = ships(table)
    for path in paths:
        try:
            standings.append(standing_of(read_entry(path), table, outcomes, bests, is_open))
        except (ValueError, OSError) as error:
            refused.append(Refused(path.name, f"{error}"))
    return ranked(standings), refused


def ranked(standings: Sequence[Standing]) -> list[Standing]:
    """Standings in their order, functions with their ranks."""
    found, rank = [], 0
    for one in sorted(standings, key=lambda one: (one.kind in APART, one.regret)):
        if one.kind == FUNCTION:
            rank += 1
            one = dataclasses.replace(one, rank=rank)
        found.append(one)
    return found


def ships(table: MaskTable) -> bool:
    """Whether inputs of a table come with the package, whatever the table's own file is called.

    Told by what is seen of them, rounded as in the shipped tables: a table of the same images that
    is built anew counts too.
    """
    if table.look is None:
        return False
    shipped = [shipped_table(name, split) for name in SHIPPED for split in ("test", "validation")]
    seen = {
        row.tobytes()
        for other in shipped
        if other.header.weights == table.header.weights and other.look is not None
        for row in rounded(other.look)
    }
    # Half of them: a small shift leaves some images as they are.
    found = [row.tobytes() in seen for row in rounded(table.look)] if seen else [False]
    return float(np.mean(found)) > 0.5


def rounded(look: NDArray[Any]) -> NDArray[np.float16]:
    """What is seen as the shipped tables hold it; last bits of a kernel are rounded away."""
    return np.round(look.astype(np.float16), 2)


def standing_of(
    entry: Entry,
    table: MaskTable,
    outcomes: Outcomes,
    bests: Sequence[FLOATS],
    is_open: bool,
) -> Standing:
    """Looks an entry's policies up; `is_open` says that the inputs that judge ship.

    Raises:
        ValueError: if it is for another network, or does not fit the table.
    """
    if entry.weights != table.header.weights:
        raise ValueError(
            f"expected an entry for the network {table.header.weights}, got one for "
            f"{entry.weights[:24]!r}"
        )
    if table.look is None:
        raise ValueError("expected a table that holds a look to judge by; build it anew")
    if entry.images is not None:
        check_images(entry.images, table.header.num_images)
    looks = table.look.astype(np.float32)
    given = [as_policy(entry.policies[price], entry, outcomes, looks) for price in PRICES]
    at = tuple(
        at_price(outcomes, price, best, policy)
        for price, best, policy in zip(PRICES, bests, given, strict=True)
    )
    kind = ANSWERS if not entry.is_function else OPEN if is_open else FUNCTION
    return Standing(entry.name, kind, at)


def at_price(outcomes: Outcomes, price: float, best: FLOATS, policy: dict[str, FLOATS]) -> AtPrice:
    """What a policy reaches at a price; `best` is the optimum's reward of each input."""
    right, reward = value(outcomes, 0.0, **policy), value(outcomes, price, **policy)
    lost = best - reward
    deviation = float(lost.std() / np.sqrt(len(lost)))
    cost = float((right - reward).mean() / price)
    return AtPrice(price, float(lost.mean()), deviation, float(1 - right.mean()), cost)


def static_rival(outcomes: Outcomes, choose: Outcomes, bests: Sequence[FLOATS]) -> Standing:
    """The mask that earns most on inputs that choose: what an entry has to beat."""
    at = []
    for price, best in zip(PRICES, bests, strict=True):
        earned = choose.scores.mean(axis=0) - price * choose.costs
        numbers = np.array([int(earned.argmax())])
        at.append(at_price(outcomes, price, best, {"numbers": numbers}))
    return Standing("best static mask", "rival", tuple(at))
