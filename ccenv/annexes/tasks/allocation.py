"""Compute for many inputs under a budget: (value and cost of each offer for each input) -> offers.

The largest total value whose mean cost is at most a budget falls apart into one choice an input:
the offer of largest value - weight * cost, at one weight for all (Everett 1963, "Generalized
Lagrange multiplier method for solving problems of optimum allocation of resources"). The mean cost
does not rise with the weight, so that bisection finds it. Where inputs have two best offers at that
weight, a coin for each meets the budget on average.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_HALVINGS = 200
"""By then neighbouring floats are left."""


@dataclass(frozen=True)
class Allocation:
    """Offers at the cost weight of a budget."""

    price: float
    """at which inputs take the cheap offers; value for a unit of cost."""
    dear_price: float
    """at which they take the dear ones: the weight to rounding, and lower; equal if nothing is
    dear.
    """
    cheap: Ints
    """[inputs], offers whose mean cost is within the budget."""
    dear: Ints
    """[inputs], offers whose mean cost is not; the cheap ones where the budget limits nothing."""
    share: float
    """of inputs that take the dear offer, so that the mean cost is the budget."""

    def mean_cost(self, costs: Floats) -> float:
        """What is spent on average over inputs and coins (gained, by a table of values)."""
        cheap, dear = (taken_entries(costs, offers).mean() for offers in (self.cheap, self.dear))
        return float((1 - self.share) * cheap + self.share * dear)


def taken_entries(table: Floats, offers: Ints) -> Floats:
    """Entries of the chosen offers: [inputs, offers] or [offers] -> [inputs]."""
    return table[offers] if table.ndim == 1 else table[np.arange(len(offers)), offers]


def best_offers(values: Floats, costs: Floats, price: float) -> Ints:
    """The offer of largest value - weight * cost, of several the cheapest: int64 [inputs].

    Values are [inputs, offers], costs likewise, or [offers] where they are the same for all inputs.

    >>> best_offers(np.array([[0.5, 0.9], [0.8, 0.9]]), np.array([1.0, 2.0]), 0.2).tolist()
    [1, 0]
    """
    gains = values - price * costs
    is_best = gains == gains.max(axis=1, keepdims=True)
    every = np.broadcast_to(costs, values.shape)
    return np.where(is_best, every, np.inf).argmin(axis=1).astype(np.int64)


def allocate(
    values: Floats, costs: Floats, budget: float, spent: Floats | None = None
) -> Allocation:
    """Chooses an offer for each input so that the mean cost is the budget, or less if that is best.

    Args:
        values: [inputs, offers], such as the probability of the right answer on held-out inputs.
        costs: [inputs, offers] or [offers], not negative; what the choice reckons with.
        budget: for each input, on average.
        spent: costs that count against the budget, shaped as the costs may be, where the choice
            reckons with their means; None for `costs`. Of two offers the same is the dearer one
            for every input.

    Raises:
        ValueError: if tables are odd, or the budget is below the cheapest offers.
    """
    values, costs = checked_tables(values, costs, budget if spent is None else np.inf)
    spent = costs if spent is None else checked_tables(values, spent, budget)[1]
    free = best_offers(values, costs, 0.0)
    if taken_entries(spent, free).mean() <= budget:
        return Allocation(0.0, 0.0, free, free, 0.0)
    low, high = 0.0, 1.0
    while taken_entries(spent, best_offers(values, costs, high)).mean() > budget:
        high *= 2
    for _ in range(MAX_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if taken_entries(spent, best_offers(values, costs, middle)).mean() > budget:
            low = middle
        else:
            high = middle
    cheap, dear = (best_offers(values, costs, price) for price in (high, low))
    least, most = taken_entries(spent, cheap).mean(), taken_entries(spent, dear).mean()
    return Allocation(high, low, cheap, dear, float((budget - least) / (most - least)))


def checked_tables(values: Floats, costs: Floats, budget: float) -> tuple[Floats, Floats]:
    """Tables as float64; see `allocate` for errors."""
    values, costs = np.asarray(values, np.float64), np.asarray(costs, np.float64)
    if values.ndim != 2 or 0 in values.shape or costs.shape not in (values.shape, values.shape[1:]):
        raise ValueError(
            f"expected values [inputs, offers] and costs of that shape or [offers], got "
            f"{list(values.shape)} and {list(costs.shape)}"
        )
    if not (np.isfinite(values).all() and np.isfinite(costs).all() and (costs >= 0).all()):
        raise ValueError("expected finite values, and costs of at least 0, got others")
    least = float(np.broadcast_to(costs, values.shape).min(axis=1).mean())
    if not budget >= least:
        raise ValueError(
            f"expected a budget of at least {least:.6g}, what the cheapest offers cost, "
            f"got {budget}"
        )
    return values, costs
