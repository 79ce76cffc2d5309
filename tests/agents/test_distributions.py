"""Laws of the distributions that policies draw masks from."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.agents.condnet import regularizers
from ccenv.agents.distributions import IndependentBlocks, OrderedBlocks, keep_probability
from ccenv.base.masks import mask_of_indices

scores_of_four = st.lists(st.floats(-4, 4), min_size=4, max_size=4)


def every_mask(num_blocks: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product([False, True], repeat=num_blocks)))


@given(scores=scores_of_four)
def test_the_probabilities_of_all_masks_sum_to_one(scores):
    masks = every_mask(4)
    probability = keep_probability(torch.tensor(scores)).expand(len(masks), -1)
    total = IndependentBlocks(probability).log_prob(masks).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


@given(scores=scores_of_four)
def test_entropy_of_independent_blocks_is_the_mean_of_minus_log_probability(scores):
    masks = every_mask(4)
    blocks = IndependentBlocks(keep_probability(torch.tensor(scores)).expand(len(masks), -1))
    log_prob = blocks.log_prob(masks)
    expected = -(log_prob.exp() * log_prob).sum()
    assert blocks.entropy()[0].item() == pytest.approx(expected.item(), abs=1e-4)


@given(scores=scores_of_four, num_kept=st.integers(1, 4))
def test_the_probabilities_of_all_ordered_draws_sum_to_one(scores, num_kept):
    orders = torch.tensor(list(itertools.permutations(range(4), num_kept)))
    blocks = OrderedBlocks(torch.tensor(scores).expand(len(orders), -1), num_kept)
    assert blocks.log_prob(orders).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_log_probability_of_an_ordered_draw_is_the_product_worked_out_by_hand():
    blocks = OrderedBlocks(torch.tensor([[1.0, 2.0, 5.0]]).log(), num_kept=2)
    # 5/8 for the third block, then 1/3 for the first among the two that are left.
    expected = torch.tensor([5 / 8 * 1 / 3]).log()
    torch.testing.assert_close(blocks.log_prob(torch.tensor([[2, 0]])), expected)


@settings(max_examples=10, deadline=None)
@given(scores=st.lists(st.floats(-2, 2), min_size=3, max_size=3), seed=st.integers(0, 100))
def test_gumbel_top_k_draws_orders_as_often_as_their_probability_says(scores, seed):
    draws = 20_000
    blocks = OrderedBlocks(torch.tensor(scores).expand(draws, -1), num_kept=2)
    drawn = blocks.sample(torch.Generator().manual_seed(seed))
    for order in itertools.permutations(range(3), 2):
        share = (drawn == torch.tensor(order)).all(dim=1).float().mean().item()
        expected = blocks.log_prob(torch.tensor([order]).expand(draws, -1))[0].exp().item()
        # Five standard errors of a share of 20,000 draws.
        assert share == pytest.approx(expected, abs=5 * (expected / draws) ** 0.5 + 1e-3)


@given(scores=st.lists(st.floats(-4, 4), min_size=6, max_size=6), num_kept=st.integers(1, 6))
def test_an_ordered_draw_keeps_exactly_k_different_blocks(scores, num_kept):
    blocks = OrderedBlocks(torch.tensor([scores]), num_kept)
    for order in (blocks.sample(torch.Generator().manual_seed(0)), blocks.mode()):
        assert mask_of_indices(order, 6).sum().item() == num_kept


@settings(max_examples=10, deadline=None)
@given(probability=st.floats(0.01, 0.99), seed=st.integers(0, 100))
def test_independent_blocks_are_kept_as_often_as_their_probability_says(probability, seed):
    blocks = IndependentBlocks(torch.full((5000, 4), probability))
    share = blocks.sample(torch.Generator().manual_seed(seed)).float().mean().item()
    assert share == pytest.approx(probability, abs=0.02)


def test_the_papers_regularizers_of_a_probability_table_are_the_numbers_worked_out_by_hand():
    table = torch.tensor([[0.2, 0.8], [0.4, 0.0]])
    # Means over images .3, .4; over blocks .5, .2; variances over images .01, .16, within .09, .04.
    text = [0.05 + 0.15, (0.25 + 0.05) / 2, -(0.01 + 0.16)]
    code = [0.05**2 + 0.15**2, 0.001 * (0.25**2 + 0.05**2), -(0.17 + 0.1 * 0.13)]
    for variant, expected in (("text", text), ("code", code)):
        found = [value.item() for value in regularizers(table, 0.25, variant)]
        assert found == pytest.approx(expected, abs=1e-6)
