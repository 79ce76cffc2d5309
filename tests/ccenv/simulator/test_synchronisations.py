"""How often a device is waited for: counted on one that is not there, see `fake_device`.

The counts are exact: a wait more is a fault, a wait fewer a number to correct here. Copies to the
device that are only queued are counted by themselves.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ccenv
from ccenv.agents import AGENTS
from ccenv.base.masks import as_mask, gate_values_of
from ccenv.base.registry import resolve
from ccenv.networks.vision.experts import experts
from ccenv.networks.vision.residual import resnet
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator

pytest.importorskip("triton", reason="Triton is not installed")
sys.path.insert(0, str(Path(__file__).parent))

from fake_device import FakeDevice, install

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


def make(name, network, **settings):
    kind = resolve(name, AGENTS, "agent")
    settings = {"network": NETWORKS[network](), **kind.env_defaults, **settings}
    simulator = Simulator(ROWS, dataset="digits", device="cuda:0", **settings)
    simulator.seed(0)
    own = OF_ONE_BLOCK.get(name, {}) if network in ("resnet", "gated") else {}
    return simulator, kind(simulator, **own)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["reinforce", "rloo", "condnet", "topk"])
def test_steps_wait_for_nothing_and_a_rollout_an_update_and_a_verdict_once(name, network, device):
    with device:
        simulator, agent = make(name, network)
        observation = simulator.begin()
        with device.counting() as (waits, copies):
            for layer, blocks in enumerate(simulator.num_blocks):
                with torch.no_grad():
                    action = agent.act(observation, layer, agent.generator)
                mask = as_mask(action, blocks, simulator.checks)
                step = simulator.step(mask, gate_values_of(action, simulator.checks))
                observation = step.observation
        assert (waits.total(), copies.total()) == (0, 0), waits
        simulator.checks.settle()
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
