"""Laws of noisy top-k gates and their balance (Shazeer et al. 2017), and of gates as actions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import EXPERTS

from ccenv.annexes.agents.noisy_topk import (
    NoisyTopK,
    move_bias,
    smooth_load,
    squared_variation,
    top_gates,
)
from ccenv.annexes.agents.straight_through_ops import soft_masked_logits
from ccenv.base.masks import gate_values_of
from ccenv.base.seeding import stream
from ccenv.networks.core.protocol import walk as walk_network
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.rollout import collect_rollout, walk
from tests.ccenv.episodes import same_weights, seeded

SIZES = {"expert_size": 4, "channels": [2, 4], "first_units": 4}


def simulator_of(images=64, num_experts=8, **more):
    sizes = {"num_experts": num_experts, **SIZES}
    return seeded(images, **EXPERTS | {"network_kwargs": sizes} | more)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=stream(seed, "test"))


@given(seed=st.integers(0, 50), blocks=st.integers(1, 9), data=st.data())
@settings(max_examples=30, deadline=None)
def test_exactly_k_gates_are_not_zero_and_they_sum_to_one(seed, blocks, data):
    k = data.draw(st.integers(1, blocks))
    # Scores so far apart that a softmax alone would be 0 at some that are kept.
    gates = top_gates(100 * drawn(seed, 5, blocks), k)
    assert ((gates > 0).sum(dim=1) == k).all()
    torch.testing.assert_close(gates.sum(dim=1), torch.ones(5))


@pytest.mark.parametrize("blocks", [2, 5, 16])
def test_the_squared_variation_of_one_block_in_use_is_the_number_of_others(blocks):
    one = torch.nn.functional.one_hot(torch.tensor(0), blocks).float()
    # Of the population: an unbiased variance would give the number of blocks.
    assert squared_variation(64 * one).item() == pytest.approx(blocks - 1)
    assert squared_variation(torch.full((blocks,), 3.0)).item() == 0


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_the_smooth_load_is_how_often_a_block_is_kept_and_sums_to_k(k):
    scores, spread = drawn(0, 1, 8), drawn(1, 1, 8).exp()
    noisy = scores + spread * drawn(2, 60_000, 8)
    load = smooth_load(scores.expand_as(noisy), noisy, spread.expand_as(noisy), k).mean(dim=0)
    often = (top_gates(noisy, k) > 0).float().mean(dim=0)
    torch.testing.assert_close(load, often, atol=0.006, rtol=0)
    assert load.sum().item() == pytest.approx(k, abs=0.01)


def task_gradient(k):
    simulator = simulator_of()
    agent = NoisyTopK(simulator, num_kept=k, importance_weight=0.0, load_weight=0.0)
    rollout = collect_rollout(simulator, agent, agent.generator)
    seen = rollout.observations[0]
    gates = top_gates(agent.router.scores(seen, 0), k)
    images = simulator.state.images_by_row
    logits = soft_masked_logits(simulator.network, images, [gates], [gates > 0])
    loss = torch.nn.functional.cross_entropy(logits, simulator.state.labels)
    gradients = torch.autograd.grad(loss, list(agent.router.scores.parameters()))
    return max(gradient.abs().max().item() for gradient in gradients)


def test_the_router_has_a_gradient_of_the_task_from_two_kept_blocks_on():
    assert task_gradient(1) == 0
    assert task_gradient(2) > 0


def test_the_load_moves_the_router_where_the_task_cannot():
    scores = drawn(0, 6, 4).requires_grad_()
    noisy = scores + drawn(1, 6, 4)
    load = squared_variation(smooth_load(scores, noisy, torch.ones(6, 4), 1).sum(dim=0))
    assert torch.autograd.grad(load, scores)[0].abs().max() > 0


def test_a_bias_moves_against_the_load():
    bias = torch.zeros(3)
    mask = torch.tensor([[True, False, True], [True, False, False]])
    assert move_bias(bias, mask, 0.5) == 2.0
    assert bias.tolist() == [-0.5, 0.5, 0.0]


def test_gates_reach_the_network_in_episodes_evaluation_and_its_own_learning():
    simulator = simulator_of(32)
    agent = NoisyTopK(simulator, num_kept=2)
    with torch.no_grad():
        agent.router.scores.layers[0][-1].weight += 0.3 * drawn(3, 8, simulator.observe.lengths[0])
    _, actions, steps = walk(simulator, agent, None, torch.arange(32))
    images, labels = simulator.data.batch(torch.arange(32))
    gates = actions[0]
    expected = walk_network(simulator.network, images, lambda *_: gates > 0, "auto", [gates])
    assert torch.equal(steps[-1].outcome.logits, expected)
    bare = simulator.network(images, [gates > 0])
    assert not torch.allclose(bare, expected)
    loss = torch.nn.functional.cross_entropy(expected, labels).item()
    assert simulator.update_network()["network_loss"] == pytest.approx(loss, rel=1e-5)
    assert evaluate(simulator, agent).density == (0.25,)


def test_a_simulator_remembers_the_gates_of_batches_that_it_has_not_learned_from():
    first, second = simulator_of(8), simulator_of(8)
    agent = NoisyTopK(first)
    collect_rollout(first, agent, agent.generator)
    restore_simulator(second, simulator_state(first))
    first.update_network()
    second.update_network()
    assert same_weights(first.network, second.network)


@pytest.mark.parametrize("values", [[[0.5, 1.5]], [[-0.1, 0.0]], [[float("nan"), 0.0]]])
def test_gates_outside_of_zero_and_one_are_refused(values):
    with pytest.raises(ValueError, match=r"gate values in \[0, 1\]"):
        gate_values_of(torch.tensor(values))
