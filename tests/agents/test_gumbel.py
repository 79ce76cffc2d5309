"""Laws of Gumbel gates and of a selection bias by load: what is kept, and what gradients are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from probes import make_agent

from ccenv.annexes.agents.gumbel import relaxed_top_k
from ccenv.base.masks import as_mask
from ccenv.simulator.rollout import collect_rollout

rows = st.lists(st.floats(-4, 4), min_size=5, max_size=5)


@given(rows, st.integers(1, 5), st.floats(0.2, 3))
def test_a_relaxed_draw_sums_to_k(values, kept, temperature):
    noisy = torch.tensor([values], dtype=torch.float64)
    relaxed = relaxed_top_k(noisy, kept, temperature)
    assert relaxed.sum().item() == pytest.approx(kept)
    assert (relaxed >= 0).all()


@given(rows, st.floats(0.2, 3))
def test_of_one_block_it_is_the_gumbel_softmax(values, temperature):
    noisy = torch.tensor([values])
    expected = (noisy / temperature).softmax(dim=1)
    torch.testing.assert_close(relaxed_top_k(noisy, 1, temperature), expected)


@given(st.permutations(range(5)), st.integers(1, 4))
def test_cold_it_is_the_mask_of_the_k_highest(order, kept):
    noisy = torch.tensor([order], dtype=torch.float64)
    mask = as_mask(noisy.topk(kept).indices, 5)
    torch.testing.assert_close(relaxed_top_k(noisy, kept, 0.02), mask.double(), atol=1e-4, rtol=0)


def test_the_relaxation_cools_down():
    agent, found = make_agent("gumbel", rows=4), []
    for agent.progress in (0.0, 0.5, 1.0):
        found.append(agent.temperature)
    assert found == pytest.approx([1.0, 0.5**0.5, 0.5])


def test_a_noisy_coin_keeps_a_block_as_often_as_its_probability_says():
    agent = make_agent("gumbel", rows=4)
    scores = torch.tensor([[0.0, 1.5, -1.0]]).expand(20_000, -1)
    kept = (scores + agent.draw_noise(scores) > 0).float().mean(dim=0)
    torch.testing.assert_close(kept, scores[0].sigmoid(), atol=0.015, rtol=0)


def test_an_update_uses_the_noise_that_drew_the_masks_and_forgets_it():
    agent = make_agent("gumbel", rows=16)
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    for layer, mask in enumerate(rollout.actions):
        noisy = agent.scores(rollout.observations[layer], layer) + agent.noise[layer]
        assert torch.equal(noisy > 0, mask)
        assert torch.equal(agent.relaxed(noisy, layer) > 0.5, mask)
    agent.update(rollout)
    assert agent.noise == {}


def test_the_bias_changes_which_blocks_are_kept_and_not_the_gradient_of_kept_ones():
    plain, moved = (make_agent("topk", rows=16, bias_rate=rate) for rate in (0.0, 1e-9))
    for agent in (plain, moved):
        agent.update(collect_rollout(agent.simulator, agent, agent.generator))
    for one, other in zip(plain.scores.parameters(), moved.scores.parameters(), strict=True):
        assert torch.equal(one, other)
    observation = plain.simulator.begin()
    with torch.no_grad():
        moved.bias[0][3] = 100.0
    assert (moved.act(observation, 0)[:, 0] == 3).all()
    assert torch.equal(moved.scores(observation, 0), plain.scores(observation, 0))


def test_a_bias_is_in_states_and_without_a_rate_there_is_none():
    agent, other = (make_agent("topk", rows=16, bias_rate=0.1) for _ in range(2))
    agent.learn(64)
    other.load_state(agent.state())
    assert agent.bias[0].abs().max() > 0.05
    assert torch.equal(agent.bias[0], other.bias[0])
    plain = make_agent("topk", rows=16)
    assert not [name for name in plain.parameters() if "bias." in name and "scores" not in name]
