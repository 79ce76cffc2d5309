"""Laws of updates that land while requests are under way: snapshots, and what is off."""

import copy
import os
import threading
import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.simulator import concurrent as concurrent_updates
from ccenv.annexes.simulator.concurrent import compute_gradients, learner
from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.parameters import inactive_entries
from ccenv.networks.core.protocol import forward, started
from ccenv.networks.core.unrolled import played
from ccenv.networks.learning.training import CoTrainer
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.rollout import collect_rollout, walk
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import InThread, masks_for, same_weights, seeded, walked
from tests.ccenv.networks.tiny import write_prose

BLOCKS = (6, 5, 4)
SMALL = {"dataset": "digits", "num_blocks": BLOCKS, "block_size": 4, "weights": "cotrain"}
LEARNING = {"concurrent": "inactive", "weights": "cotrain"}
ADAM = {"learning_rate": 0.05}


def simulator_of(kind, rows=4, **more):
    wanted = {**SMALL, "concurrent": kind, "weights_kwargs": ADAM, **more}
    return seeded(rows, **wanted)


def few_masks(simulator, seed=0, density=0.4):
    return masks_for(simulator, seed, density)


def warm(simulator, episodes=3):
    """Fills the optimiser's moments and leaves an update waiting."""
    for seed in range(episodes):
        walked(simulator, few_masks(simulator, seed + 10))


@torch.no_grad()
def answer(network, simulator, masks):
    images = simulator.state.images
    start = started(network, images, played(network, images, simulator.rule))
    return forward(network, images, masks, start=start)


def copies_at_gates(simulator, module):
    """A list that grows by what a module is as each gate reads it."""
    concurrent, found = simulator.extension("concurrent"), []
    own = concurrent.after_gate

    def after_gate(*arguments):
        # Parameters that learn take a kernel that rounds otherwise.
        found.append(copy.deepcopy(module).requires_grad_(False))
        return own(*arguments)

    concurrent.after_gate = after_gate
    return found


@torch.no_grad()
def composite_answer(versions, simulator, masks):
    """Logits of versions of a network, one for each gate; the last also answers."""
    images = simulator.state.images
    hidden = started(versions[0], images, played(versions[0], images, simulator.rule))
    for gate, (version, mask) in enumerate(zip(versions, masks, strict=True)):
        hidden = version.step(gate, hidden, mask)
    return versions[-1].logits(hidden)


@pytest.mark.parametrize("rows", [1, 4, 64])
def test_an_answer_is_that_of_the_composite_of_what_was_read_and_of_no_whole_version(rows):
    simulator = simulator_of("unsafe", rows)
    masks = few_masks(simulator)
    warm(simulator)
    whole = [copy.deepcopy(simulator.network)]
    simulator.extension("concurrent").between_gates.append(
        lambda gate: whole.append(copy.deepcopy(simulator.network))
    )
    versions = copies_at_gates(simulator, simulator.network)
    steps = walked(simulator, masks)
    logits = steps[-1].outcome.logits
    assert torch.equal(logits, composite_answer(versions, simulator, masks))
    assert not any(torch.equal(logits, answer(one, simulator, masks)) for one in whole)
    before, *_, last = (step.told["versions"][0].tolist() for step in steps)
    assert before[1:] == [-1, -1, -1]
    assert all(later >= 0 for later in last)
    assert len(set(last)) > 1


def test_a_policy_that_learns_between_gates_is_a_composite_too_and_the_network_stays():
    simulator = simulator_of("policy", observation="summary", rows=16)
    agent = AGENTS["dynamic_gate"](simulator, learning_rate=0.3)
    network = copy.deepcopy(simulator.network)
    agent.learn(16 * 2)
    assert agent.waiting
    whole, versions = copy.deepcopy(agent.scores), copies_at_gates(simulator, agent.scores)
    observations, actions, steps = walk(simulator, agent, agent.generator)
    assert not agent.waiting
    assert steps[-1].told["policy_versions"][0].tolist() == [1, 2, 2]
    with torch.no_grad():
        for layer, (seen, mask) in enumerate(zip(observations, actions, strict=True)):
            # Each gate was decided by the version that was read there: the first before the step.
            assert torch.equal(versions[layer](seen, layer) > 0, mask)
        assert torch.equal(whole(observations[0], 0) > 0, actions[0])
        assert not torch.equal(whole(observations[2], 2), agent.scores(observations[2], 2))
    assert same_weights(network, simulator.network)


LM = {"width": 8, "num_heads": 2, "ffn_width": 6, "num_experts": 4}
RESNET = {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}
KNOWN = {
    "mlp": SMALL,
    "resnet": RESNET,
    "heads, experts": {"network": "lm", "network_kwargs": LM | {"gates": "heads,experts"}},
    "units, repeated": {
        "network": "lm",
        "network_kwargs": LM | {"gates": "attention,ffn,exits", "depth": 1, "repeats": 2},
    },
    "gated": {"network": "tests.ccenv.simulator.test_concurrent:gated"},
}


