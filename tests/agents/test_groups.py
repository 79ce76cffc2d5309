"""Laws of comparing masks of one image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.agents.advantages import leave_one_out, leave_twins_out, slope_sums

returns_of_twelve = st.lists(st.floats(-5, 5), min_size=12, max_size=12)


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
