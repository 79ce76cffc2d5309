"""Laws of adaptive computation time (Graves 2016): halting, its cost, and what really runs."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.annexes.agents.act import Act, going_on, halt
from ccenv.annexes.agents.straight_through_ops import loss_under
from ccenv.simulator.rollout import collect_rollout, walk
from tests.ccenv.episodes import seeded

SMALL = {
    "dataset": "digits",
    "network": "pondering",
    "network_kwargs": {"units": 8, "num_steps": 5, "loss_weight": 0.0},
    "weights": "cotrain",
    "observation": "layer_input",
}


simulator_of = functools.partial(seeded, **SMALL)


def still():
    """The same with its network as it is at first, which nothing teaches."""
    network = simulator_of().network
    return seeded(8, dataset="digits", observation="layer_input", network=network)


def pondering(images=32, **settings_of_agent):
    """An agent whose rows stop at different steps."""
    simulator = simulator_of(images)
    agent = Act(simulator, halting_bias=-1.0, **settings_of_agent)
    with torch.no_grad():
        for layer in agent.units.layers:
            layer[-1].weight.mul_(8)
    return simulator, agent


@pytest.mark.parametrize(
    ("values", "steps", "cost", "weights"),
    [
        ([0.01, 0.5, 0.6, 0.7], 3, 3.49, [0.01, 0.5, 0.49, 0, 0]),
        ([0.999] * 4, 1, 2.0, [1, 0, 0, 0, 0]),
        ([0.01] * 4, 5, 5.96, [0.01, 0.01, 0.01, 0.01, 0.96]),
        # A value that is counted twice would stop here at once.
        ([0.6, 0.6], 2, 2.4, [0.6, 0.4, 0]),
    ],
)
def test_the_known_values(values, steps, cost, weights):
    found = halt(torch.tensor([values]))
    assert found.steps.tolist() == [steps]
    assert found.cost.item() == pytest.approx(cost, abs=1e-6)
    assert found.weights[0].tolist() == pytest.approx(weights, abs=1e-6)


def test_the_costs_gradient_is_minus_one_before_the_last_step_and_zero_from_there_on():
    values = torch.tensor([[0.01, 0.5, 0.6, 0.7]], requires_grad=True)
    (gradient,) = torch.autograd.grad(halt(values).cost.sum(), values)
    assert gradient.tolist() == [[-1.0, -1.0, 0.0, 0.0]]


VALUES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8)


@given(values=VALUES, epsilon=st.sampled_from([0.01, 0.1]))
@settings(max_examples=100, deadline=None)
def test_the_weights_sum_to_one_and_the_cost_lies_one_above_the_steps(values, epsilon):
    found = halt(torch.tensor([values]), epsilon)
    assert found.weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert (found.weights >= 0).all()
    assert found.steps < found.cost + 1e-5
    assert found.cost <= found.steps + 1 + 1e-5


@given(values=VALUES)
@settings(max_examples=100, deadline=None)
def test_products_of_the_shares_that_go_on_are_the_weights(values):
    found, shares = halt(torch.tensor([values])), going_on(torch.tensor([values]))[0]
    left, weights = 1.0, []
    for share in shares:
        weights.append(left * (1 - share.item()))
        left *= share.item()
    assert [*weights, left] == pytest.approx(found.weights[0].tolist(), abs=1e-5)
    assert int((shares > 0).sum()) + 1 == found.steps.item()


def all_steps(network, units, images):
    """Every step's answer [rows, steps, classes], and halting by what the steps show."""
    hidden, answers, values = network.start(images), [], []
    for gate in range(4):
        values.append(units(network.look(gate, hidden), gate).sigmoid())
        answers.append(network.early_answer(gate, hidden)[0])
        hidden = network.step(gate, hidden, None)
    answers = torch.stack([*answers, network.logits(hidden)], dim=1)
    return answers, halt(torch.cat(values, dim=1))


def test_the_answer_is_the_mean_of_all_steps_answers_that_the_weights_say():
    simulator, agent = pondering()
    _, _, steps = walk(simulator, agent, None, torch.arange(32))
    images, _ = simulator.data.batch(torch.arange(32))
    with torch.no_grad():
        answers, found = all_steps(simulator.network, agent.units, images)
    assert len(found.steps.unique()) > 2
    expected = (answers * found.weights[:, :, None]).sum(dim=1)
    torch.testing.assert_close(steps[-1].outcome.logits, expected, atol=1e-5, rtol=1e-5)
    loss = torch.nn.functional.cross_entropy(expected, steps[-1].outcome.labels)
    # So the network learns from the same answer, and from no step's own.
    assert simulator.update_network()["network_loss"] == pytest.approx(loss.item(), rel=1e-4)


def test_so_many_steps_run_and_are_billed_as_rows_ponder():
    simulator, agent = pondering()
    rows = []
    cell = simulator.network.parts[1]
    cell.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    _, actions, steps = walk(simulator, agent, None, torch.arange(32))
    number = 1 + sum((action[:, 0] > 0).long() for action in actions)
    assert sum(rows) == int((number - 1).sum())
    network = simulator.network
    first, more = network.start_macs, network.fixed_macs[0]
    assert steps[-1].outcome.macs.tolist() == (first + more * (number - 1)).tolist()


def test_the_halting_gradient_reaches_the_cell_and_the_networks_update_adds_the_rest():
    simulator, agent = pondering(time_weight=0.3)
    assert agent.network_gradient
    agent.optimizer = torch.optim.SGD(agent.units.parameters(), lr=0.0)
    rollout = collect_rollout(simulator, agent, agent.generator)
    agent.update(rollout)
    network, state, taken = simulator.network, simulator.state, simulator.trainer.taken
    gates, parameters = list(rollout.actions), list(network.parameters())
    own = loss_under(simulator, gates, [gate > 0 for gate in gates])
    direct = torch.autograd.grad(own, parameters)
    # The paper's loss of the same batch, with one gradient in everything.
    answers, halting = all_steps(network, agent.units, state.images)
    loss = torch.nn.functional.cross_entropy(
        (answers * halting.weights[:, :, None]).sum(dim=1), state.labels
    )
    whole = torch.autograd.grad(loss + 0.3 * halting.cost.mean(), parameters)
    for one, other, total in zip(taken, direct, whole, strict=True):
        torch.testing.assert_close(one + other if one is not None else other, total)
    assert max(float(one.abs().max()) for one in taken if one is not None) > 1e-3
    # It is added once.
    before = [p.detach().clone() for p in network.parameters()]
    simulator.trainer.optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    simulator.update_network()
    for old, new, slope in zip(before, network.parameters(), whole, strict=True):
        torch.testing.assert_close(old - new.detach(), slope, atol=1e-5, rtol=1e-4)
    assert not simulator.trainer.taken


@pytest.mark.parametrize(
    ("settings", "reaches"),
    [
        ({}, True),
        ("frozen", False),
        ({"network": "early_exit", "network_kwargs": {"units": [4, 4]}}, False),
    ],
)
def test_the_gradient_reaches_a_cell_that_learns_and_no_other_network(settings, reaches):
    agent = Act(still() if settings == "frozen" else simulator_of(8, **settings))
    assert agent.network_gradient is reaches
    agent.update(collect_rollout(agent.simulator, agent, agent.generator))
    assert bool(reaches and agent.simulator.trainer.taken) is reaches
