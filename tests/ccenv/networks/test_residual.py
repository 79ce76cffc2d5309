"""Residual units under masks by their formula, what is executed, and networks packed to run."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.inference_copy import NORMS, packed
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.vision.residual import PaddedShortcut, ResidualUnit
from tests.ccenv.networks.tiny import built, inputs_of

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def small_resnet():
    """ResNet-8 on 8 x 8 images, with norms that have seen something."""
    return built("resnet").requires_grad_(False)


def unit_of(shape_changes, settled):
    """A unit of 4 channels, or one that halves the side and doubles the channels."""
    outputs, stride = (8, 2) if shape_changes else (4, 1)
    body = nn.Sequential(nn.Conv2d(4, outputs, 3, stride, 1), nn.Tanh())
    shortcut = PaddedShortcut(2, 4) if shape_changes else None
    return ResidualUnit(body, shortcut, nn.ReLU(inplace=settled), settled)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 6),
    density=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 99),
    layout=st.sampled_from(LAYOUTS),
    shape_changes=st.booleans(),
    settled=st.booleans(),
    weighted=st.booleans(),
)
def test_a_unit_is_its_formula_with_its_gradients(
    rows, density, seed, layout, shape_changes, settled, weighted
):
    generator = stream(seed, "unit")
    unit = build_network(lambda: unit_of(shape_changes, settled), seed)
    x = torch.randn(rows, 4, 6, 6, generator=generator)
    x = (x.relu() if settled else x).contiguous(memory_format=layout).requires_grad_(True)
    unit.measure(x.detach()[:1])
    mask = random_mask(rows, 1, density, generator)
    weights = torch.rand(rows, 1, generator=generator) if weighted else None
    scale = mask * (torch.ones(rows, 1) if weights is None else weights)
    expected = torch.relu(unit.shortcut(x) + scale[:, :, None, None] * unit.body(x))
    before = x.detach().clone()
    wanted = [x, *unit.parameters()]
    gradients = torch.autograd.grad(expected.square().sum(), wanted)
    for backend in ("auto", "reference"):
        found = unit(x, mask, None, weights, backend)
        torch.testing.assert_close(found, expected)
        others = torch.autograd.grad(found.square().sum(), wanted, allow_unused=True)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(torch.zeros_like(one) if other is None else other, one)
    with torch.no_grad():
        unit(x, mask, None, weights)
    assert torch.equal(x, before)


def test_what_says_it_is_settled_must_be():
    with pytest.raises(ValueError, match="changes nothing a second time, as ReLU"):
        ResidualUnit(nn.Linear(3, 3), None, nn.Tanh(), settled=True).measure(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="leaves its input as it is, or settled=True"):
        ResidualUnit(nn.Linear(3, 3), None, nn.ReLU(inplace=True))


@pytest.mark.parametrize("name", ["resnet", "efficientnet_lite0", "experts, norms"])
def test_packing_leaves_no_norm_to_run(name):
    network = built(name)
    network.pack()
    stem, parts, head = network._packed
    assert not [m for part in (stem, *parts, head) for m in part.modules() if isinstance(m, NORMS)]


CHANGES = {
    "loading": lambda network: network.load_state_dict(built("resnet", seed=1).state_dict()),
    "moving": lambda network: network.double().float(),
    "training": lambda network: network.train().eval(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_packed_network_ends_its_packing(change):
    network = small_resnet()
    network.pack()
    CHANGES[change](network)
    plain = copy.deepcopy(network)
    images = inputs_of("resnet", 3)
    with torch.no_grad():
        assert torch.equal(dense_forward(network, images), dense_forward(plain, images))
    assert network._packed is None


def test_where_gradients_are_wanted_a_packed_networks_own_weights_run():
    network = small_resnet()
    network.pack()
    network.requires_grad_(True)
    dense_forward(network, inputs_of("resnet", 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_network_that_trains_is_not_packed_and_norms_that_learn_are_not_folded():
    with pytest.raises(ValueError, match="in evaluation mode to pack, call eval"):
        small_resnet().train().pack()
    learning = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    assert [type(part) for part in packed(learning)] == [nn.Conv2d, nn.BatchNorm2d]


def test_norms_behind_linear_layers_are_folded_too():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()).eval()
    module[1].running_mean.fill_(0.3)
    x = torch.randn(5, 3)
    assert [type(part) for part in packed(module)] == [nn.Linear, nn.Tanh]
    torch.testing.assert_close(packed(module)(x), module(x))