@pytest.fixture
def network_of(tmp_path, monkeypatch):
    """Settings of a kind of network, with data that it reads."""
    write_prose(tmp_path, monkeypatch)

    def settings(kind, **more):
        dataset = "prose@8" if KNOWN[kind].get("network") == "lm" else "digits"
        return LEARNING | {"dataset": dataset, "weights_kwargs": ADAM} | KNOWN[kind] | more

    return settings


@pytest.mark.parametrize(
    ("network", "more"), [("resnet", {}), ("heads, experts", {"observation": "symbols"})]
)
def test_each_gate_of_other_networks_reads_one_version_and_updates_learn_what_they_learn_alone(
    network, more, network_of
):
    simulator = seeded(16, **network_of(network, concurrent="unsafe", **more))
    agent = AGENTS["block_dropout"](simulator, keep_probability=0.5)
    collect_rollout(simulator, agent, agent.generator)
    whole = [copy.deepcopy(simulator.network)]
    indices, masks = simulator.learning.pending[0]
    simulator.extension("concurrent").between_gates.append(
        lambda gate: whole.append(copy.deepcopy(simulator.network))
    )
    read = copies_at_gates(simulator, simulator.network)
    _, actions, steps = walk(simulator, agent, agent.generator)
    versions = steps[-1].told["versions"][0].tolist()
    assert versions == [0, *[1] * simulator.num_layers]
    logits = steps[-1].outcome.logits
    assert torch.equal(logits, composite_answer(read, simulator, actions))
    assert not any(torch.equal(logits, answer(one, simulator, actions)) for one in whole)
    # What landed behind the first gate is one update of the batch before, computed anew.
    alone, after = whole[:2]
    trainer, (images, labels) = CoTrainer(alone, **ADAM), simulator.data.batch(indices)
    start = started(alone, images, played(alone, images, simulator.rule))
    trainer.update(images, labels, masks, start=start)
    assert same_weights(after, alone)


def gated(input_shape, num_classes):
    """A user's model with a unit, channels and an exit."""
    model = nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
        nn.Flatten(),
        nn.Linear(4 * input_shape[1] * input_shape[2], num_classes),
    )
    units = {"1": "channels:2", "2": "unit"}
    return ccenv.gate(model, units, torch.zeros(1, *input_shape))


@pytest.mark.parametrize("kind", KNOWN)
def test_updates_of_what_is_off_for_all_change_no_answer_under_way(kind, network_of):
    simulator = seeded(4, **network_of(kind))
    moved = []
    simulator.extension("concurrent").between_gates.append(
        lambda gate: moved.append(not same_weights(simulator.network, before))
    )

    # Where few blocks are kept, some are off for all, and something has to move.
    @example(seed=0, density=0.1)
    @example(seed=1, density=0.1)
    @given(seed=st.integers(0, 1000), density=st.floats(0.1, 0.9))
    @settings(max_examples=6, deadline=None)
    def law(seed, density):
        nonlocal before
        generator = stream(seed, "test masks")
        densities = density * torch.ones(4, 1)
        some, masks = (
            [random_mask(4, n, densities, generator) for n in simulator.num_blocks] for _ in "ab"
        )
        walked(simulator, some)
        before = copy.deepcopy(simulator.network).requires_grad_(False)
        logits = walked(simulator, masks)[-1].outcome.logits
        assert torch.equal(logits, answer(before, simulator, masks))

    before = simulator.network
    law()
    assert any(moved)


class Liar(GatedMLP):
    """Says of a layer that is read that it is not."""

    def unread_entries(self, off):
        bias = self.layers[0].bias
        return [(bias, torch.ones_like(bias, dtype=torch.bool))]


def test_the_checker_refuses_a_network_that_says_of_what_is_read_that_it_is_not():
    with pytest.raises(ValueError, match="unread_entries to name what is not read"):
        ccenv.check_network(Liar(6, (4, 4), 2, 3), torch.rand(2, 6))


@pytest.mark.parametrize("concurrent", ["inactive", "unsafe"])
@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_a_run_is_bit_for_bit_the_one_without_the_learners_thread(
    concurrent, network, network_of, monkeypatch
):
    runs = []
    for own_thread in (True, False):
        if not own_thread:
            monkeypatch.setattr("ccenv.annexes.simulator.concurrent.learner", lambda _: InThread())
        simulator = seeded(16, **network_of(network, concurrent=concurrent))
        agent = AGENTS["reinforce"](simulator)
        agent.learn(16 * 6)
        runs.append((simulator.network, agent.scores))
    assert all(same_weights(*pair) for pair in zip(*runs, strict=True))


def test_a_gradient_is_computed_while_requests_are_answered(monkeypatch):
    simulator = simulator_of("inactive")
    masks = few_masks(simulator)
    warm(simulator)
    is_answered, threads = threading.Event(), []

    def waiting(*arguments):
        threads.append(threading.current_thread())
        assert is_answered.wait(timeout=20)
        return compute_gradients(*arguments)

    monkeypatch.setattr(concurrent_updates, "compute_gradients", waiting)
    simulator.begin(torch.arange(4))
    simulator.step(masks[0])
    assert not simulator.extension("concurrent").under_way[1].done()
    is_answered.set()
    simulator.step(masks[1])
    assert threads != [threading.current_thread()]
    assert simulator.network_version == 3


