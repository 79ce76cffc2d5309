"""Laws of compute for many inputs under a budget: prices, and coins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.annexes.tasks.allocation import allocate, best_offers, taken_entries


def table(seed, inputs=40, offers=5, right_or_wrong=False, own_costs=False):
    """Values and costs of random offers."""
    rng = np.random.default_rng(seed)
    values = rng.random((inputs, offers))
    if right_or_wrong:
        values = np.round(values)
    shape = (inputs, offers) if own_costs else (offers,)
    return values, rng.random(shape)


TABLES = st.builds(
    table,
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.integers(2, 6),
    st.booleans(),
    st.booleans(),
)


@given(tables=TABLES, prices=st.lists(st.floats(0, 50), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_the_mean_cost_does_not_rise_with_the_price(tables, prices):
    values, costs = tables
    spent = [
        taken_entries(costs, best_offers(values, costs, price)).mean() for price in sorted(prices)
    ]
    assert spent[1] <= spent[0] + 1e-12


def budget_of(values, costs, share):
    least = np.broadcast_to(costs, values.shape).min(axis=1).mean()
    return least + share * (np.broadcast_to(costs, values.shape).max(axis=1).mean() - least)


@given(tables=TABLES, share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_with_coins_a_budget_that_limits_is_met_exactly(tables, share):
    values, costs = tables
    budget = budget_of(values, costs, share)
    found = allocate(values, costs, budget)
    assert 0 <= found.share <= 1
    if found.price:
        assert found.mean_cost(costs) == pytest.approx(budget, abs=1e-9)
        assert (
            taken_entries(costs, found.cheap).mean()
            <= budget
            < taken_entries(costs, found.dear).mean()
        )
    else:
        assert found.mean_cost(costs) <= budget


@given(tables=TABLES, share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_no_choice_within_the_budget_gains_more(tables, share, seed):
    values, costs = tables
    budget = budget_of(values, costs, share)
    found = allocate(values, costs, budget)
    rng = np.random.default_rng(seed)
    other = rng.integers(values.shape[1], size=len(values))
    spent = taken_entries(costs, other).mean()
    if spent <= budget:
        assert taken_entries(values, other).mean() <= found.mean_cost(values) + 1e-6
    # Mixing two offers alike for all inputs, at the same mean cost, is such a choice on average.
    if costs.ndim == 1 and found.price:
        low, high = np.argmin(costs), np.argmax(costs)
        part = (budget - costs[low]) / (costs[high] - costs[low])
        mixed = (1 - part) * values[:, low].mean() + part * values[:, high].mean()
        assert mixed <= found.mean_cost(values) + 1e-6


def test_without_a_price_the_best_offers_are_taken_and_at_a_high_one_the_cheapest():
    values, costs = table(0)
    assert np.array_equal(best_offers(values, costs, 0.0), values.argmax(axis=1))
    assert (best_offers(values, costs, 1e9) == costs.argmin()).all()
    assert allocate(values, costs, 1.0).price == 0


@pytest.mark.parametrize(
    ("values", "costs", "budget", "message"),
    [
        (np.ones((2, 3)), np.ones(2), 1.0, r"got \[2, 3\] and \[2\]"),
        (np.ones((2, 2)), np.array([0.5, 1.0]), 0.4, "at least 0.5, what the cheapest offers cost"),
        (np.ones((2, 2)), np.array([0.5, 1.0]), float("nan"), "a budget of at least"),
        (np.full((2, 2), np.nan), np.ones(2), 1.0, "finite values"),
        (np.ones((2, 2)), np.array([-0.5, 1.0]), 1.0, "costs of at least 0"),
    ],
)
def test_what_cannot_be_allocated_is_refused(values, costs, budget, message):
    with pytest.raises(ValueError, match=message):
        allocate(values, costs, budget)
