"""What is reached at a mean cost: (scores, a policy) -> mixed static masks, oracle, random; numpy.

Any score, such as the log-likelihood; `fronts` has right and wrong by number of blocks. A mixture
of two static masks has any mean cost between theirs, and a score on the line between.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ccenv.mask_table.exact import FLOATS, Outcomes, optimum, value

PRICES = np.concatenate([[0.0], np.geomspace(0.01, 1000, 120)])
"""At which the oracle is looked at; between them it is bounded from above, within thousandths."""
CHANCES = np.linspace(0, 1, 201)
"""At which random masks are looked at."""


@dataclass(frozen=True)
class CostPoint:
    """A policy beside what is known at its cost; means over the inputs that judge."""

    cost: float
    """share of the dense network's MACs."""
    score: float
    """of the policy."""
    static: float
    """of the best mixture of static masks."""
    random: float
    """where every unit is kept with one probability."""
    oracle: float
    """of each input's own masks, chosen with its score known."""
    gap_closed: float
    """share of the oracle's lead over the mixture that the policy has."""


@dataclass(frozen=True)
class AtCost:
    """What policies are placed beside."""

    judge: Outcomes
    """of the inputs that judge, whom policies are for."""
    static: tuple[FLOATS, FLOATS]
    """costs and scores of the static masks whose mixtures are best on other inputs."""
    random: tuple[FLOATS, FLOATS]
    """costs and scores of random masks at `CHANCES`."""
    bests: FLOATS
    """mean reward of the optimum at each of `PRICES`."""

    @staticmethod
    def made(
        judge: Outcomes, choose: Outcomes, random: tuple[FLOATS, FLOATS] | None = None
    ) -> "AtCost":
        """Looks at a table."""
        if not np.array_equal(judge.costs, choose.costs):
            raise ValueError("expected two tables of the same masks, got others")
        own = hull(choose.costs, choose.scores.mean(axis=0, dtype=np.float64))
        means = judge.scores.mean(axis=0, dtype=np.float64)
        return AtCost(
            judge,
            (judge.costs[own], means[own]),
            random or tossed(judge, means),
            np.array([optimum(judge, price).values.mean() for price in PRICES]),
        )

    def place(self, **policy: Any) -> CostPoint:
        """Places a policy, in one of the forms of `ccenv.mask_table.value`."""
        each = value(self.judge, 0.0, **policy)
        score = float(each.mean())
        cost = float((each - value(self.judge, 1.0, **policy)).mean())
        static, random = float(np.interp(cost, *self.static)), float(np.interp(cost, *self.random))
        oracle = self.oracle(cost)
        lead = oracle - static
        closed = (score - static) / lead if lead > 0 else float("nan")
        return CostPoint(cost, score, static, random, oracle, closed)

    def oracle(self, cost: float) -> float:
        """Score of the best masks of each input at a mean cost: a linear program, by its prices.

        At every price the optimum, with price x cost put back, is at least that score.
        """
        return float((self.bests + PRICES * cost).min())


def tossed(judge: Outcomes, means: FLOATS) -> tuple[FLOATS, FLOATS]:
    """Costs and scores where every unit is kept with one probability, at all of `CHANCES`."""
    if judge.num_units is None:
        raise ValueError("expected a table of all masks, or `random` beside a menu")
    same = np.broadcast_to(means, (len(CHANCES), len(means)))
    mean = Outcomes(same, judge.costs, judge.kept, judge.num_units)
    keep = np.repeat(CHANCES[:, None], judge.num_units, axis=1)
    free, paid = value(mean, 0.0, keep=keep), value(mean, 1.0, keep=keep)
    return free - paid, free


def hull(costs: FLOATS, scores: FLOATS) -> list[int]:
    """Masks of which mixtures are best, from the cheapest to the one of highest mean score.

    >>> hull(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.5, 2.0]))
    [0, 1, 2]
    """
    found: list[int] = []
    for mask in np.lexsort((-scores, costs)).tolist():
        if found and scores[mask] <= scores[found[-1]]:
            continue
        while len(found) > 1 and is_below(found[-1], found[-2], mask, costs, scores):
            found.pop()
        found.append(mask)
    return found


def is_below(middle: int, left: int, right: int, costs: FLOATS, scores: FLOATS) -> bool:
    """Whether a mask lies on or below the line between two others."""
    run, rise = costs[right] - costs[left], scores[right] - scores[left]
    return bool((scores[middle] - scores[left]) * run <= rise * (costs[middle] - costs[left]))


def best_at(outcomes: Outcomes, budget: float, halvings: int) -> Any:
    """Each input's best mask at the price where they cost a budget on the mean: int64 [n]."""
    low, high = 0.0, 1000.0
    for _ in range(halvings):
        middle = (low + high) / 2
        spent = outcomes.costs[optimum(outcomes, middle).numbers].mean()
        low, high = (middle, high) if spent > budget else (low, middle)
    return optimum(outcomes, high).numbers


def unit_costs(outcomes: Outcomes) -> tuple[float, FLOATS]:
    """What always runs costs, and what each unit adds: [units]."""
    units = outcomes.num_units or 0
    alone = outcomes.costs[2 ** np.arange(units - 1, -1, -1)] - outcomes.costs[0]
    bits = np.arange(len(outcomes.costs))[:, None] >> np.arange(units - 1, -1, -1) & 1
    if not np.allclose(outcomes.costs, outcomes.costs[0] + bits @ alone):
        raise ValueError("expected costs that are a sum over units, got others")
    return float(outcomes.costs[0]), alone
