"""Laws of antithetic masks: unbiased by enumeration, less variance than leave-one-out."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.agents.advantages import leave_one_out
from ccenv.agents.distributions import IndependentBlocks
from ccenv.annexes.agents.disarm import AntitheticBlocks, against_others, antithetic_loss
from ccenv.base.seeding import stream

N = 3
MASKS = torch.tensor(list(itertools.product((False, True), repeat=N)))
log_odds = st.lists(st.floats(-3, 3), min_size=N, max_size=N)


def pair_chances(first, second):
    """Chance that a pair keeps a block [not, not], [not, kept], [kept, not], [kept, kept]."""
    both = max(0.0, first + second - 1)
    return {
        (True, True): both,
        (True, False): first - both,
        (False, True): second - both,
        (False, False): 1 - first - second + both,
    }


def worth_of(masks):
    """A reward with interactions of all orders, one number a mask."""
    bits = masks.float()
    return bits @ torch.tensor([1.0, -2.0, 0.5]) + 3 * bits.prod(dim=1) - bits[:, 0] * bits[:, 1]


def exact(scores):
    """The gradient of the mean reward over all masks, by autograd."""
    scores = scores.clone().requires_grad_()
    blocks = IndependentBlocks(scores.sigmoid().expand(len(MASKS), -1))
    mean = (blocks.log_prob(MASKS).exp() * worth_of(MASKS)).sum()
    return torch.autograd.grad(mean, scores)[0]


def estimate(scores, masks, shift=0.0):
    """DisARM's gradient from one pair of masks [2, N]."""
    scores = scores.clone().requires_grad_()
    loss = antithetic_loss(scores.sigmoid().expand(2, -1), masks, worth_of(masks) + shift)
    return -torch.autograd.grad(loss, scores)[0]


def every_pair(scores):
    """Every pair of masks with its chance."""
    p = scores.sigmoid().tolist()
    for bits in itertools.product(itertools.product((True, False), repeat=2), repeat=N):
        chance = 1.0
        for block, two in enumerate(bits):
            chance *= pair_chances(p[block], p[block])[two]
        yield torch.tensor(bits).t(), chance


@settings(max_examples=6, deadline=None)
@given(log_odds)
def test_its_mean_over_all_pairs_is_the_gradient_over_all_masks(values):
    scores = torch.tensor(values, dtype=torch.float64)
    found = sum(chance * estimate(scores, pair, 7.0) for pair, chance in every_pair(scores))
    torch.testing.assert_close(found, exact(scores), atol=1e-6, rtol=1e-5)


@settings(max_examples=6, deadline=None)
@given(log_odds)
def test_where_a_pair_agrees_nothing_is_learned_and_elsewhere_the_difference(values):
    scores = torch.tensor(values, dtype=torch.float64)
    for pair, _ in every_pair(scores):
        found, agree = estimate(scores, pair), pair[0] == pair[1]
        assert (found[agree].abs() < 1e-9).all()
        difference = (worth_of(pair[:1]) - worth_of(pair[1:])).item() / 2
        expected = torch.where(pair[0], 1.0, -1.0) * difference * scores.abs().sigmoid()
        torch.testing.assert_close(found[~agree], expected[~agree])


def test_it_varies_less_than_leave_one_out_with_as_many_masks():
    scores = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    mean = exact(scores)
    own = sum(
        chance * (estimate(scores, pair) - mean).square().sum()
        for pair, chance in every_pair(scores)
    )
    other = torch.zeros(())
    chances = IndependentBlocks(scores.sigmoid().expand(len(MASKS), -1)).log_prob(MASKS).exp()
    for (a, one), (b, two) in itertools.product(enumerate(MASKS), repeat=2):
        pair = torch.stack([one, two])
        advantage = leave_one_out(worth_of(pair), 2)
        gradient = (advantage[:, None] * (pair.double() - scores.sigmoid())).mean(dim=0)
        other = other + chances[a] * chances[b] * (gradient - mean).square().sum()
    assert own < 0.9 * other


REWARDS = {(0, 0): 1.0, (0, 1): -1.0, (1, 0): 0.5, (1, 1): 3.0}


@settings(max_examples=6, deadline=None)
@given(log_odds)
def test_the_gradient_of_two_gates_is_unbiased_where_the_second_sees_the_first_ones_mask(values):
    theta = torch.tensor(values, dtype=torch.float64)

    def scores_of(parameters, kept):
        """Of two gates of one block: the second's depends on the first mask."""
        second = parameters[1] + torch.where(kept, parameters[2], 0.0)
        return [parameters[0].expand_as(second), second]

    parameters = theta.clone().requires_grad_()
    bits = torch.tensor(list(REWARDS)).bool()
    chances = torch.stack(scores_of(parameters, bits[:, 0]), dim=1).sigmoid()
    of_each = torch.where(bits, chances, 1 - chances).prod(dim=1)
    mean = (of_each * torch.tensor(list(REWARDS.values()))).sum()
    (expected,) = torch.autograd.grad(mean, parameters)
    found = torch.zeros(3, dtype=torch.float64)
    p = theta[0].sigmoid().item()
    for first, chance in pair_chances(p, p).items():
        seen = scores_of(theta, torch.tensor(first))[1].sigmoid().tolist()
        for second, then in pair_chances(*seen).items():
            parameters = theta.clone().requires_grad_()
            worth = torch.tensor([REWARDS[pair] for pair in zip(first, second, strict=True)])
            masks = torch.tensor([first, second])[:, :, None]
            scores = scores_of(parameters, torch.tensor(first))
            loss = sum(
                antithetic_loss(score.sigmoid()[:, None], mask, worth)
                for score, mask in zip(scores, masks, strict=True)
            )
            found -= chance * then * torch.autograd.grad(loss, parameters)[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_pairs_are_drawn_as_often_as_their_chances_say_and_each_row_as_its_own():
    table = torch.tensor([[0.7, 0.2], [0.6, 0.5]]).repeat(20_000, 1)
    masks = AntitheticBlocks(table).sample_pairs(stream(0, "pairs"))
    torch.testing.assert_close(masks[0::2].float().mean(dim=0), table[0], atol=0.015, rtol=0)
    torch.testing.assert_close(masks[1::2].float().mean(dim=0), table[1], atol=0.015, rtol=0)
    both = (masks[0::2] & masks[1::2]).float().mean(dim=0)
    torch.testing.assert_close(both, torch.tensor([0.3, 0.0]), atol=0.015, rtol=0)


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=8), st.sampled_from([2, 4]))
def test_what_returns_are_compared_with_has_no_part_of_their_own_pair(values, group_size):
    returns = torch.tensor(values)
    found = against_others(returns, group_size)
    moved = returns.clone()
    moved[:2] += 100
    taken = returns - found
    torch.testing.assert_close((moved - against_others(moved, group_size))[:2], taken[:2])
