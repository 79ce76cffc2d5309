"""How often a device is waited for: counted on one that is not there, see `fake_device`.

The counts are exact: a wait more is a fault, a wait fewer a number to correct here. Copies to the
device that are only queued are counted by themselves.
"""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.simulator import concurrent
from ccenv.annexes.sparse_gpu import dense
from ccenv.annexes.sparse_gpu import layer as gpu_layer
from ccenv.base.checks import Checks
from ccenv.base.masks import as_mask, gate_values_of
from ccenv.base.registry import resolve
from ccenv.data import Split
from ccenv.sb3 import BlockSelectionVecEnv
from ccenv.simulator.rollout import collect_rollout
from ccenv.sparse.reference import reference_linear
from ccenv.sparse.routes import on_gpu
from tests.ccenv.episodes import InThread, seeded
from tests.ccenv.networks import tiny
from tests.ccenv.simulator.fake_device import FakeDevice, install, plain

pytest.importorskip("triton", reason="Triton is not installed")

ROWS = 32
SYMBOLS, WINDOW = tiny.SYMBOLS, tiny.WINDOW[0]


def positions(split):
    """Each position of 40 short texts, with the symbols before it."""
    rows = tiny.positions(tiny.symbols(*[WINDOW] * 40), WINDOW)
    return Split(rows, torch.arange(len(rows)) % SYMBOLS, SYMBOLS)


NETWORKS = (
    *("mlp", "resnet", "experts", "gated torch's encoder", "early_exit"),
    *("lm", "lm, heads and ffn", "lm, exits", "lm, layers"),
)
STARTS = {name: int(name.startswith("lm")) for name in NETWORKS}
"""Waits of an episode's start: where sequences begin and end is read once."""
OF_ONE_BLOCK = {"rloo": {"sampling": "independent"}, "topk": {"num_kept": 1}}
"""Settings of agents whose own keep two blocks of each gate."""
MANY_BLOCKS = ("mlp", "experts", "lm", "pondering")


@pytest.fixture
def device(monkeypatch):
    install(monkeypatch)
    return FakeDevice()


def settings_of(name):
    """A network, and inputs that it reads."""
    if name == "mlp":
        return {"network": ccenv.GatedMLP(64, (4, 4), 8), "dataset": "digits"}
    network, rows, settings = tiny.built(name), tiny.inputs_of(name, 50), {}
    if not rows.is_floating_point():
        settings = {"observation": "layer_input"}
    if name.startswith(("lm", "patches", "decoder")):
        return settings | {"network": network, "dataset": positions}
    data = Split(rows, torch.arange(50) % network.num_classes, network.num_classes)
    return settings | {"network": network, "dataset": lambda split: data}


def make(name, network, place="cuda:0", **more):
    kind = resolve(name, AGENTS, "agent")
    torch.manual_seed(0)
    settings = {"group_size": 4, **kind.env_defaults, **settings_of(network), **more}
    simulator = seeded(ROWS, device=place, **settings)
    own = {} if network in MANY_BLOCKS else OF_ONE_BLOCK.get(name, {})
    return simulator, kind(simulator, **own)


def walk(simulator, agent):
    """An episode's steps, without its start and without a look at its means."""
    observation = simulator.begin()
    yield
    for layer, blocks in enumerate(simulator.num_blocks):
        with torch.no_grad():
            action = agent.act(observation, layer, agent.generator)
        mask = as_mask(action, blocks, simulator.checks)
        step = simulator.step(mask, gate_values_of(action, simulator.checks))
        observation = step.observation


PAIRS = [
    *((agent, "mlp") for agent in ("reinforce", "rloo", "condnet")),
    *(("rloo", network) for network in ("resnet", "experts", "gated torch's encoder")),
    ("reinforce", "lm"),
    *(("topk", network) for network in NETWORKS),
]


@pytest.mark.parametrize(("name", "network"), PAIRS)
def test_steps_wait_for_nothing_and_a_rollout_an_update_and_a_verdict_once(name, network, device):
    with device:
        simulator, agent = make(name, network)
        steps = walk(simulator, agent)
        next(steps)
        with device.counting() as (waits, copies):
            list(steps)
        assert (waits.total(), copies.total()) == (0, 0), waits
        # The means of the episode are read, and images are brought by number.
        with device.counting() as (waits, copies):
            rollout = collect_rollout(simulator, agent, agent.generator)
        assert (waits.total(), copies.total()) == (1 + STARTS[network], 1), waits
        with device.counting() as (waits, copies):
            agent.update(rollout)
        # An agent that learns through the network starts the episode once more.
        again = STARTS[network] if name == "topk" else 0
        assert (waits.total(), copies.total()) == (1 + again, 0), waits
        # Images and labels of the split are brought, and a batch of numbers of images.
        with device.counting() as (waits, copies):
            ccenv.evaluate(simulator, agent, split="validation", batch_size=350)
        assert (waits.total(), copies.total()) == (1 + STARTS[network], 3), waits


