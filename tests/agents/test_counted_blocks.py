"""Laws of how many blocks and which: numbers and orders drawn together."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.agents.distributions import OrderedBlocks
from ccenv.agents.systems.count_policy import NO_BLOCK, CountedBlocks
from ccenv.base.masks import as_mask

scores_of_four = st.lists(st.floats(-4, 4), min_size=4, max_size=4)
logits_of_three = st.lists(st.floats(-4, 4), min_size=3, max_size=3)


def every_draw(num_blocks, least, most):
    """All orders of all numbers of blocks, filled up: int64 [draws, most]."""
    found = [
        [*order, *[NO_BLOCK] * (most - number)]
        for number in range(least, most + 1)
        for order in itertools.permutations(range(num_blocks), number)
    ]
    return torch.tensor(found)


def counted(scores, logits, least, rows=1):
    return CountedBlocks(
        torch.tensor(scores).expand(rows, -1), torch.tensor(logits).expand(rows, -1), least
    )


@given(scores=scores_of_four, logits=logits_of_three, least=st.integers(0, 2))
def test_the_probabilities_of_all_draws_sum_to_one_and_those_of_a_number_to_its_own(
    scores, logits, least
):
    draws = every_draw(4, least, least + 2)
    probability = counted(scores, logits, least, len(draws)).log_prob(draws).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-5)
    kept = (draws != NO_BLOCK).sum(dim=1)
    of_number = torch.tensor(logits).softmax(dim=0)
    for place, expected in enumerate(of_number.tolist()):
        total = probability[kept == least + place].sum().item()
        assert total == pytest.approx(expected, abs=1e-5)


@given(scores=scores_of_four, logits=logits_of_three)
def test_probabilities_of_all_masks_sum_to_one(scores, logits):
    draws = every_draw(4, 0, 2)
    probability = counted(scores, logits, 0, len(draws)).log_prob(draws).exp()
    masks = as_mask(draws, 4)
    of_masks = {}
    for mask, p in zip(masks.tolist(), probability.tolist(), strict=True):
        of_masks[tuple(mask)] = of_masks.get(tuple(mask), 0.0) + p
    assert len(of_masks) == 1 + 4 + 6
    assert sum(of_masks.values()) == pytest.approx(1, abs=1e-5)


@given(scores=scores_of_four, number=st.integers(1, 4))
def test_with_one_possible_number_it_is_k_of_n(scores, number):
    blocks = counted(scores, [0.0], number)
    ordered = OrderedBlocks(torch.tensor([scores]), number)
    drawn = blocks.sample(torch.Generator().manual_seed(0))
    assert drawn.shape == (1, number)
    torch.testing.assert_close(blocks.log_prob(drawn), ordered.log_prob(drawn))
    assert torch.equal(as_mask(blocks.mode(), 4), as_mask(ordered.mode(), 4))


@given(logits=st.lists(st.floats(-4, 4), min_size=2, max_size=2))
def test_a_gate_of_one_block_is_a_coin(logits):
    blocks = counted([0.3], logits, 0, rows=2)
    draws = torch.tensor([[NO_BLOCK], [0]])
    expected = torch.tensor(logits).softmax(dim=0)
    torch.testing.assert_close(blocks.log_prob(draws).exp(), expected)
    assert as_mask(blocks.mode(), 1).flatten().tolist() == [bool(expected[0] < 0.5)] * 2


@settings(max_examples=10, deadline=None)
@given(scores=scores_of_four, logits=logits_of_three, seed=st.integers(0, 100))
def test_draws_are_as_frequent_as_their_probability_says(scores, logits, seed):
    rows = 20_000
    blocks = counted(scores, logits, 0, rows)
    drawn = blocks.sample(torch.Generator().manual_seed(seed))
    for draw in every_draw(4, 0, 2):
        share = (drawn == draw).all(dim=1).float().mean().item()
        expected = counted(scores, logits, 0).log_prob(draw[None]).exp().item()
        # Five standard errors of a share of 20,000 draws.
        assert share == pytest.approx(expected, abs=5 * (expected / rows) ** 0.5 + 1e-3)


def test_twins_share_their_order_and_differ_in_number():
    blocks = counted([0.0, 0.0, 0.0, 0.0], [0.0] * 5, 0, rows=4000)
    drawn = blocks.sample(torch.Generator().manual_seed(0), twins=2).view(-1, 2, 4)
    shared = (drawn != NO_BLOCK).all(dim=1)
    assert torch.equal(drawn[:, 0][shared], drawn[:, 1][shared])
    numbers = (drawn != NO_BLOCK).sum(dim=2)
    # Two independent numbers of five are alike with probability 1/5.
    assert (numbers[:, 0] == numbers[:, 1]).float().mean().item() == pytest.approx(0.2, abs=0.05)


@given(logits=logits_of_three)
def test_the_number_of_the_mode_is_the_median(logits):
    blocks = counted([0.0, 1.0, 2.0, 3.0], logits, 1)
    number = int((blocks.mode() != NO_BLOCK).sum())
    below = torch.tensor(logits).softmax(dim=0)[: number - 1].sum().item()
    upto = torch.tensor(logits).softmax(dim=0)[:number].sum().item()
    assert below <= 0.5 + 1e-6
    assert upto >= 0.5 - 1e-6


def test_gradients_are_finite_where_every_block_is_drawn():
    scores = torch.zeros(2, 3, requires_grad=True)
    blocks = CountedBlocks(scores, torch.zeros(2, 4))
    blocks.log_prob(torch.tensor([[2, 0, 1], [1, NO_BLOCK, NO_BLOCK]])).sum().backward()
    assert scores.grad.isfinite().all()


def test_minus_one_in_an_action_is_no_block_and_other_numbers_outside_are_refused():
    action = torch.tensor([[2, 0], [1, -1], [-1, -1]])
    expected = [[True, False, True], [False, True, False], [False, False, False]]
    assert as_mask(action, 3).tolist() == expected
    for wrong in ([[3, -1]], [[-2, 0]], [[1, 1], [-1, 0]]):
        with pytest.raises(ValueError, match="numbers"):
            as_mask(torch.tensor(wrong), 3)
