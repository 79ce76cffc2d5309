"""Laws of gradient estimators: means over all that can be drawn, on tables of three units."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.mask_table.exact import Outcomes, gradient
from ccenv.runs.lab.estimators import estimates as es
from ccenv.runs.lab.estimators.estimates import ESTIMATORS, Drawn, LookUp

MASKS = np.array(list(itertools.product([False, True], repeat=3)))
CHANCES = st.lists(st.floats(0.02, 0.98), min_size=3, max_size=3).map(np.array)
SEEDS = st.integers(0, 2**16)


def returns_of(seed, inputs=1):
    return np.random.default_rng(seed).normal(size=(inputs, 8))


def exact(returns, keep):
    outcomes = Outcomes(returns, np.zeros(8), MASKS.sum(axis=1), 3)
    return gradient(outcomes, 0.0, keep, of="logits")


def mean_over_all(estimate, returns, keep, masks, slopes=None):
    """Mean estimate [inputs, units] over all masks that inputs, independently, may draw."""
    inputs = len(returns)
    numbers = np.array(list(itertools.product(range(8), repeat=inputs * masks)))
    numbers = numbers.reshape(-1, inputs, masks)
    bits = MASKS[numbers]
    chances = np.where(bits, keep, 1 - keep).prod(axis=(1, 2, 3))
    rows = np.arange(inputs)[:, None]
    drawn = Drawn(
        np.broadcast_to(keep, (len(numbers), inputs, 3)),
        bits,
        returns[rows, numbers],
        np.zeros(bits.shape),
        None if slopes is None else slopes[rows, numbers],
    )
    return np.einsum("t,tiu->iu", chances, estimate(drawn))


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES)
def test_estimators_without_bias_have_the_gradient_as_their_mean_over_all_masks(seed, keep):
    returns = returns_of(seed)
    wanted = exact(returns, keep)
    for estimate, masks in ((es.reinforce, 1), (es.leave_one_out, 2), (es.leave_one_out, 3)):
        found = mean_over_all(estimate, returns, keep, masks)
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES)
def test_both_ways_and_disarm_have_it_over_all_uniform_numbers(seed, keep):
    returns, wanted = returns_of(seed), exact(returns_of(seed), keep)
    # Where the answers change: at p for the first of a pair, at 1 - p for the second.
    ends = np.sort(np.stack([np.zeros(3), keep, 1 - keep, np.ones(3)]), axis=0)
    found = {"both ways": np.zeros(3), "disarm": np.zeros(3)}
    for cell in itertools.product(range(3), repeat=3):
        low, high = ends[list(cell), range(3)], ends[[c + 1 for c in cell], range(3)]
        noise, chance = (low + high) / 2, np.prod(high - low)
        pair = np.stack([noise, 1 - noise])
        flips = np.where(np.eye(3, dtype=bool), np.where(noise < keep, 1.0, -1.0), noise)
        for name, own, estimate in (
            ("disarm", pair, es.disarm),
            ("both ways", np.concatenate([noise[None], flips]), es.both_ways),
        ):
            bits = own < keep
            earned = returns[0, bits @ np.array([4, 2, 1])]
            found[name] += chance * estimate(Drawn(keep, bits, earned, own))
    for mean in found.values():
        np.testing.assert_allclose(mean, wanted[0], atol=1e-12)


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES)
def test_a_mean_over_two_inputs_own_returns_loses_half_of_the_gradient(seed, keep):
    returns = returns_of(seed, inputs=2)
    found = mean_over_all(es.mean_baseline, returns, keep, 1)
    np.testing.assert_allclose(found, exact(returns, keep) / 2, atol=1e-12)


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES)
def test_vimco_has_the_gradient_of_its_own_bound(seed, keep):
    returns, h = returns_of(seed), 1e-5

    def bound(chances):
        each = np.where(MASKS, chances, 1 - chances).prod(axis=1)
        pairs = np.log((np.exp(returns[0])[:, None] + np.exp(returns[0])) / 2)
        return each @ pairs @ each

    slopes = [
        (bound(keep + h * unit) - bound(keep - h * unit)) / (2 * h) * unit @ (keep * (1 - keep))
        for unit in np.eye(3)
    ]
    found = mean_over_all(es.vimco, returns, keep, 2)
    np.testing.assert_allclose(found[0], slopes, atol=1e-7)


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES, scale=st.floats(0.1, 10))
def test_normalised_returns_forget_their_scale_which_the_gradient_has(seed, keep, scale):
    returns = returns_of(seed)
    one = mean_over_all(es.normalised, returns, keep, 2)
    other = mean_over_all(es.normalised, scale * returns + 1, keep, 2)
    np.testing.assert_allclose(one, other, atol=1e-6)
    # Of two masks it keeps which is better alone.
    better = np.sign(returns[0][:, None] - returns[0])
    each = np.where(MASKS, keep, 1 - keep).prod(axis=1)
    wanted = np.einsum("a,b,ab,au->u", each, each, better, MASKS - keep) / 2**0.5
    np.testing.assert_allclose(one[0], wanted, atol=1e-9)


def gated(seed):
    """A network's return: a product of quadratics of its gates; returns and slopes at all masks."""
    start, line, curve = np.random.default_rng(seed).normal(size=(3, 3))
    factors = start + MASKS * (line + curve)
    returns = factors.prod(axis=1)
    others = np.stack([np.delete(factors, u, axis=1).prod(axis=1) for u in range(3)], axis=1)
    return returns[None], ((line + 2 * curve * MASKS) * others)[None], curve


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES)
def test_straight_through_is_wrong_by_what_gates_bend_and_reinmax_is_not(seed, keep):
    returns, slopes, curve = gated(seed)
    wanted = exact(returns, keep)
    found = mean_over_all(es.reinmax, returns, keep, 1, slopes)
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    found = mean_over_all(es.straight_through, returns, keep, 1, slopes)
    # Slopes at the ends differ by twice the bend; at p they are weighted, not halved.
    one_less = mean_of_others(seed, keep)
    bias = keep * (1 - keep) * (2 * keep - 1) * curve * one_less
    np.testing.assert_allclose(found[0] - wanted[0], bias, atol=1e-10)


