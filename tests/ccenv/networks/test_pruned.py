"""Pruned networks: what is billed is what is left, and what is gone stays gone."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ccenv
from ccenv.agents.reference_policies import Dense
from ccenv.networks.baselines.pruned import pruned, pruned_blocks
from ccenv.networks.learning.training import Pretraining, frozen_weights
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.simulator import Simulator

UNITS = (12, 8)
SHAPE = (1, 4, 4)
DENSE = 16 * 12 + 12 * 8 + 8 * 10
UPDATES = 20


def non_zeros(network):
    return sum(int(layer.weight.count_nonzero()) for layer in network.layers.layers)


def make(macs=60, channels=(), shape=SHAPE):
    return pruned(shape, 10, UNITS, channels, macs).eval()


def simulator_of(macs=60):
    simulator = Simulator(
        16,
        dataset="digits",
        network="pruned",
        network_kwargs={"units": UNITS, "macs": macs},
        weights="cotrain",
        weights_kwargs={"schedule_updates": UPDATES, "learning_rate": 0.01},
    )
    simulator.seed(0)
    return simulator


@given(macs=st.integers(1, DENSE), begin=st.floats(0, 0.4), more=st.floats(0.05, 0.5))
@settings(max_examples=10, deadline=None)
def test_the_bill_is_the_weights_that_are_not_zero_and_ends_at_the_number_asked_for(
    macs, begin, more
):
    network = pruned(SHAPE, 10, UNITS, macs=macs, begin=begin, end=begin + more)
    kept, row = torch.ones(1, 1, dtype=torch.bool), torch.rand(1, *SHAPE)
    before = network.dense_macs
    for done in torch.linspace(0, 1, 9).tolist():
        network.after_update(done)
        (spent,) = network.macs(0, network.start(row), kept).tolist()
        assert spent == non_zeros(network) == network.macs_at(done) <= before
        before = spent
    assert before == macs
    assert network.macs(0, network.start(row), ~kept).tolist() == [0]


def test_before_anything_is_pruned_it_is_the_plain_network():
    for channels in ((), (4, 6)):
        network = make(channels=channels, shape=(2, 8, 8))
        images = torch.rand(3, 2, 8, 8)
        kept = torch.ones(3, 1, dtype=torch.bool)
        assert torch.equal(network(images, [kept]), network.layers.body(images))
        network.head.bias.data.fill_(2.0)
        assert torch.equal(network(images, [~kept]), torch.full((3, 10), 2.0))
        ccenv.check_network(network, images)
    assert make().dense_macs == DENSE


@given(macs=st.integers(1, 4 * 3 * (16 + 10)), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_kept_blocks_cost_what_is_left_of_them_and_answer_as_the_masked_layers_do(macs, seed):
    torch.manual_seed(seed)
    network = pruned_blocks(SHAPE, 10, num_blocks=4, block_size=3, macs=macs).eval()
    images, mask = torch.rand(5, *SHAPE), torch.rand(5, 4) < 0.5
    if seed % 5 == 0:
        ccenv.check_network(network, images)
    network.after_update(1.0)
    hidden, out = network.layers.layers
    of_block = hidden.weight.count_nonzero(dim=1) + out.weight.count_nonzero(dim=0)
    spent = network.macs(0, network.start(images), mask)
    assert torch.equal(spent, (mask * of_block.view(4, 3).sum(dim=1)).sum(dim=1))
    assert network.macs(0, network.start(images), torch.ones_like(mask)).tolist() == [macs] * 5
    kept = hidden(images.flatten(1)).relu() * mask.repeat_interleave(3, dim=1)
    torch.testing.assert_close(network(images, [mask]), out(kept))


def test_norms_of_convolutions_learn_along_and_cost_a_bias_a_channel():
    network = pruned((2, 8, 8), 10, UNITS, (4, 6), 300, norms=True)
    plain = pruned((2, 8, 8), 10, UNITS, (4, 6), 300)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 2
    assert network.dense_macs == plain.dense_macs
    assert network.memory_bytes() == plain.memory_bytes()
    images, kept = torch.rand(5, 2, 8, 8), torch.ones(5, 1, dtype=torch.bool)
    before = [norm.running_mean.clone() for norm in norms]
    network.train()(images, [kept])
    network.eval()
    assert not any(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    ccenv.check_network(network, images)
    network.after_update(1.0)
    assert network.layers.kept_macs() <= 300


def test_the_smallest_weights_of_all_layers_go_first():
    network = make(macs=100)
    sizes = torch.cat([layer.weight.abs().flatten() for layer in network.layers.layers])
    least = sizes.sort(descending=True).values[99]
    network.after_update(1.0)
    left = torch.cat([layer.weight.abs().flatten() for layer in network.layers.layers])
    assert torch.equal(left != 0, sizes >= least)


def test_a_convolutions_weight_costs_as_often_as_it_is_used():
    network = make(macs=500, channels=(4,), shape=(1, 8, 8))
    # Maps of 4 x 4 places: a weight there is worth 16 of those behind.
    assert network.layers.places == [16, 1, 1, 1]
    network.after_update(1.0)
    first, *others = network.layers.kept()
    bill = 16 * int(first.sum()) + sum(int(kept.sum()) for kept in others)
    assert network.layers.kept_macs() == bill
    assert 500 - 16 < bill <= 500


def test_the_cubic_schedule_is_that_of_zhu_and_gupta():
    network = pruned(SHAPE, 10, UNITS, macs=64, begin=0.0, end=1.0)
    assert [network.macs_at(x) for x in (0.0, 0.5, 1.0)] == [DENSE, 64 + (DENSE - 64) / 8, 64]


def test_what_is_pruned_in_training_stays_zero_and_going_on_is_never_having_stopped():
    first, second = simulator_of(), simulator_of()
    Dense(first).learn(16 * UPDATES // 2)
    state = copy.deepcopy(simulator_state(first))
    half = [kept.clone() for kept in first.network.layers.kept()]
    assert DENSE > non_zeros(first.network) > 60
    restore_simulator(second, state)
    for simulator in (first, second):
        Dense(simulator).learn(16 * UPDATES // 2)
        assert non_zeros(simulator.network) == 60
    for early, late in zip(half, second.network.layers.kept(), strict=True):
        assert not (late & ~early).any()
    one, other = (s.network.state_dict().values() for s in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_it_is_judged_at_the_macs_that_are_left():
    simulator = simulator_of()
    agent = Dense(simulator)
    agent.learn(16 * UPDATES)
    found = ccenv.evaluate(simulator, agent, split="validation")
    assert found.macs == 60
    assert found.compute_cost == pytest.approx(60 / simulator.dense_macs)


def test_memory_is_values_indices_pointers_and_biases():
    network = make(macs=60)
    network.after_update(1.0)
    rows = 12 + 8 + 10
    assert network.memory_bytes() == 60 * (4 + 2) + (rows + 3) * 4 + rows * 4


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"macs": DENSE + 1}, "at most the whole network's 368"),
        ({"macs": 0}, "macs to be whole numbers"),
        ({"begin": 0.5, "end": 0.5}, "begin < end"),
    ],
)
def test_what_cannot_be_is_refused(own, message):
    with pytest.raises(ValueError, match=message):
        pruned(SHAPE, 10, UNITS, **own)


def test_without_the_end_of_its_training_or_without_training_it_is_refused():
    simulator = Simulator(4, network="pruned", weights="cotrain")
    with pytest.raises(ValueError, match="schedule_updates"):
        simulator.seed(0)
    with pytest.raises(ValueError, match="weights='cotrain'"):
        frozen_weights(simulator.network, simulator.data, Pretraining(min_updates=1))
