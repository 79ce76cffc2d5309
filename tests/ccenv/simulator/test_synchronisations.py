"""How often a device is waited for: counted on one that is not there, see `fake_device`.

The counts are exact: a wait more is a fault, a wait fewer a number to correct here. Copies to the
device that are only queued are counted by themselves.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ccenv
from ccenv.agents import AGENTS
from ccenv.base.checks import Checks
from ccenv.base.masks import as_mask, gate_values_of
from ccenv.base.registry import resolve
from ccenv.networks.core.stage import Stage
from ccenv.networks.vision.experts import experts
from ccenv.networks.vision.residual import resnet
from ccenv.sb3 import BlockSelectionVecEnv
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator
from ccenv.sparse.gpu import dispatch, routes
from ccenv.sparse.operands import on_use
from ccenv.sparse.reference import reference_linear

pytest.importorskip("triton", reason="Triton is not installed")
sys.path.insert(0, str(Path(__file__).parent))

from fake_device import FakeDevice, install, plain

ROWS = 32
SHAPE = (1, 8, 8)


class Model(nn.Module):
    """As torchvision's: a stem, a residual block, a wider convolution, a linear head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.wide, self.head = nn.Conv2d(8, 16, 3, 2, 1), nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(self.wide(x).relu().mean((2, 3)))


def gated():
    units = {"block": "unit", "wide": "channels:4"}
    return ccenv.gate(Model().eval(), units, torch.rand(1, *SHAPE))


NETWORKS = {
    "mlp": lambda: ccenv.GatedMLP(64, (4, 4), 8),
    "resnet": lambda: resnet(SHAPE, 10, 8, 4),
    "experts": lambda: experts(SHAPE, 10, 4, 4, (4, 8)),
    "gated": gated,
}
OF_ONE_BLOCK = {"rloo": {"draw": "independent"}, "topk": {"num_kept": 1}}
"""Settings of agents whose own keep two blocks of each gate."""


@pytest.fixture
def device(monkeypatch):
    install(monkeypatch)
    return FakeDevice()


def make(name, network, place="cuda:0"):
    kind = resolve(name, AGENTS, "agent")
    torch.manual_seed(0)
    settings = {"group_size": 4, **kind.env_defaults, "network": NETWORKS[network]()}
    simulator = Simulator(ROWS, dataset="digits", device=place, **settings)
    simulator.seed(0)
    own = OF_ONE_BLOCK.get(name, {}) if network in ("resnet", "gated") else {}
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


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["reinforce", "rloo", "condnet", "topk"])
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
        assert (waits.total(), copies.total()) == (1, 1), waits
        with device.counting() as (waits, copies):
            agent.update(rollout)
        assert (waits.total(), copies.total()) == (1, 0), waits
        # Images and labels of the split are brought, and a batch of numbers of images.
        with device.counting() as (waits, copies):
            ccenv.evaluate(simulator, agent, split="validation", batch_size=350)
        assert (waits.total(), copies.total()) == (1, 3), waits


WAITS = {
    "imitation": (7, 1),  # all masks of a menu
    "allocation": (4, 0),  # a table of offers
    "wta_retrieval": (7, 0),  # hash tables
    "rloo_budget": (1, 4),
    "blockdrop": (1, 2),
}
"""Of a rollout and an update; of other agents at most one each."""


# The oracle searches in each episode, as long as some hundred; others need exits or streams.
ELSEWHERE = ("act", "pondernet", "entropy_threshold", "oracle")


@pytest.mark.parametrize("name", sorted(n for n in AGENTS if n[:3] != "sb3" and n not in ELSEWHERE))
def test_every_agent_runs_on_a_device_and_waits_as_often_as_is_known(name, device):
    with device:
        simulator, agent = make(name, "mlp")
        with device.counting() as (waits, _):
            rollout = collect_rollout(simulator, agent, agent.generator)
        with device.counting() as (learning, _):
            agent.update(rollout)
    most = WAITS.get(name, (1, min(1, learning.total())))
    assert (waits.total(), learning.total()) == most, waits + learning


@pytest.mark.parametrize("network", NETWORKS)
def test_a_view_on_the_host_waits_once_a_step_and_once_for_what_comes_next(network, device):
    with device:
        settings = {"dataset": "digits", "network": NETWORKS[network](), "device": "cuda:0"}
        env = BlockSelectionVecEnv(ROWS, **settings)
        env.seed(0)
        env.reset()
        gates = env.simulator.num_layers
        actions = np.ones((ROWS, env.simulator.max_blocks), dtype=np.int8)
        with device.counting() as (waits, copies):
            for gate in range(gates):
                _, reward, done, infos = env.step(actions)
                assert done.all() == (gate == gates - 1)
        assert (waits.total(), copies.total()) == (gates + 1, gates + 1), waits
        assert infos[0]["compute_cost"] == 1.0
        assert infos[0]["episode"]["r"] == pytest.approx(infos[0]["correct"] - 1)
        assert np.isfinite(reward).all()


@pytest.fixture
def computing(device, monkeypatch):
    """A device whose kernels compute, by their definition."""
    for name in ("triton_linear", "masked_dense_linear"):
        monkeypatch.setattr(dispatch, name, by_definition)
    on_use.cache_clear()
    yield device
    on_use.cache_clear()


def by_definition(x, weight, bias, in_mask, out_mask, activation):
    act = {None: None, "tanh": torch.tanh, "relu": torch.relu}[activation]
    return reference_linear(x, weight, bias, in_mask, out_mask, act)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["topk"])
def test_a_device_gives_what_the_cpu_gives_with_the_same_draws(name, network, computing):
    simulator, agent = make(name, network, "cpu")
    expected = collect_rollout(simulator, agent, agent.generator)
    told = agent.update(expected)
    with computing:
        simulator, agent = make(name, network)
        rollout = collect_rollout(simulator, agent, agent.generator)
        assert agent.update(rollout) == pytest.approx(told, rel=1e-4, abs=1e-6)
    assert torch.equal(plain(rollout.masks), expected.masks)
    torch.testing.assert_close(plain(rollout.returns), expected.returns)
    assert rollout.means == pytest.approx(expected.means, rel=1e-5)


def test_rows_of_units_with_many_macs_are_listed_for_which_a_device_is_waited_for(
    device, monkeypatch
):
    monkeypatch.setattr(routes, "DENSE_MACS", dict.fromkeys(routes.DENSE_MACS, 1.0))
    with device:
        simulator, agent = make("reinforce", "resnet")
        steps = walk(simulator, agent)
        next(steps)
        with device.counting() as (waits, _):
            list(steps)
    assert [place.split(":")[0] for place in waits.elements()] == (
        ["nonzero at networks/core/stage.py"] * simulator.num_layers
    )
    units = [part for part in simulator.network.parts if isinstance(part, Stage)]
    assert all(unit.lists_rows for unit in units)


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
