"""Laws of a table as a network: agents on it meet the same episodes; what they reach is a sum."""

import dataclasses

import numpy as np
import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.annexes.mask_table import all_masks, build, optimum, rewards
from ccenv.annexes.mask_table.environment import TableNetwork, settings_of_tables
from ccenv.base.registry import resolve
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import seeded

NUM = 48


@pytest.fixture(scope="module")
def simulator():
    found = seeded(
        16, dataset="probe", network="probe-residual", split="test", reward="nll_minus_cost"
    )
    return found


@pytest.fixture(scope="module")
def table(simulator, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "probe.safetensors"
    return build(simulator.network, simulator.data, path, limit=NUM, batch_size=16)


def table_simulator(table, num_images=16, reward="accuracy_minus_cost", **settings):
    found = settings_of_tables(table, choosing=16, **settings)
    return Simulator(num_images, reward=reward, **found)


def test_episodes_on_a_table_are_the_networks_own(simulator, table):
    generator = torch.Generator().manual_seed(0)
    looked = table_simulator(table, reward="nll_minus_cost")
    looked.seed(0)
    for _ in range(4):
        images = torch.randint(NUM - 16, (16,), generator=generator)
        simulator.begin(images)
        looked.begin(images)
        for gate in range(4):
            if gate == 0:
                seen = simulator.network.look(gate, simulator.state.hidden)
            same = looked.network.look(gate, looked.state.hidden)[:, : seen.shape[1]]
            torch.testing.assert_close(same, seen, atol=2e-3, rtol=2e-3)
            mask = torch.rand(16, 1, generator=generator) < 0.5
            own, other = simulator.step(mask), looked.step(mask)
            assert torch.equal(own.outcome.macs, other.outcome.macs)
            assert torch.equal(own.outcome.layer_cost, other.outcome.layer_cost)
            torch.testing.assert_close(own.reward, other.reward, atol=2e-3, rtol=2e-3)
        right = own.outcome.logits.argmax(1) == own.outcome.labels
        assert torch.equal(right, other.outcome.logits.argmax(1) == 0)


@pytest.mark.parametrize("name", ["straight_through", "gumbel", "topk", "dynamic_gate"])
def test_agents_that_go_back_through_the_network_are_refused_with_the_reason(table, name):
    simulator = table_simulator(table)
    simulator.seed(0)
    settings = {"num_kept": 1} if name == "topk" else {}
    agent = resolve(name, AGENTS, "agent")(simulator, **settings)
    with pytest.raises(ValueError, match="a table holds no answers"):
        agent.learn(16)


def test_bits_alone_will_do_and_other_tables_are_refused(table):
    bits = dataclasses.replace(table, nll=None)
    alone = table_simulator(bits, score="right")
    alone.seed(0)
    alone.begin(torch.arange(16))
    for _ in range(4):
        step = alone.step(torch.ones(16, 1, dtype=torch.bool))
    right = torch.from_numpy(table.is_right()[:16, -1])
    assert torch.equal(step.outcome.logits.argmax(1) == 0, right)
    assert bool((step.outcome.compute_cost == 1).all())
    with pytest.raises(ValueError, match="nll"):
        TableNetwork([bits])
    header = dataclasses.replace(table.header, weights="another")
    with pytest.raises(ValueError, match="another weights"):
        TableNetwork([table, dataclasses.replace(table, header=header)])


def test_potential_based_shaping_leaves_the_best_mask_of_every_input_as_it_is(simulator, table):
    price, masks = 0.4, torch.from_numpy(all_masks(table.header.menus))
    exact = rewards(table.outcomes("right"), price)
    shaped_env = seeded(
        NUM,
        dataset="probe",
        network=simulator.network,
        split="test",
        reward="potential",
        reward_kwargs={"cost_weight": price},
    )
    returns = []
    for mask in masks:
        shaped_env.begin(torch.arange(NUM))
        steps = [shaped_env.step(mask[None, gate, None].expand(NUM, 1)) for gate in range(4)]
        returns.append(sum(step.reward for step in steps))
    shaped = torch.stack(returns, dim=1).double().numpy()
    # The same number is added to all masks of an input, and another one to other inputs.
    added = shaped - exact
    np.testing.assert_allclose(added, np.repeat(added[:, :1], len(masks), axis=1), atol=1e-5)
    assert added[:, 0].std() > 1e-3
    found = optimum(table.outcomes("right"), price)
    np.testing.assert_allclose(shaped.max(axis=1) - added[:, 0], found.values, atol=1e-5)
    assert np.array_equal(shaped.argmax(axis=1), exact.argmax(axis=1))
