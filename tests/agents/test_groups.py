"""Laws of advantages: of masks of one image, of a batch, and of what a critic says."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.agents.advantages import (
    above_mean,
    generalised,
    leave_one_out,
    leave_twins_out,
    slope_sums,
)

returns_of_twelve = st.lists(st.floats(-5, 5), min_size=12, max_size=12)


@given(returns=st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=3))
def test_advantages_over_the_mean_sum_to_zero_at_each_gate_and_differ_as_returns_do(returns):
    returns = torch.tensor(returns)
    found = above_mean(returns)
    torch.testing.assert_close(found.sum(dim=1), torch.zeros(len(returns)), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.diff(dim=1), returns.diff(dim=1), atol=1e-4, rtol=0)


@given(returns=returns_of_twelve)
def test_leave_one_out_advantages_sum_to_zero_in_each_group(returns):
    advantages = leave_one_out(torch.tensor(returns), group_size=4)
    torch.testing.assert_close(advantages.view(3, 4).sum(dim=1), torch.zeros(3), atol=1e-4, rtol=0)


@given(returns=returns_of_twelve)
def test_with_no_twins_but_itself_leaving_twins_out_leaves_one_out(returns):
    values = torch.tensor(returns)
    torch.testing.assert_close(leave_twins_out(values, 4, 1), leave_one_out(values, 4))


@given(returns=returns_of_twelve, more=st.floats(-5, 5))
def test_a_baseline_does_not_see_the_twins_of_its_row(returns, more):
    values, changed = torch.tensor(returns), torch.tensor(returns)
    changed[1] += more
    before, after = leave_twins_out(values, 6, 2), leave_twins_out(changed, 6, 2)
    # Row 0 is its twin, rows 6 to 11 are another image's.
    torch.testing.assert_close(before[0], after[0])
    torch.testing.assert_close(before[6:], after[6:])


def test_where_all_are_twins_nobody_is_compared():
    assert leave_twins_out(torch.tensor([1.0, 2.0]), 2, 2).tolist() == [0.0, 0.0]


@given(
    slope=st.floats(-3, 3),
    levels=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_the_slope_of_returns_that_rise_with_cost_is_found_whatever_the_images_levels(
    slope, levels
):
    # Images differ in what their masks cost, too.
    costs = torch.tensor([0.1, 0.2, 0.4, 0.3]).repeat(3) + torch.arange(3).repeat_interleave(4) / 4
    returns = slope * costs + torch.tensor(levels).repeat_interleave(4)
    rise, run = slope_sums(returns, costs, 4)
    assert rise / run == pytest.approx(slope, abs=1e-4)


@given(
    rewards=returns_of_twelve,
    values=returns_of_twelve,
    gae_lambda=st.floats(0, 1),
)
def test_generalised_advantages_are_discounted_surprises_and_at_one_returns_less_their_values(
    rewards, values, gae_lambda
):
    rewards, values = (torch.tensor(one).view(6, 2) for one in (rewards, values))
    returns = rewards.flip(0).cumsum(0).flip(0)
    near = functools.partial(torch.testing.assert_close, atol=1e-4, rtol=0)
    near(generalised(rewards, values, 1.0), returns - values)
    later = (torch.arange(6) - torch.arange(6)[:, None]).clamp(min=0)
    weights = (gae_lambda**later).triu()
    surprises = rewards - values + torch.cat([values[1:], torch.zeros(1, 2)])
    near(generalised(rewards, values, gae_lambda), weights @ surprises)
