"""Laws of the statistics: they equal scipy's, and intervals hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ccenv.runs.stats import intervals


def test_the_iqm_leaves_out_a_quarter_at_each_end_of_the_last_axis():
    rows = [[90.0, 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 5.0]]
    assert intervals.iqm(np.array(rows)).tolist() == [1.5, 1.0]


def test_equal_scores_have_an_interval_without_width():
    # A t-test of zeros against zero has none: it divides by their standard deviation.
    assert intervals.mean_interval([0.0, 0.0, 0.0]) == intervals.Interval(0.0, 0.0, 0.0, 0.0)


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=9))
def test_the_interval_of_a_mean_is_scipys(values):
    found = intervals.mean_interval(values)
    error = stats.sem(values)
    ends = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error or 1e-300)
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-9)


COVERAGE = [
    # strata, runs of each, mean over the middle half of the distribution, distribution
    pytest.param(1, 3, 0.0, "normal", id="one-stratum-of-3"),
    pytest.param(1, 10, 0.0, "normal", id="one-stratum-of-10"),
    pytest.param(3, 5, 0.0, "normal", id="3-strata-of-5"),
    pytest.param(4, 10, 0.5, "uniform", id="4-strata-of-10"),
]


def draw(generator, kind, strata, runs):
    return list(getattr(generator, kind)(size=(strata, runs)))


@pytest.mark.parametrize(("strata", "runs", "truth", "kind"), COVERAGE)
def test_bootstrap_intervals_of_the_iqm_hold_the_truth_as_often_as_they_say(
    strata, runs, truth, kind
):
    generator = np.random.default_rng(1)
    repetitions, level = 400, 0.95
    hits = 0
    for repetition in range(repetitions):
        scores = draw(generator, kind, strata, runs)
        found = intervals.bootstrap(scores, num_resamples=300, seed=repetition)
        hits += found.low <= truth <= found.high
    # Four standard deviations of a share of 400.
    assert hits / repetitions == pytest.approx(level, abs=0.044)


def test_resampling_stays_within_its_stratum():
    found = intervals.bootstrap([[1.0] * 4, [5.0] * 4])
    assert (found.mean, found.low, found.high) == (3.0, 3.0, 3.0)
    assert intervals.bootstrap([[0.5]]).low is None


@given(shift=st.floats(-1, 1), noise=st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_what_a_seed_does_to_both_cancels_in_a_paired_difference(shift, noise):
    theirs = dict(enumerate(noise))
    found = intervals.paired_difference(
        {seed: value + shift for seed, value in theirs.items()}, theirs
    )
    assert found.mean == pytest.approx(shift)
    assert found.high - found.low == pytest.approx(0, abs=1e-6)


def test_a_paired_difference_is_scipys_paired_t_interval():
    a, b = np.random.default_rng(3).normal(size=(2, 7))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = intervals.paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_paired_difference_needs_a_seed_of_both():
    assert intervals.paired_difference({0: 1.0}, {1: 1.0}) is None
    assert intervals.paired_difference({0: 1.0}, {0: 0.5}).low is None
