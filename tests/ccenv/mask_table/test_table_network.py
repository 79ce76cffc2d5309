"""Laws of a table as a network: agents on it meet the same episodes; what they reach is a sum."""

import dataclasses
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.mask_table import all_masks, build, optimum, rewards, value
from ccenv.mask_table.environment import TableNetwork, mask_chances, table_simulator
from ccenv.mask_table.times import UnitTimes, read_times, write_times
from ccenv.runs.mask_tables.build import time_parts
from ccenv.simulator.simulator import Simulator

NUM = 48
COINS = np.array([0.2, 0.5, 0.7, 0.9])


@pytest.fixture(scope="module")
def simulator():
    found = Simulator(
        16, dataset="probe", network="probe-residual", split="test", reward="nll_minus_cost"
    )
    found.seed(0)
    return found


@pytest.fixture(scope="module")
def table(simulator, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "probe.safetensors"
    return build(simulator.network, simulator.data, path, limit=NUM, batch_size=16)


@pytest.fixture(scope="module")
def behind(simulator):
    """What is seen at each gate behind every prefix of masks: [inputs, prefixes, columns]."""
    network, (inputs, _) = simulator.network, simulator.data.batch(torch.arange(NUM))
    hidden, seen = [network.start(inputs)], []
    for gate in range(len(network.gates)):
        looks = [network.look(gate, one).numpy() for one in hidden]
        seen.append(np.stack(looks, axis=1).astype(np.float16))
        bits = [torch.full((NUM, 1), bit) for bit in (False, True)]
        hidden = [network.step(gate, one, bit) for one in hidden for bit in bits]
    return seen


class FixedCoins:
    """Keeps with given probabilities; or, told a look's size, a gate copies the one before it."""

    def __init__(self, copies=0):
        self.copies = copies

    def keep_probability(self, observation, layer):
        rows = len(observation)
        if self.copies and layer:
            return observation[:, [self.copies + layer - 1]]
        return torch.full((rows, 1), float(COINS[layer]))


def test_episodes_on_a_table_are_the_networks_own(simulator, table, behind):
    generator = torch.Generator().manual_seed(0)
    looked = table_simulator(
        table, choosing=16, num_images=16, later=behind[1:], reward="nll_minus_cost"
    )
    looked.seed(0)
    for _ in range(4):
        images = torch.randint(NUM - 16, (16,), generator=generator)
        simulator.begin(images)
        looked.begin(images)
        for gate in range(4):
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


def test_chances_of_masks_are_the_products_of_coins_and_end_in_the_exact_value(table):
    by_gate = table_simulator(table, choosing=16, num_images=16)
    chances = mask_chances(by_gate, FixedCoins(), "train")
    assert chances.shape == (NUM - 16, 16)
    outcomes = table.outcomes("log_likelihood").of_images(slice(NUM - 16))
    exact = value(outcomes, 0.5, keep=COINS[None])
    np.testing.assert_allclose(value(outcomes, 0.5, masks=chances), exact, atol=1e-6)
    copied = mask_chances(by_gate, FixedCoins(table.look.shape[1]), "validation")
    want = np.zeros(16)
    want[[0, 15]] = 1 - COINS[0], COINS[0]
    np.testing.assert_allclose(copied, np.tile(want, (16, 1)), atol=1e-6)


@pytest.mark.parametrize("name", ["straight_through", "gumbel", "topk", "dynamic_gate"])
def test_agents_that_go_back_through_the_network_are_refused_with_the_reason(table, name):
    simulator = table_simulator(table, choosing=16, num_images=16)
    simulator.seed(0)
    settings = {"num_kept": 1} if name == "topk" else {}
    agent = resolve(name, AGENTS, "agent")(simulator, **settings)
    with pytest.raises(ValueError, match="a table holds no answers"):
        agent.learn(16)


def test_bits_alone_and_all_gates_at_once_will_do_and_other_tables_are_refused(table):
    bits = dataclasses.replace(table, nll=None)
    once = table_simulator(bits, choosing=16, num_images=16, score="right", by_gate=False)
    once.seed(0)
    once.begin(torch.arange(16))
    step = once.step(torch.ones(16, 4, dtype=torch.bool))
    right = torch.from_numpy(table.is_right()[:16, -1])
    assert torch.equal(step.outcome.logits.argmax(1) == 0, right)
    assert bool((step.outcome.compute_cost == 1).all())
    with pytest.raises(ValueError, match="nll"):
        TableNetwork([bits])
    header = dataclasses.replace(table.header, weights="another")
    with pytest.raises(ValueError, match="another weights"):
        TableNetwork([table, dataclasses.replace(table, header=header)])


def test_looks_of_another_shape_are_refused(table, behind):
    with pytest.raises(ValueError, match="expected looks"):
        TableNetwork([table], later=behind)


def test_a_machines_time_is_charged_where_asked_and_macs_are_still_told(table, tmp_path):
    header = table.header
    times = UnitTimes(
        {"name": "mine"}, header.gates, header.dense_macs, 1, 4.0, (1.0, 2.0, 0.0, 3.0)
    )
    write_times(tmp_path / "times.json", times)
    assert read_times(tmp_path / "times.json") == times
    shares = times.shares(header)
    assert shares[-1] == 1
    np.testing.assert_allclose(shares[0b0101], 0.9, rtol=1e-6)
    assert np.array_equal(table.outcomes("right", times).costs, shares.astype(np.float64))
    words = {"table": table, "cost_weight": 0.5, "times": str(tmp_path / "times.json")}
    masks = np.random.default_rng(0).random((8, 4)) < 0.5
    numbers = masks @ np.array([8, 4, 2, 1])
    options = {"indices": np.arange(8)}
    env = gym.make_vec("BlockSelectionTable-v0", num_envs=8, **words)
    env.reset(seed=0, options=options)
    _, reward, _, _, info = env.step(masks)
    np.testing.assert_allclose(info["cost"], shares[numbers])
    np.testing.assert_allclose(reward, info["correct"] - 0.5 * shares[numbers], atol=1e-6)
    assert np.array_equal(info["macs"], table.macs[numbers])
    step = gym.make_vec("BlockSelectionTable-v0", num_envs=8, by_gate=True, **words)
    step.reset(seed=0, options=options)
    told = [step.step(masks[:, [gate]]) for gate in range(4)]
    np.testing.assert_allclose(sum(one[4]["cost"] for one in told), shares[numbers], atol=1e-6)
    np.testing.assert_allclose(sum(one[1] for one in told), reward, atol=1e-6)
    with pytest.raises(ValueError, match="times of the table's network"):
        dataclasses.replace(times, dense_macs=7).shares(header)
    write_times(tmp_path / "broken.json", dataclasses.replace(times, units=(1.0, -1.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match="none below 0"):
        read_times(tmp_path / "broken.json")


def test_times_that_are_not_as_they_were_written_are_refused(table, tmp_path, monkeypatch):
    path, units = tmp_path / "times.json", (1.0, 2.0, 0.0, 3.0)
    times = UnitTimes({"name": "mine"}, table.header.gates, table.header.dense_macs, 1, 4.0, units)
    write_times(path, times)
    whole = path.read_text()
    content = json.loads(whole)
    for other in ({"always": 3.0}, {"machine": {"name": "other"}}, {"units": [0.0, *units]}):
        path.write_text(json.dumps(content | other))
        with pytest.raises(ValueError, match="damaged or edited"):
            read_times(path)
    path.write_text(json.dumps({name: one for name, one in content.items() if name != "sha256"}))
    with pytest.raises(ValueError, match=r"expected a checksum .* ccenv table times"):
        read_times(path)
    for text in ("[" * 100_000, "[]", "7", "{}", whole[:-30], '{"kind": {"a": ' * 50_000):
        path.write_text(text)
        with pytest.raises(ValueError, match="another kind of file"):
            read_times(path)
    write_times(path, times)

    def full(self, text, **settings):
        with self.open("w") as file:
            file.write(text[:20])
        raise OSError(28, "No space left on device")

    # A write that fails leaves the times before it.
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_times(path, dataclasses.replace(times, always=9.0))
    assert read_times(path) == times
    assert [one.name for one in tmp_path.iterdir()] == ["times.json"]


def test_measured_times_are_of_the_network_and_dense_is_their_sum(simulator):
    inputs, _ = simulator.data.batch(torch.arange(2))
    times = time_parts(simulator.network, inputs, {"name": "here"}, rounds=1)
    assert len(times.units) == 4
    assert times.dense == pytest.approx(times.always + sum(times.units))
    assert times.dense > 0


def test_potential_based_shaping_leaves_the_best_mask_of_every_input_as_it_is(simulator, table):
    price, masks = 0.4, torch.from_numpy(all_masks(table.header.menus))
    exact = rewards(table.outcomes("right"), price)
    shaped_env = Simulator(
        NUM,
        dataset="probe",
        network=simulator.network,
        split="test",
        reward="potential",
        reward_kwargs={"cost_weight": price},
    )
    shaped_env.seed(0)
    returns = []
    for mask in masks:
        shaped_env.begin(torch.arange(NUM))
        steps = [shaped_env.step(mask[None, gate, None].expand(NUM, 1)) for gate in range(4)]
        returns.append(sum(step.reward for step in steps))
    shaped = torch.stack(returns, dim=1).double().numpy()
    # The same number is added to all masks of an input, and another one to other inputs.
    added = shaped - exact
    np.testing.assert_allclose(added, np.repeat(added[:, :1], len(masks), axis=1), atol=1e-5)
    assert added[:, 0].std() > 0.01
    found = optimum(table.outcomes("right"), price)
    np.testing.assert_allclose(shaped.max(axis=1) - added[:, 0], found.values, atol=1e-5)
    assert np.array_equal(shaped.argmax(axis=1), exact.argmax(axis=1))
