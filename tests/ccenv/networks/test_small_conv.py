"""A small convolution with nothing to choose: its norms learn, and its bill is the counter's."""

import pytest
import torch
from torch import nn

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.networks.baselines.dense import small_conv
from ccenv.networks.core.check import check_network
from ccenv.simulator.settings import make_simulator


def test_it_keeps_the_laws_of_networks():
    check_network(small_conv((1, 8, 8), channels=(4, 6), units=(8,)).eval(), torch.rand(3, 1, 8, 8))


def test_its_cost_is_that_of_its_products():
    network = small_conv((1, 14, 14), channels=(8, 16), units=(32,))
    products = 9 * 8 * 49 + 9 * 8 * 16 * 16 + 16 * 16 * 32 + 32 * 10
    assert network.dense_macs == products
    network = small_conv((1, 14, 14), channels=(4, 12), kernel=(5, 3), padded=False)
    assert network.dense_macs == 25 * 4 * 25 + 9 * 4 * 12 * 4 + 48 * 10


def test_its_norms_learn_while_it_is_trained():
    settings = {"dataset": "digits", "network": "small_conv", "weights": "cotrain"}
    simulator = make_simulator(64, settings | {"network_kwargs": {"channels": (4,)}})
    simulator.seed(0)
    (norm,) = (m for m in simulator.network.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    resolve(AGENTS["dense"], AGENTS, "agent")(simulator, seed=0).learn(64 * 5)
    assert not torch.equal(norm.running_mean, before)
    assert not norm.training


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="expected 2 strides and kernels, got"):
        small_conv(channels=(4, 8), strides=(1,))
    with pytest.raises(ValueError, match="expected odd kernels"):
        small_conv(kernel=2)
