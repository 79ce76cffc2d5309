"""Laws of the distributions that policies draw masks from."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.agents import AGENTS
from ccenv.agents.condnet import regularizers
from ccenv.agents.distributions import (
    AlwaysOn,
    IndependentBlocks,
    OneOrCoins,
    OrderedBlocks,
    keep_probability,
)
from ccenv.annexes.agents.rloo_budget import NO_BLOCK, CountedBlocks
from ccenv.base.masks import as_mask
from ccenv.mdp.choosers import log_shares, mixed_logs
from ccenv.simulator.simulator import Simulator

scores_of_four = st.lists(st.floats(-4, 4), min_size=4, max_size=4)
logits_of_three = st.lists(st.floats(-4, 4), min_size=3, max_size=3)
MASKS = torch.tensor(list(itertools.product([False, True], repeat=4)))


def every_order(least, most):
    """All orders of all numbers of four blocks, filled up: int64 [draws, most]."""
    found = [
        [*order, *[NO_BLOCK] * (most - number)]
        for number in range(least, most + 1)
        for order in itertools.permutations(range(4), number)
    ]
    return torch.tensor(found)


def counted(scores, logits, least, rows=1):
    return CountedBlocks(
        torch.tensor(scores).expand(rows, -1), torch.tensor(logits).expand(rows, -1), least
    )


KINDS = {
    "independent": (
        lambda scores, _, rows: IndependentBlocks(
            keep_probability(torch.tensor(scores)).expand(rows, -1)
        ),
        MASKS,
    ),
    "one or coins": (
        lambda scores, logits, rows: OneOrCoins(
            torch.tensor([*scores, logits[1], *scores[::-1], logits[0]]).expand(rows, -1)
        ),
        MASKS,
    ),
    "one or coins, none given up": (
        lambda scores, logits, rows: OneOrCoins(
            torch.tensor([*scores, logits[1], *scores[::-1], logits[0]]).expand(rows, -1), 0.05
        ),
        MASKS,
    ),
    "ordered": (
        lambda scores, _, rows: OrderedBlocks(torch.tensor(scores).expand(rows, -1), 2),
        every_order(2, 2),
    ),
    "whole order": (
        lambda scores, _, rows: OrderedBlocks(torch.tensor(scores).expand(rows, -1), 4),
        every_order(4, 4),
    ),
    "shared": (
        lambda scores, _, rows: AlwaysOn(
            OrderedBlocks(torch.tensor(scores[1:]).expand(rows, -1), 2), num_always=1
        ),
        torch.tensor([[0, *order] for order in itertools.permutations((1, 2, 3), 2)]),
    ),
    "counted": (lambda scores, logits, rows: counted(scores, logits, 0, rows), every_order(0, 2)),
    "counted from 2": (
        lambda scores, logits, rows: counted(scores, logits, 2, rows),
        every_order(2, 4),
    ),
}
"""Distribution -> how it is made of scores and logits, and every draw."""


@pytest.mark.parametrize("kind", KINDS)
@given(scores=scores_of_four, logits=logits_of_three)
def test_the_probabilities_of_all_draws_sum_to_one_and_those_of_a_number_to_its_own(
    kind, scores, logits
):
    make, draws = KINDS[kind]
    probability = make(scores, logits, len(draws)).log_prob(draws).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-5)
    if "counted" in kind:
        kept = (draws != NO_BLOCK).sum(dim=1)
        for place, expected in enumerate(torch.tensor(logits).softmax(dim=0).tolist()):
            total = probability[kept == kept.min() + place].sum().item()
            assert total == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "kind",
    ["independent", "one or coins", "one or coins, none given up", "ordered", "shared", "counted"],
)
@settings(max_examples=10, deadline=None)
@given(scores=scores_of_four, logits=logits_of_three, seed=st.integers(0, 100))
def test_draws_are_as_frequent_as_their_probability_says(kind, scores, logits, seed):
    rows, (make, draws) = 20_000, KINDS[kind]
    drawn = make(scores, logits, rows).sample(torch.Generator().manual_seed(seed))
    probability = make(scores, logits, len(draws)).log_prob(draws).exp()
    for draw, expected in zip(draws, probability.tolist(), strict=True):
        share = (drawn == draw).all(dim=1).float().mean().item()
        # Five standard errors of a share of 20,000 draws.
        assert share == pytest.approx(expected, abs=5 * (expected / rows) ** 0.5 + 1e-3)


@given(scores=scores_of_four)
def test_entropy_of_independent_blocks_is_the_mean_of_minus_log_probability(scores):
    blocks = KINDS["independent"][0](scores, None, len(MASKS))
    log_prob = blocks.log_prob(MASKS)
    expected = -(log_prob.exp() * log_prob).sum()
    assert blocks.entropy()[0].item() == pytest.approx(expected.item(), abs=1e-4)


@given(scores=scores_of_four, logits=logits_of_three, floor=st.sampled_from([0.0, 0.05]))
def test_a_mixture_keeps_blocks_as_often_as_its_masks_do_and_is_no_surer_than_they_are(
    scores, logits, floor
):
    blocks = replace(KINDS["one or coins"][0](scores, logits, len(MASKS)), floor=floor)
    log_prob = blocks.log_prob(MASKS)
    kept = (log_prob.exp()[:, None] * MASKS).sum(dim=0)
    torch.testing.assert_close(blocks.probability[0], kept, rtol=1e-4, atol=1e-5)
    of_masks = -(log_prob.exp() * log_prob).sum().item()
    # What drew a mask is at most one bit more.
    assert of_masks - 1e-4 <= blocks.entropy()[0].item() <= of_masks + math.log(2) + 1e-4


@given(scores=scores_of_four, logits=logits_of_three)
def test_the_mode_of_a_mixture_is_the_likelier_one_of_its_best_block_or_none_and_its_coins_own(
    scores, logits
):
    blocks = KINDS["one or coins"][0](scores, logits, len(MASKS))
    # A coin's logit is its own and the block's as the one, and the last candidate keeps none.
    tossed = torch.tensor(
        [own + other > 0 for own, other in zip(scores, scores[::-1], strict=False)]
    )
    candidates = torch.cat([torch.eye(4).bool(), torch.zeros(1, 4).bool(), tossed[None]])
    found = OneOrCoins(blocks.scores[:6]).log_prob(candidates)
    one = found[torch.tensor([*scores, logits[1]]).argmax()]
    mode = blocks.log_prob(blocks.mode())[0]
    assert mode.item() == pytest.approx(max(one.item(), found[-1].item()), abs=1e-5)


@given(
    logit=st.floats(-80, 80),
    low=st.floats(0, 0.4),
    high=st.floats(0.6, 1),
)
def test_logarithms_of_a_share_and_of_the_rest_are_those_of_its_ends(logit, low, high):
    yes, no = log_shares(torch.tensor([logit], dtype=torch.float64), low, high)
    share = low + (high - low) / (1 + math.exp(-logit))
    assert yes.exp().item() + no.exp().item() == pytest.approx(1.0)
    assert yes.exp().item() == pytest.approx(share)
    assert yes.isfinite()
    assert no.isfinite()
    assert low == 0 or yes.item() >= math.log(low) - 1e-9


@given(scores=scores_of_four, logits=logits_of_three, floor=st.floats(0.01, 0.19))
def test_a_floor_leaves_a_share_to_both_ways_of_drawing_and_to_keeping_a_block(
    scores, logits, floor
):
    away = torch.tensor([[*scores, 90.0, *scores, logits[0]]])
    one, _, is_one, is_tossed = mixed_logs(away, floor)
    assert one.exp().sum().item() == pytest.approx(1.0)
    assert one[0, :-1].exp().sum().item() == pytest.approx(5 * floor, rel=1e-4)
    for weight in (-90.0, 90.0):
        away[0, -1] = weight
        _, _, is_one, is_tossed = mixed_logs(away, floor)
        assert min(is_one.exp().item(), is_tossed.exp().item()) == pytest.approx(floor, rel=1e-4)


def test_the_log_probability_of_an_ordered_draw_is_the_product_worked_out_by_hand():
    blocks = OrderedBlocks(torch.tensor([[1.0, 2.0, 5.0]]).log(), num_kept=2)
    # 5/8 for the third block, then 1/3 for the first among the two that are left.
    expected = torch.tensor([5 / 8 * 1 / 3]).log()
    torch.testing.assert_close(blocks.log_prob(torch.tensor([[2, 0]])), expected)


def test_the_papers_regularizers_of_a_probability_table_are_the_numbers_worked_out_by_hand():
    table = torch.tensor([[0.2, 0.8], [0.4, 0.0]])
    # Means over images .3, .4; over blocks .5, .2; variances over images .01, .16, within .09, .04.
    text = [0.05 + 0.15, (0.25 + 0.05) / 2, -(0.01 + 0.16)]
    code = [0.05**2 + 0.15**2, 0.001 * (0.25**2 + 0.05**2), -(0.17 + 0.1 * 0.13)]
    for variant, expected in (("text", text), ("code", code)):
        found = [value.item() for value in regularizers(table, 0.25, variant)]
        assert found == pytest.approx(expected, abs=1e-6)


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


@given(st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4), st.floats(1e-6, 0.49))
def test_no_coin_is_surer_than_its_lowest_keep_probability(values, least):
    found = keep_probability(torch.tensor(values, dtype=torch.float64), least)
    assert found.min() >= least - 1e-12
    assert found.max() <= 1 - least + 1e-12


@pytest.mark.parametrize("name", ["reinforce", "actor_critic", "rloo"])
def test_the_lowest_keep_probability_holds_however_masks_are_chosen(name):
    own = {"sampling": "independent"} if name == "rloo" else {}
    simulator = Simulator(8, group_size=8, dataset="synthetic", num_blocks=[4])
    agent = AGENTS[name](simulator, min_probability=0.2, **own)
    with torch.no_grad():
        for parameter in agent.parameters().values():
            parameter.mul_(1e4)
    shown = agent.keep_probability(torch.rand(8, simulator.obs_size), 0)
    assert 0.2 - 1e-6 <= shown.min() < 0.21
    assert 0.79 < shown.max() <= 0.8 + 1e-6
    assert [one.low for one in agent.choosers(deterministic=False)] == [0.2]


@pytest.mark.parametrize("least", [0.001, 0.01, 0.1])
def test_coins_of_rloo_start_at_the_share_that_is_kept_at_first(least):
    simulator = Simulator(8, group_size=8, dataset="synthetic", num_blocks=[8])
    agent = AGENTS["rloo"](simulator, num_kept=3, sampling="independent", min_probability=least)
    with torch.no_grad():
        agent.scores.last(0).weight.zero_()
    shown = agent.keep_probability(torch.rand(8, simulator.obs_size), 0)
    torch.testing.assert_close(shown, torch.full_like(shown, 3 / 8))