def mean_of_others(seed, keep):
    start, line, curve = np.random.default_rng(seed).normal(size=(3, 3))
    means = start + keep * (line + curve)
    return np.array([np.delete(means, u).prod() for u in range(3)])


@settings(max_examples=20)
@given(seed=SEEDS, keep=CHANCES)
def test_straight_through_is_without_bias_where_gates_do_not_bend(seed, keep):
    returns = returns_of(seed)
    flips = np.array([[number ^ (4 >> u) for u in range(3)] for number in range(8)])
    slopes = np.where(MASKS, 1, -1) * (returns[0][:, None] - returns[0][flips])
    found = mean_over_all(es.straight_through, returns, keep, 1, slopes[None])
    np.testing.assert_allclose(found, exact(returns, keep), atol=1e-12)


def test_at_even_chances_gumbels_slope_of_temperature_one_is_two_thirds_of_the_true_one():
    noise = (np.arange(200_000)[:, None, None, None] + 0.5) / 200_000
    keep, ones = np.full((len(noise), 1, 1), 0.5), np.ones(noise.shape)
    drawn = Drawn(keep, noise < 0.5, ones[..., 0], noise, ones)
    # The integral of a squared logistic density is 1/6; the coin's slope is 1/4.
    assert es.gumbel(drawn, 1.0).mean() == pytest.approx(1 / 6, rel=1e-6)


def test_what_is_looked_up_is_what_was_drawn():
    generator, keep = np.random.default_rng(0), np.array([[0.3, 0.6, 0.9], [0.5, 0.2, 0.8]])
    returns = returns_of(1, inputs=2)
    biased = ("vimco", "normalised", "straight", "reinmax", "gumbel", "reinforce, mean")
    for name, estimator in ESTIMATORS.items():
        if name.startswith(biased):
            continue
        many = np.broadcast_to(keep, (8_000, 2, 3))
        found = LookUp(returns)(estimator, many, np.arange(2), generator)
        error = found.std(axis=0) / len(found) ** 0.5
        off = np.abs(found.mean(axis=0) - exact(returns, keep))
        assert (off < 4.5 * error + 1e-12).all(), name
    with pytest.raises(ValueError, match="slopes"):
        LookUp(returns)(ESTIMATORS["reinmax"], keep, np.arange(2), generator)
