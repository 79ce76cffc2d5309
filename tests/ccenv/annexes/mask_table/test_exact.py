"""Laws of the exact tools: by hand, against Monte Carlo, against finite differences, by search."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ccenv.annexes.mask_table import exact
from ccenv.annexes.mask_table.exact import Outcomes, optimum, value
from ccenv.annexes.mask_table.fronts import front, oracle_errors

MASKS = np.array(list(itertools.product([False, True], repeat=3)))
COSTS = MASKS @ np.array([0.25, 0.25, 0.5])


def by_hand():
    """Three units; input 0 needs the first, input 1 one of the last two, input 2 is never right."""
    right = [MASKS[:, 0], MASKS[:, 1] ^ MASKS[:, 2], np.zeros(8, dtype=bool)]
    return Outcomes(np.stack(right), COSTS, MASKS.sum(axis=1), 3)


def random_outcomes(seed, num_inputs=4, units=3, kind="floats"):
    generator = np.random.default_rng(seed)
    masks = np.array(list(itertools.product([False, True], repeat=units)))
    scores = generator.normal(size=(num_inputs, len(masks)))
    scores = scores if kind == "floats" else scores > 0.5
    return Outcomes(scores, masks @ generator.random(units), masks.sum(axis=1), units)


KEEP = arrays(np.float64, (4, 3), elements=st.floats(0, 1))
SEEDS = st.integers(0, 2**16)


def test_the_optimum_is_the_cheapest_right_mask_or_nothing():
    # Without a price the cheapest of equal masks, too.
    assert optimum(by_hand(), price=0.0).numbers.tolist() == [4, 2, 0]
    found = optimum(by_hand(), price=1.0)
    assert found.numbers.tolist() == [4, 2, 0]  # first unit; second unit; nothing
    assert found.values.tolist() == [0.75, 0.75, 0.0]


@given(p=st.tuples(*[st.floats(0, 1)] * 3), price=st.floats(0, 2))
def test_value_and_gradient_are_those_that_a_hand_finds(p, price):
    a, b, c = p
    cost = 0.25 * a + 0.25 * b + 0.5 * c
    right = np.array([a, b * (1 - c) + c * (1 - b), 0])
    np.testing.assert_allclose(value(by_hand(), price, keep=p), right - price * cost, atol=1e-12)
    slopes = np.array([[1, 0, 0], [0, 1 - 2 * c, 1 - 2 * b], [0, 0, 0]])
    wanted = slopes - price * np.array([0.25, 0.25, 0.5])
    np.testing.assert_allclose(exact.gradient(by_hand(), price, p), wanted, atol=1e-12)


@given(seed=SEEDS, keep=KEEP, price=st.floats(0, 2))
def test_independent_keep_probabilities_are_a_distribution_over_masks(seed, keep, price):
    outcomes = random_outcomes(seed)
    masks = np.prod(np.where(MASKS[None], keep[:, None], 1 - keep[:, None]), axis=2)
    one, other = value(outcomes, price, keep=keep), value(outcomes, price, masks=masks)
    np.testing.assert_allclose(one, other, atol=1e-12)


@given(seed=SEEDS, price=st.floats(0, 2))
def test_a_certain_policy_earns_its_masks_reward(seed, price):
    outcomes = random_outcomes(seed)
    numbers = np.random.default_rng(seed).integers(8, size=4)
    earned = exact.rewards(outcomes, price)[np.arange(4), numbers]
    assert np.array_equal(value(outcomes, price, numbers=numbers), earned)
    certain = MASKS[numbers].astype(float)
    np.testing.assert_allclose(value(outcomes, price, keep=certain), earned, atol=1e-12)


@given(seed=SEEDS, keep=KEEP, price=st.floats(0, 2))
def test_no_policy_earns_more_than_the_optimum_which_has_no_regret(seed, keep, price):
    outcomes = random_outcomes(seed, kind="bits")
    assert (exact.regret(outcomes, price, keep=keep) >= -1e-12).all()
    assert not exact.regret(outcomes, price, numbers=optimum(outcomes, price).numbers).any()


@given(
    seed=SEEDS, keep=arrays(np.float64, (4, 3), elements=st.floats(0.01, 0.99)), u=st.integers(0, 2)
)
def test_the_gradient_is_a_finite_difference(seed, keep, u):
    outcomes = random_outcomes(seed)
    by_logit = exact.gradient(outcomes, 0.5, keep, of="logits")[:, u]
    logits, h = np.log(keep / (1 - keep)), 1e-5

    def moved(by):
        shifted = logits + by * (np.arange(3) == u)
        return value(outcomes, 0.5, keep=1 / (1 + np.exp(-shifted)))

    np.testing.assert_allclose(by_logit, (moved(h) - moved(-h)) / (2 * h), atol=1e-7)


def test_inputs_are_worked_through_in_parts_of_any_size(monkeypatch):
    outcomes, keep = random_outcomes(1), np.random.default_rng(1).random((4, 3))
    whole = value(outcomes, 1.0, keep=keep), exact.gradient(outcomes, 1.0, keep)
    monkeypatch.setattr(exact, "PART", 8)
    assert np.array_equal(whole[0], value(outcomes, 1.0, keep=keep))
    assert np.array_equal(whole[1], exact.gradient(outcomes, 1.0, keep))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, "one of"),
        ({"keep": [0.5] * 3, "numbers": np.array([0])}, "one of"),
        ({"keep": [0.5, 0.5, 1.1]}, r"\[0, 1\]"),
        ({"keep": [0.5, np.nan, 0.5]}, r"\[0, 1\]"),
        ({"keep": [0.5] * 4}, "one row of 3"),
        ({"masks": np.full(8, 0.2)}, "sum to 1"),
        ({"masks": np.array([2.0, -1, 0, 0, 0, 0, 0, 0])}, "not negative"),
        ({"masks": np.full(8, np.nan)}, "not negative"),
        ({"masks": np.full((2, 8), 1 / 8)}, "one row of 8"),
        ({"numbers": np.array([8])}, r"0\.\.7"),
        ({"numbers": np.array([-1])}, r"0\.\.7"),
        ({"numbers": np.array([0.5])}, "int numbers"),
    ],
)
def test_what_gives_no_distribution_over_masks_is_refused(policy, said):
    with pytest.raises(ValueError, match=said):
        value(by_hand(), 1.0, **policy)


def test_of_a_menu_only_masks_can_be_drawn():
    menu = Outcomes(np.eye(3, dtype=bool), np.arange(3.0), np.arange(3), None)
    assert value(menu, 0.0, masks=np.full(3, 1 / 3)).tolist() == pytest.approx([1 / 3] * 3)
    with pytest.raises(ValueError, match="table of all masks"):
        exact.gradient(menu, 0.0, [0.5])


@given(seed=SEEDS, share=st.floats(0, 1))
def test_the_oracle_within_a_budget_is_the_best_of_all_assignments(seed, share):
    outcomes = random_outcomes(seed, num_inputs=3, units=2, kind="bits")
    budget = float(outcomes.costs.max()) * share
    errors = [
        1 - np.mean([outcomes.scores[i, m] for i, m in enumerate(masks)])
        for masks in itertools.product(range(4), repeat=3)
        if outcomes.costs[list(masks)].mean() <= budget + 1e-9
    ]
    assert oracle_errors(outcomes, [budget])[0] == pytest.approx(min(errors))


def test_a_budget_below_the_cheapest_mask_has_no_oracle():
    dear = Outcomes(np.ones((2, 2), dtype=bool), np.array([0.5, 1.0]), np.arange(2), 1)
    assert np.isnan(oracle_errors(dear, [0.4])).all()


def test_static_random_and_oracle_are_those_that_a_hand_finds():
    points = front(by_hand())
    assert [(p.units, p.num_masks) for p in points] == [(0, 1), (1, 3), (2, 3), (3, 1)]
    one, two = points[1], points[2]
    assert (one.static, one.static_cost, one.static_error) == (2, 0.25, pytest.approx(2 / 3))
    assert one.random_cost == pytest.approx(1 / 3)
    assert one.random_error == pytest.approx(2 / 3)
    assert one.oracle_error == pytest.approx(1 / 3)
    assert (two.static, two.static_error) == (6, pytest.approx(1 / 3))
    # Two inputs at a quarter each, the third at nothing: no more than the static mask's quarter.
    assert one.equal_error == pytest.approx(1 / 3)


@given(seed=SEEDS)
def test_static_masks_are_no_better_than_the_oracle_at_their_cost(seed):
    for point in front(random_outcomes(seed, num_inputs=9, kind="bits")):
        assert point.equal_error <= point.static_error + 1e-12
        assert point.oracle_error <= point.static_error + 1e-12 <= point.random_error + 1e-9


def test_static_masks_are_chosen_by_other_inputs():
    choose, judge = random_outcomes(1, 9, kind="bits"), random_outcomes(1, 9, kind="bits")
    flipped = Outcomes(~judge.scores, judge.costs, judge.kept, judge.num_units)
    for own, other in zip(front(judge, choose), front(flipped, choose), strict=True):
        assert own.static == other.static
        assert own.static_error == pytest.approx(1 - other.static_error)


def test_what_is_not_alike_is_refused():
    with pytest.raises(ValueError, match="right or wrong"):
        front(random_outcomes(0))
    with pytest.raises(ValueError, match="same masks"):
        front(by_hand(), random_outcomes(0, kind="bits"))
    with pytest.raises(ValueError, match="as many costs"):
        Outcomes(np.ones((2, 7), dtype=bool), COSTS, MASKS.sum(axis=1), 3)
