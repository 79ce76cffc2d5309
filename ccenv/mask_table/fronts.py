"""What masks reach: (outcomes to choose by, outcomes to judge) -> static, random, oracle; numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.mask_table.exact import FLOATS, Outcomes, value

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


def best_static(judge: Outcomes, choose: Outcomes, budget: float) -> tuple[int, float]:
    """The mask within a budget with the least error on inputs that choose.

    Args:
        judge: right or wrong of the inputs that judge.
        choose: of the inputs that choose.
        budget: most that it may cost, as a share of the dense network's MACs.

    Returns:
        Its number, and its error on the inputs that judge.

    Raises:
        ValueError: if no mask is so cheap, or see `front`.
    """
    check_same_masks(judge, choose)
    places = np.flatnonzero(judge.costs <= budget + SLACK)
    if not len(places):
        raise ValueError(
            f"expected a budget of at least {judge.costs.min():.4f}, what the cheapest mask costs, "
            f"got {budget}"
        )
    errors = 1 - choose.scores[:, places].mean(axis=0)
    number = int(places[best_of(errors, judge.costs[places])])
    return number, float(1 - judge.scores[:, number].mean())


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


def gap_closed(static_error: float, error: float, oracle_error: float) -> float:
    """Share of the oracle's lead over a static mask that a policy of the same cost has.

    >>> gap_closed(static_error=0.75, error=0.625, oracle_error=0.25)
    0.25
    """
    lead = static_error - oracle_error
    return (static_error - error) / lead if lead else float("nan")


@dataclass(frozen=True)
class PolicyPoint:
    """What a policy reaches, and what is known at its cost; means over the inputs that judge."""

    cost: float
    """share of the dense network's MACs."""
    error: float
    """expected share of wrong answers."""
    static_error: float
    """of the best static mask that costs no more."""
    oracle_error: float
    """of the oracle at no more on the mean."""
    gap_closed: float
    """share of the oracle's lead over the static mask that the policy has."""


def judge_policy(judge: Outcomes, choose: Outcomes, **policy: Any) -> PolicyPoint:
    """Places a policy between the best static mask and the oracle.

    Args:
        judge: right or wrong of the inputs that judge, whom the policy is for.
        choose: of the inputs that choose the static mask.
        **policy: one of the forms of `ccenv.mask_table.value`.

    Raises:
        ValueError: if it gives no distribution, or see `front`.
    """
    right = value(judge, 0.0, **policy)
    cost = float((right - value(judge, 1.0, **policy)).mean())
    _, static_error = best_static(judge, choose, cost)
    oracle_error = float(oracle_errors(judge, [cost])[0])
    error = float(1 - right.mean())
    closed = gap_closed(static_error, error, oracle_error)
    return PolicyPoint(cost, error, static_error, oracle_error, closed)
