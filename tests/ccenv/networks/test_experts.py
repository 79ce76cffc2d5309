"""Laws of linear stages and experts: bill, values, gradients, what a policy sees."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.networks.core.check import check_network
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.protocol import forward, walk
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import BlockLinear
from ccenv.networks.vision.experts import Experts, experts

STAGES = {"linear": lambda: BlockLinear(12, 5, 3), "experts": lambda: Experts(12, 5, 3, 4)}


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((3, 16, 16), {}), ((1, 8, 8), {"num_experts": 5, "expert_size": 3, "num_classes": 4})],
)
def test_experts_obey_the_laws_of_networks(shape, sizes):
    check_network(experts(shape, **sizes), torch.rand(2, *shape))


# With the second one a map has no positive number: its weights look unused, and are read.
@pytest.mark.parametrize("seed", [0, 102])
def test_linear_stages_after_maps_obey_the_laws_of_networks(seed):
    from ccenv.networks.vision.conv import BlockConv2d

    torch.manual_seed(seed)
    parts = [BlockConv2d(1, 4, 3, 2), BlockLinear(4 * 36, 3, 5, "tanh"), BlockLinear(15, 2, 4)]
    network = GatedSequential(nn.Identity(), parts, nn.Linear(8, 3), torch.zeros(1, 1, 6, 6))
    check_network(network, torch.rand(2, 1, 6, 6))


@pytest.mark.parametrize("kind", STAGES)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.4, 1.0]), first=st.booleans())
@settings(max_examples=20)
def test_the_bill_is_what_torch_counts_one_row_at_a_time(kind, seed, share, first):
    torch.manual_seed(seed)
    stage, x = STAGES[kind]().double(), torch.randn(4, 12).double()
    mask = torch.rand(4, 5) < share
    before = None if first else torch.rand(4, 3) < share
    bill = stage.macs(mask, before)
    for row in range(4):
        one = slice(row, row + 1)
        own = None if before is None else before[one]
        assert counted(stage, x[one], mask[one], own, None, "cpu")[0] == bill[row]


@pytest.mark.parametrize("kind", STAGES)
def test_backends_agree_in_values_and_gradients(kind):
    torch.manual_seed(0)
    stage, x = STAGES[kind](), torch.randn(7, 12)
    mask, before, weights = torch.rand(7, 5) < 0.5, torch.rand(7, 3) < 0.5, torch.rand(7, 5)
    found = []
    for backend in ("reference", "cpu", "auto"):
        y = stage(x, mask, before, weights, backend)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(stage.parameters()))])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", STAGES)
def test_weights_of_a_block_that_nobody_keeps_are_not_read(kind):
    torch.manual_seed(0)
    stage, x = STAGES[kind](), torch.randn(6, 12)
    mask = torch.rand(6, 5) < 0.5
    mask[:, 2] = False
    clean = stage(x, mask)
    with torch.no_grad():
        first = stage.hidden if kind == "experts" else stage.linear
        first.weight[6:9] = first.bias[6:9] = torch.nan
        if kind == "experts":
            stage.output.weight[:, 6:9] = torch.nan
    for backend in ("cpu", "auto"):
        y = stage(x, mask, None, None, backend)
        assert torch.equal(y, clean)
        for gradient in torch.autograd.grad(y.sum(), list(stage.parameters())):
            assert not bool(gradient.isnan().any())


def test_contributions_of_experts_add_up_and_weights_scale_each():
    torch.manual_seed(0)
    stage, x, weights = Experts(12, 3, 4, 2), torch.randn(5, 12), torch.rand(5, 3)
    alone = [stage(x, torch.arange(3).eq(e).expand(5, 3)) for e in range(3)]
    torch.testing.assert_close(stage(x), sum(alone))
    scaled = sum(w[:, None] * y for w, y in zip(weights.T, alone, strict=True))
    torch.testing.assert_close(stage(x, None, None, weights), scaled)


def test_without_experts_the_first_answer_stays_and_the_policy_sees_it():
    network = experts((3, 16, 16), num_experts=4)
    hidden = network.start(torch.rand(5, 3, 16, 16))
    look = network.look(0, hidden)
    assert look.shape == (5, network.gates[0].look_size) == (5, 10 + 32 * 4)
    answer = network.logits(network.step(0, hidden, torch.zeros(5, 4, dtype=torch.bool)))
    torch.testing.assert_close(answer.log_softmax(dim=1), look[:, :10])
    assert bool(
        (network.macs(0, hidden, torch.zeros(5, 4, dtype=torch.bool)) == network.start_macs).all()
    )


def test_no_rows_give_no_rows():
    network = experts((3, 8, 8), num_experts=4)
    assert forward(
        network, torch.zeros(0, 3, 8, 8), [torch.zeros(0, 4, dtype=torch.bool)]
    ).shape == (0, 10)


@torch.no_grad()
def test_a_packed_network_answers_the_same():
    network, images = experts((3, 8, 8), num_experts=4).eval(), torch.rand(5, 3, 8, 8)
    masks = [torch.rand(5, 4) < 0.5]
    before = forward(network, images, masks)
    network.pack()
    torch.testing.assert_close(forward(network, images, masks), before)


def test_a_stage_tells_how_it_is_computed():
    stage, x = Experts(12, 5, 3, 4), torch.zeros(2, 12)
    assert stage.route(x, torch.zeros(2, 5, dtype=torch.bool)).route == "kernels"
    assert stage.route(x, None, None, "reference").route == "reference"


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
def test_masks_of_one_input_share_its_experts_and_gradients_are_those_of_each_alone(backend):
    network = experts((3, 8, 8), num_experts=5, expert_size=3, channels=(4, 4), first_units=3)
    images = torch.rand(2, 3, 8, 8, generator=stream(0, "images"))
    mask = random_mask(8, 5, 0.4, stream(1, "masks"))
    weights = torch.rand(8, 5, generator=stream(2, "weights"))
    found = []
    for inputs in (images, images.repeat_interleave(4, 0)):
        network.zero_grad()
        logits = walk(network, inputs, lambda *_: mask, backend, [weights])
        logits.square().sum().backward()
        found.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
    for shared, alone in zip(*found, strict=True):
        torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-5)
