"""What masks reach: (outcomes to choose by, outcomes to judge) -> static, random, oracle; numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccenv.annexes.mask_table.exact import FLOATS, Outcomes

SLACK = 1e-9
"""By which a cost may exceed a budget: sums of shares are rounded."""


@dataclass(frozen=True)
class UnitPoint:
    """What can be reached with so many blocks."""

    units: int
    """blocks that run."""
    num_masks: int
    """masks with so many."""
    static: int
    """number of the one with the least error on the inputs that choose."""
    static_cost: float
    """its cost."""
    static_error: float
    """on the inputs that judge, as all that follows."""
    random_cost: float
    """mean over all masks with so many."""
    random_error: float
    """mean over all masks with so many."""
    oracle_cost: float
    """of the cheapest mask with so many that is right, or the cheapest; mean over inputs."""
    oracle_error: float
    """where each input has its own mask, of exactly so many."""
    equal_error: float
    """where each input has any mask and they cost no more than the static one on the mean."""


def front(judge: Outcomes, choose: Outcomes | None = None) -> list[UnitPoint]:
    """Static, random and oracle at each number of blocks.

    Args:
        judge: right or wrong (bool) of the inputs that judge.
        choose: of the inputs that choose the static masks; None: the same, which flatters them.

    Raises:
        ValueError: if scores are not right or wrong, or the two tables differ in their masks.
    """
    choose = judge if choose is None else choose
    check_same_masks(judge, choose)
    error, chosen_by = 1 - judge.scores.mean(axis=0), 1 - choose.scores.mean(axis=0)
    points = []
    for units in np.unique(judge.kept):
        places = np.flatnonzero(judge.kept == units)
        static = int(places[best_of(chosen_by[places], judge.costs[places])])
        own_cost, own_right = cheapest_right(judge, places)
        points.append(
            UnitPoint(
                units=int(units),
                num_masks=len(places),
                static=static,
                static_cost=float(judge.costs[static]),
                static_error=float(error[static]),
                random_cost=float(judge.costs[places].mean()),
                random_error=float(error[places].mean()),
                oracle_cost=float(own_cost.mean()),
                oracle_error=float(1 - own_right.mean()),
                equal_error=float(oracle_errors(judge, [judge.costs[static]])[0]),
            )
        )
    return points


def check_same_masks(judge: Outcomes, choose: Outcomes) -> None:
    """Refuses other scores than right or wrong, and tables of other masks."""
    if judge.scores.dtype != bool or choose.scores.dtype != bool:
        raise ValueError("expected outcomes that are right or wrong, got other scores")
    if not np.array_equal(judge.costs, choose.costs):
        raise ValueError(
            "expected two tables of the same masks at the same costs, got others to choose by"
        )


def best_of(errors: FLOATS, costs: FLOATS) -> int:
    """Place of the least error, the cheapest of equal ones."""
    return int(np.lexsort((costs, errors))[0])


def cheapest_right(
    outcomes: Outcomes, places: NDArray[np.int64]
) -> tuple[FLOATS, NDArray[np.bool_]]:
    """Of each input, among some masks: cost of the cheapest right one, and whether there is one.

    Where none is right, it is the cheapest of them that is paid for.
    """
    costs = outcomes.costs[places]
    order = np.argsort(costs, kind="stable")
    ordered = outcomes.scores[:, places[order]]
    is_right: NDArray[np.bool_] = np.asarray(ordered.any(axis=1))
    # Of inputs that no mask gets right, argmax is 0: the cheapest.
    return costs[order][ordered.argmax(axis=1)], is_right


def oracle_errors(outcomes: Outcomes, budgets: Sequence[float]) -> FLOATS:
    """Least error where masks are chosen with the label known, at each mean cost.

    Exact up to the part of one input: every input starts at the cheapest mask, and those that cost
    least to get right are paid for first.

    Args:
        outcomes: right or wrong (bool).
        budgets: mean costs, each at least the cheapest mask's.

    Returns:
        float64 [budgets]; nan where a budget is less than the cheapest mask's cost.
    """
    costs, is_right = cheapest_right(outcomes, np.arange(len(outcomes.costs)))
    least = float(outcomes.costs.min())
    extra = np.sort(costs[is_right] - least).cumsum() / len(costs)
    asked = np.asarray(budgets, dtype=np.float64)
    count = np.searchsorted(extra, asked - least + SLACK, side="right")
    return np.where(asked + SLACK < least, np.nan, 1 - count / len(costs))