def test_a_gradient_that_a_seed_leaves_behind_reaches_no_update_after_it(monkeypatch):
    simulator, is_late = simulator_of("unsafe"), threading.Event()
    late = [True]

    def waiting(*arguments):
        if late and late.pop():
            assert is_late.wait(timeout=20)
        return compute_gradients(*arguments)

    def weights_after():
        simulator.seed(0)
        # Where masks leave a block out for all, gradients need copies of weights alone.
        walked(simulator, few_masks(simulator, 0, 0.1))
        simulator.begin(torch.arange(4))
        is_late.set()
        for mask in few_masks(simulator, 1, 0.1):
            simulator.step(mask)
        return copy.deepcopy(simulator.network)

    expected = weights_after()
    is_late.clear()
    monkeypatch.setattr(concurrent_updates, "compute_gradients", waiting)
    simulator.begin(torch.arange(4))
    assert same_weights(weights_after(), expected)


@pytest.mark.parametrize("kind", ["inactive", "unsafe"])
def test_a_state_put_back_where_a_batch_waits_learns_from_its_own(kind):
    simulator = simulator_of(kind)
    warm(simulator)
    simulator.begin()
    state, found = copy.deepcopy(simulator_state(simulator)), []
    for _ in range(2):
        for mask in few_masks(simulator, 3, 0.1):
            simulator.step(mask)
        walked(simulator, few_masks(simulator, 4, 0.1))
        found.append(copy.deepcopy(simulator.network))
        restore_simulator(simulator, copy.deepcopy(state))
    assert same_weights(*found)


def test_a_gradient_that_fails_says_so_where_it_would_land(monkeypatch):
    simulator = simulator_of("unsafe")
    masks = few_masks(simulator)
    warm(simulator)

    def failing(*arguments):
        raise MemoryError("too large")

    monkeypatch.setattr(concurrent_updates, "compute_gradients", failing)
    with pytest.raises(MemoryError, match="too large"):
        walked(simulator, masks)


def test_what_is_off_does_learn_and_nothing_else_moves_though_moments_would_move_it():
    simulator = simulator_of("inactive")
    masks = few_masks(simulator, density=0.2)
    warm(simulator)
    before = {n: p.detach().clone() for n, p in simulator.network.named_parameters()}
    old = copy.deepcopy(simulator.trainer.optimizer.state_dict()["state"])
    simulator.begin(torch.arange(4))
    simulator.step(masks[0])
    assert all(torch.equal(p, before[n]) for n, p in simulator.network.named_parameters())
    # Behind the last gate but one.
    simulator.step(masks[1])
    entries = inactive_entries(simulator.network, masks[:2])
    for name, parameter in simulator.network.named_parameters():
        moved = parameter != before[name]
        assert not (moved & ~entries[name]).any()
    off = ~masks[0].any(dim=0)
    assert off.any()
    for name in ("layers.0.weight", "layers.0.bias", "layers.1.weight"):
        assert (dict(simulator.network.named_parameters())[name] != before[name]).any()
    units = off.repeat_interleave(4)
    new = simulator.trainer.optimizer.state_dict()["state"]
    assert torch.equal(new[0]["exp_avg"][~units], old[0]["exp_avg"][~units])
    assert not torch.equal(new[0]["exp_avg"][units], old[0]["exp_avg"][units])


def test_updates_of_another_network_are_refused():
    simulator = simulator_of("inactive")
    warm(simulator, episodes=1)
    other = GatedMLP(64, (3,), 4, 10)
    with (
        pytest.raises(ValueError, match="those of another"),
        concurrent_updates.only_entries(simulator.trainer, inactive_entries(other, [])),
    ):
        pass
    simulator.learning.trainer = CoTrainer(other)
    with pytest.raises(ValueError, match="one of another network"):
        walked(simulator, few_masks(simulator))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"concurrent": "inactve"}, "did you mean 'inactive'"),
        ({"weights": "frozen"}, "weights='cotrain' with concurrent"),
        ({"num_blocks": (4,)}, "at least two gates with concurrent, got GatedMLP of 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Simulator(2, **{**SMALL, "concurrent": "inactive", **given})
    with pytest.raises(ValueError, match=r"\(unread_entries\) with .*'inactive', got Streaming"):
        Simulator(2, dataset="digits", network="streaming", **LEARNING)
    # Exits alone have no weights that their blocks alone read.
    with pytest.raises(ValueError, match="got GatedSequential"):
        Simulator(2, dataset="digits", network="pondering", **LEARNING)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_that_is_forked_has_a_learner_of_its_own():
    assert learner(os.getpid()).submit(os.getpid).result() == os.getpid()
    with warnings.catch_warnings():
        # Python warns of forks beside threads, which is what is tried here.
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        try:
            learns = learner(os.getpid()).submit(os.getpid).result(timeout=20) == os.getpid()
            os._exit(0 if learns else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
