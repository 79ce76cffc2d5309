"""Laws of convolutional networks gated by channel groups: bill, values, gradients, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ccenv.networks.core.check import check_network
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.protocol import dense_forward, forward
from ccenv.networks.vision.conv import BlockConv2d, conv

SMALL = {"input_shape": (1, 9, 7), "num_classes": 3, "channels": (8, 12), "strides": (2, 1)}


@pytest.mark.parametrize(
    "sizes", [{"num_blocks": 4}, {"num_blocks": 1}, {"num_blocks": 2, "pool": 1}]
)
def test_conv_obeys_the_laws_of_networks(sizes):
    check_network(conv(**SMALL, **sizes), torch.rand(2, 1, 9, 7))


@pytest.mark.slow
def test_conv_as_it_comes_obeys_the_laws_of_networks():
    check_network(conv(), torch.rand(2, 3, 32, 32))


def stage_and_input(after=None, rows=5, seed=0):
    torch.manual_seed(seed)
    stage = BlockConv2d(8, 12, 3, 4, stride=2, after=after)
    stage.measure(torch.zeros(1, 8, 9, 9))
    return stage, torch.randn(rows, 8, 9, 9)


@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.3, 0.7, 1.0]), first=st.booleans())
@settings(max_examples=30)
def test_the_bill_is_what_torch_counts_one_row_at_a_time(seed, share, first):
    stage, x = stage_and_input(seed=seed)
    stage, x = stage.double(), x.double()
    mask = torch.rand(5, 4) < share
    before = None if first else torch.rand(5, 2) < share
    bill = stage.macs(mask, before)
    assert bill.dtype == torch.int64
    for row in range(5):
        one = slice(row, row + 1)
        own = None if before is None else before[one]
        assert counted(stage, x[one], mask[one], own, None, "cpu")[0] == bill[row]


@pytest.mark.parametrize("after", [None, nn.MaxPool2d(2)])
def test_backends_agree_and_weights_scale_what_is_kept(after):
    stage, x = stage_and_input(after)
    mask, before, weights = torch.rand(5, 4) < 0.5, torch.rand(5, 2) < 0.5, torch.rand(5, 4)
    plain = stage(x, mask, before, None, "reference")
    for backend in ("reference", "cpu", "auto"):
        got = stage(x, mask, before, weights, backend)
        scaled = plain.unflatten(1, (4, 3)) * weights[:, :, None, None, None]
        torch.testing.assert_close(got, scaled.flatten(1, 2))
    assert not bool(plain.unflatten(1, (4, 3))[~mask].any())
    loss = stage(x, mask, before, weights.requires_grad_(True), "cpu").square().sum()
    assert bool((torch.autograd.grad(loss, weights)[0][~mask] == 0).all())


def test_skipped_input_groups_are_not_read_whatever_they_hold():
    stage, x = stage_and_input()
    mask, before = torch.rand(5, 4) < 0.5, torch.rand(5, 2) < 0.5
    spoiled = x.clone()
    spoiled.unflatten(1, (2, 4))[~before] = torch.nan
    for backend in ("reference", "cpu", "auto"):
        assert torch.equal(
            stage(spoiled, mask, before, None, backend), stage(x, mask, before, None, backend)
        )


def test_a_network_learns_the_same_by_kernels_as_by_masking():
    torch.manual_seed(0)
    network, images = conv(**SMALL, num_blocks=4), torch.rand(6, 1, 9, 7)
    masks = [torch.rand(6, 4) < 0.5 for _ in range(2)]
    found = []
    for backend in ("reference", "cpu"):
        network.zero_grad()
        forward(network, images, masks, backend).square().sum().backward()
        found.append([p.grad.clone() for p in network.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_no_rows_give_no_rows():
    network = conv(**SMALL, num_blocks=4)
    empty = torch.zeros(0, 1, 9, 7)
    masks = [torch.zeros(0, 4, dtype=torch.bool)] * 2
    assert forward(network, empty, masks).shape == (0, 3)
    assert dense_forward(network, empty).shape == (0, 3)


def test_a_stage_tells_how_it_is_computed():
    stage, x = stage_and_input()
    full = torch.ones(5, 4, dtype=torch.bool)
    assert stage.route(x, full).route == "dense"
    assert stage.route(x, torch.zeros_like(full)).route == "kernels"
    assert stage.route(x, full, None, "reference").route == "reference"


def test_what_cannot_be_gated_is_refused():
    with pytest.raises(ValueError, match="multiple of the 5 blocks"):
        BlockConv2d(3, 12, 3, 5)
    with pytest.raises(ValueError, match="maps 0 to 0"):
        BlockConv2d(3, 12, 3, 4, activation=torch.cos)
    with pytest.raises(ValueError, match="a stride for each"):
        conv(strides=(1, 2))
    for after in (nn.Flatten(), nn.Sigmoid()):
        with pytest.raises(ValueError, match="channels apart and zero at zero"):
            stage_and_input(after)
