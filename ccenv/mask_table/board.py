"""The leaderboard: (entries, a table of images that no entry was made with) -> ranked by regret."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccenv.mask_table.answers.entry import PRICES, Entry, as_policy, check_images, read_entry
from ccenv.mask_table.answers.exact import Outcomes, optimum, value
from ccenv.mask_table.answers.forms import FLOATS
from ccenv.mask_table.answers.fronts import check_alike
from ccenv.mask_table.table import MaskTable


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
    """"function" of what is seen; "answers" for these inputs, which are on trust; "rival"."""
    at: tuple[AtPrice, ...]
    """one for each price."""

    @property
    def regret(self) -> float:
        """Mean over the prices: what entries are ranked by."""
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
        Standings, least mean regret first, among them the best static mask at each price; and
        what was refused.

    Raises:
        ValueError: if the two tables are not of the same masks, or hold no look.
    """
    outcomes = table.outcomes()
    check_alike(outcomes, choose.outcomes())
    bests = [optimum(outcomes, price).values for price in PRICES]
    standings, refused = [static_rival(outcomes, choose.outcomes(), bests)], []
    for path in paths:
        try:
            standings.append(standing_of(read_entry(path), table, outcomes, bests))
        except (ValueError, OSError) as error:
            refused.append(Refused(path.name, f"{error}"))
    return sorted(standings, key=lambda one: one.regret), refused


def standing_of(
    entry: Entry, table: MaskTable, outcomes: Outcomes, bests: Sequence[FLOATS]
) -> Standing:
    """Looks an entry's policies up.

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
    return Standing(entry.name, "function" if entry.is_function else "answers", at)


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