@pytest.mark.parametrize("network", ["mlp", "early_exit", "lm"])
def test_a_network_that_learns_waits_once_a_rollout_however_many_its_updates(network, device):
    with device:
        simulator, agent = make("rloo", network, weights="cotrain")
        for batch in range(2):
            with device.counting() as (waits, _):
                collect_rollout(simulator, agent, agent.generator)
            assert waits.total() == 1 + STARTS[network], (batch, waits)
        with device.counting() as (waits, copies):
            told = simulator.update_network()
        # Of two rollouts the first one's sequences are read anew.
        assert (waits.total(), copies.total()) == (1 + 2 * STARTS[network], 0), waits
        assert np.isfinite(told["network_loss"])
        assert simulator.network_version == 2


OTHERS = {
    **dict.fromkeys(
        (
            *("vit", "conv", "pondering", "bytes", "smollm2"),
            *("hashed_ngrams", "cascade_bytes", "streaming of a text"),
        ),
        (0, 0),
    ),
    "patches": (4, 0),  # sequences, and earlier places that refresh
    "ngram": (2, 3),  # rows that keep a model of another length
}
"""Waits of an episode's start, and of its steps, of other networks."""


@pytest.mark.parametrize("network", OTHERS)
def test_other_networks_wait_as_often_as_is_known(network, device):
    with device:
        simulator, agent = make("reinforce", network)
        collect_rollout(simulator, agent, agent.generator)
        with device.counting() as (waits, _):
            rollout = collect_rollout(simulator, agent, agent.generator)
        assert waits.total() == 1 + sum(OTHERS[network]), waits
        with device.counting() as (waits, _):
            agent.update(rollout)
        assert waits.total() == 1, waits


WITHIN_SEQUENCES = {
    "skip_gru": 0,
    "decoder": 0,
    "decoder, halves": 0,
    "lm": 0,
    "lm, heads and ffn": 0,
    "patches": 0,
    # Rows that stop at an exit leave keys and values of later layers: they are listed.
    "lm, exits": 5 * WINDOW * 2,
}
"""Waits of all steps of an episode over a sequence."""


@pytest.mark.parametrize("network", WITHIN_SEQUENCES)
def test_steps_over_a_sequence_wait_as_often_as_is_known(network, device):
    with device:
        sequences = {"dataset": lambda split: replace(positions(split), together=WINDOW)}
        settings = settings_of(network) | sequences | {"weights": "cotrain"}
        simulator = seeded(ROWS, device="cuda:0", episode="sequence", **settings)
        with device.counting() as (waits, copies):
            simulator.begin()
        # Sequences are brought by number.
        assert (waits.total(), copies.total()) == (0, 1), waits
        with device.counting() as (waits, copies):
            for blocks in simulator.num_blocks * WINDOW:
                kept = torch.ones(ROWS, blocks, dtype=torch.bool, device=simulator.device)
                step = simulator.step(kept)
                assert step.observation.is_cuda
        assert step.is_over
        assert (waits.total(), copies.total()) == (WITHIN_SEQUENCES[network], 0), waits


@pytest.mark.parametrize(
    ("kind", "name"), [("inactive", "rloo"), ("unsafe", "rloo"), ("policy", "dynamic_gate")]
)
def test_updates_between_gates_wait_once_a_rollout_and_are_seen_as_on_the_cpu(
    kind, name, device, monkeypatch
):
    monkeypatch.setattr(concurrent, "learner", lambda process: InThread())

    def versions(place, counting=contextlib.nullcontext):
        simulator, agent = make(name, "mlp", place, weights="cotrain", concurrent=kind)
        told = []
        for _ in range(3):
            with counting() as counted:
                rollout = collect_rollout(simulator, agent, agent.generator)
            assert counted is None or counted[0].total() == 1, counted
            told += simulator.extension("concurrent").read.values()
            agent.update(rollout)
            simulator.update_network()
        return told

    expected = versions("cpu")
    with device:
        assert versions("cuda:0", device.counting) == expected
    assert len({max(one, default=0) for one in expected}) > 1


@pytest.mark.parametrize(
    ("waits", "call"),
    [
        (1, lambda x: torch.allclose(x, x)),
        (1, lambda x: torch.multinomial(x, 1)),
        (1, lambda x: bool(x.any())),
        (0, lambda x: torch.zeros(8_000, dtype=torch.int64).to(x.device, non_blocking=True)),
        (1, lambda x: torch.zeros(9_000, dtype=torch.int64).to(x.device, non_blocking=True)),
        (0, lambda x: (x + 1).topk(1).indices),
    ],
)
def test_the_counter_sees_what_torch_reads_itself_and_large_copies_that_are_not_pinned(
    waits, call, device
):
    with device:
        x = torch.ones(4, device="cuda:0")
        with device.counting() as (found, _):
            call(x)
    assert found.total() == waits, found


WAITS = {
    "allocation": (4, 0),  # a table of offers
    "wta_retrieval": (7, 0),  # hash tables
    "rloo_budget": (1, 4),
    "blockdrop": (1, 2),
}
"""Of a rollout and an update; of other agents at most one each."""


# The oracle searches in each episode, as long as some hundred; entropies are those of streams.
ELSEWHERE = ("entropy_threshold", "oracle")


