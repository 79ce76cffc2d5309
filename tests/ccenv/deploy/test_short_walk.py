"""One row with little between its layers: it answers and chooses what a walk does."""

import itertools

import pytest
import torch
from torch import nn

from ccenv.base.seeding import stream
from ccenv.deploy.faster import why_not_short
from ccenv.deploy.fused.choosers import Chooser
from ccenv.deploy.latency import plain_pass
from ccenv.deploy.short_walk import ShortWalk
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.one_row import OneRow
from ccenv.networks.core.protocol import dense_forward, forward
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.vision.conv import conv
from ccenv.networks.vision.experts import experts
from ccenv.networks.vision.residual import resnet
from ccenv.networks.vision.transformer import vit

SHAPE = (3, 16, 16)


def with_exits():
    """Two convolutional layers with an exit between them."""
    unit = resnet(SHAPE, depth=8, width=4).parts[0]
    answer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    parts = {"a": unit, "exit": Exit(answer), "b": resnet(SHAPE, depth=8, width=4).parts[0]}
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    return GatedSequential(nn.Conv2d(3, 4, 3, 1, 1), parts, head, torch.zeros(1, *SHAPE))


BUILDERS = {
    "resnet": lambda: resnet(SHAPE, depth=8, width=4),
    "experts": lambda: experts(SHAPE, num_experts=4, expert_size=4, channels=(4, 8)),
    "conv": lambda: conv(SHAPE, channels=(8, 8), num_blocks=4, strides=(1, 2)),
    "vit": lambda: vit(SHAPE, depth=2, dim=16, num_heads=2, num_groups=4),
    "exits": with_exits,
}


def packed(name):
    torch.manual_seed(0)
    network = BUILDERS[name]().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    network.pack()
    return network


def images(rows=24):
    return torch.rand(rows, *SHAPE, generator=stream(0, "images"))


def choosers_of(network, rule, hidden=0):
    """Random maps; scores about zero, so that both answers come."""
    generator, found = stream(1, "maps"), []
    for gate in network.gates:
        sizes = [gate.look_size, *([hidden] if hidden else []), gate.num_blocks]
        maps = [
            (torch.randn(b, a, generator=generator), torch.randn(b, generator=generator) * 0.1)
            for a, b in itertools.pairwise(sizes)
        ]
        low = 0.05 if rule == "drawn" else 0.0
        found.append(Chooser(maps, rule, max(1, gate.num_blocks // 2), low))
    return found


@pytest.mark.parametrize("name", BUILDERS)
def test_with_everything_kept_it_is_the_dense_network(name):
    network, image = packed(name), images(1)
    everything = OneRow(network)(image, lambda *_: True)
    torch.testing.assert_close(everything, dense_forward(network, image))
    assert torch.equal(plain_pass(network, 1)(image), everything)


def test_what_is_skipped_is_not_computed():
    network = resnet(SHAPE, depth=8, width=4).eval().requires_grad_(False)
    one, image = OneRow(network), images(1)
    clean = one(image, lambda gate, *_: gate != 1)
    for parameter in network.parts[1].body.parameters():
        parameter.fill_(torch.nan)
    assert torch.equal(one(image, lambda gate, *_: gate != 1), clean)
    assert one(image, lambda *_: True).isnan().all()


def test_behind_an_exit_nothing_is_asked():
    network, asked = packed("exits"), []

    def decide(gate, x, early):
        asked.append(gate)
        return gate != 1

    answer = OneRow(network)(images(1), decide)
    masks = [torch.tensor([[bit]]) for bit in (True, False, True)]
    torch.testing.assert_close(answer, forward(network, images(1), masks))
    assert asked == [0, 1]


def test_networks_and_choosers_that_do_not_fit_are_refused():
    network = packed("resnet")
    with pytest.raises(ValueError, match="a chooser for each of 3 gated layers, got 2"):
        ShortWalk(network, choosers_of(network, "likely")[:2], images(1))
    with pytest.raises(ValueError, match=r"expected maps from \d+ features to 1 scores"):
        ShortWalk(network, [Chooser([(torch.zeros(1, 3), None)])] * 3, images(1))
    with pytest.raises(ValueError, match="expected num_kept in 1"):
        ShortWalk(network, [Chooser(torch.zeros(1), "top_k", 2)] * 3, images(1))
    with pytest.raises(ValueError, match="expected a generator"):
        ShortWalk(network, choosers_of(network, "drawn"), images(1))(images(1))
    with pytest.raises(ValueError, match="in training mode, call eval"):
        OneRow(network.train())
    with pytest.raises(ValueError, match="it has no lower"):
        OneRow(nn.Linear(1, 1))
    assert why_not_short(packed("resnet"), (24,)) == "its inputs are no images"
    assert why_not_short(packed("resnet").double(), SHAPE) == "it is not float32 on the CPU"