@pytest.mark.parametrize("name", sorted(n for n in AGENTS if n[:3] != "sb3" and n not in ELSEWHERE))
def test_every_agent_runs_on_a_device_and_waits_as_often_as_is_known(name, device):
    with device:
        # `act` needs exits.
        simulator, agent = make(name, "pondering" if name in ("act", "pondernet") else "mlp")
        with device.counting() as (waits, _):
            rollout = collect_rollout(simulator, agent, agent.generator)
        with device.counting() as (learning, _):
            agent.update(rollout)
    most = WAITS.get(name, (1, min(1, learning.total())))
    assert (waits.total(), learning.total()) == most, waits + learning


@pytest.mark.parametrize("network", ["mlp", "gated torch's encoder", "lm"])
def test_a_view_on_the_host_waits_once_a_step_and_once_for_what_comes_next(network, device):
    with device:
        env = BlockSelectionVecEnv(ROWS, **settings_of(network), device="cuda:0")
        env.seed(0)
        env.reset()
        gates = env.simulator.num_layers
        actions = np.ones((ROWS, env.simulator.max_blocks), dtype=np.int8)
        with device.counting() as (waits, copies):
            for gate in range(gates):
                _, reward, done, infos = env.step(actions)
                assert done.all() == (gate == gates - 1)
        starts = 1 + STARTS[network]
        assert (waits.total(), copies.total()) == (gates + starts, gates + 1), waits
        assert infos[0]["compute_cost"] == 1.0
        assert infos[0]["episode"]["r"] == pytest.approx(infos[0]["correct"] - 1)
        assert np.isfinite(reward).all()


def test_ppo_waits_once_a_step_and_once_for_each_batch_of_first_observations(device):
    with device:
        simulator, agent = make("sb3_ppo", "mlp")
        with device.counting() as (waits, _):
            agent.learn(ROWS)
    steps = agent.model.num_timesteps // ROWS
    assert steps >= simulator.num_layers
    assert waits.total() == steps + steps // simulator.num_layers + 1, waits


@pytest.fixture
def computing(device, monkeypatch):
    """A device whose kernels compute, by their definition."""
    monkeypatch.setattr(gpu_layer, "triton_linear", by_definition)
    monkeypatch.setattr(dense, "dense_linear", by_definition)
    on_gpu.cache_clear()
    yield device
    on_gpu.cache_clear()


def by_definition(operands, activation):
    act = {None: None, "tanh": torch.tanh, "relu": torch.relu}[activation]
    return reference_linear(operands, act)


def drawn_episode(network, place):
    """Observations, bills, answers and loss under random masks, of which some stop at exits."""
    torch.manual_seed(0)
    settings = {"weights": "cotrain", "group_size": 2, **settings_of(network)}
    simulator = seeded(ROWS, device=place, **settings)
    seen, generator = [simulator.begin()], torch.Generator().manual_seed(0)
    for blocks in simulator.num_blocks:
        mask = torch.rand(ROWS, blocks, generator=generator) < 0.6
        step = simulator.step(mask.to(place))
        seen += [step.observation, step.outcome.macs, step.outcome.mask]
    seen.append(step.outcome.logits)
    if network != "streaming of a text":
        seen.append(torch.tensor(simulator.update_network()["network_loss"]))
    return [plain(x) for x in seen]


# Torch's own encoder has dropout while it learns.
WITHOUT_CHANCE = [name for name in NETWORKS if name != "gated torch's encoder"]


@pytest.mark.parametrize("network", [*WITHOUT_CHANCE, "gated resnet", "streaming of a text"])
def test_rows_that_stop_or_differ_are_the_same_on_a_device_that_hides_them(network, computing):
    expected = drawn_episode(network, "cpu")
    with computing:
        found = drawn_episode(network, "cuda:0")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_what_does_not_hold_on_a_device_is_told_where_numbers_are_read(device):
    with device:
        simulator, _ = make("reinforce", "mlp")
        blocks = torch.tensor([[0, 4]], device="cuda:0")
        with device.counting() as (waits, _):
            mask = as_mask(blocks, 4, simulator.checks)
        assert (mask.shape, waits.total()) == ((1, 4), 0)
        with device.counting() as (waits, _), pytest.raises(ValueError, match=r"in 0\.\.3, or -1"):
            simulator.checks.settle()
        # The message names the number.
        assert waits.total() == 3
        simulator.begin()
        with torch.no_grad():
            simulator.network.head_layers[-1].weight.fill_(torch.nan)
        for blocks in simulator.num_blocks:
            simulator.step(torch.ones(ROWS, blocks, dtype=torch.bool))
        with pytest.raises(ValueError, match="finite weights of the network"):
            simulator.checks.settle()
        simulator.checks.settle()


def test_conditions_that_nobody_reads_are_read_before_they_fill_memory(device, monkeypatch):
    monkeypatch.setattr("ccenv.base.checks.MOST_OPEN", 3)
    with device:
        checks, holds = Checks(), torch.ones((), dtype=torch.bool, device="cuda:0")
        with device.counting() as (waits, _):
            for _ in range(8):
                checks.expect(holds, ValueError)
        assert waits.total() == 2
