"""Networks and what their masks cost, by closed forms; the probe's optimum by enumeration."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.base.masks import as_mask, density, mask_of_indices, pad_mask
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP, layer_macs
from ccenv.networks.core.protocol import dense_forward, forward
from tests.ccenv.networks.tiny import masks_of

UNEVEN = {"num_blocks": (3, 5, 2), "block_size": (4, 2, 3), "head_units": (7, 6)}


def network_of(in_features=6, num_classes=4, seed=0, **sizes):
    sizes = UNEVEN | sizes
    return build_network(
        GatedMLP, seed, in_features=in_features, num_classes=num_classes, **sizes
    ).requires_grad_(False)


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
@pytest.mark.parametrize("rows", [6, 3])
def test_masks_that_are_no_bits_are_refused_at_every_door_of_a_network(kind, rows):
    network, images = GatedMLP(5, (3, 2), 2), torch.zeros(rows, 5)
    masks = [torch.ones(6, 3, dtype=torch.bool), torch.ones(6, 2, dtype=torch.bool)]
    network(images, masks)
    for index in range(2):
        wrong = [mask.to(kind) if i == index else mask for i, mask in enumerate(masks)]
        with pytest.raises(TypeError, match=r"expected masks\[\d\] to be a bool tensor"):
            network(images, wrong)
    with pytest.raises(TypeError, match="to be a bool tensor"):
        network(images, [mask.numpy() for mask in masks])


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
@pytest.mark.parametrize("activation", ["tanh", "relu", torch.sin])
def test_with_all_blocks_kept_the_logits_are_the_dense_networks(backend, activation):
    network = network_of(activation=activation)
    images = torch.randn(5, 1, 2, 3)
    act = getattr(torch, activation) if isinstance(activation, str) else activation
    x = images.flatten(1)
    for layer in network.layers:
        x = act(layer(x))
    for layer in network.head_layers[:-1]:
        x = act(layer(x))
    dense = network.head_layers[-1](x)
    torch.testing.assert_close(network(images, masks_of(network, 5, 2.0), backend), dense)
    torch.testing.assert_close(dense_forward(network, images), dense)


@pytest.mark.parametrize("size", [4, 96])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("activation", ["tanh", lambda y: torch.where(y > 0, y, 0.0)])
def test_weights_that_no_row_reads_may_be_anything_in_small_networks_and_large_ones(
    size, learns, activation
):
    network = GatedMLP(6, (3, 5), size, 4, activation, ()).requires_grad_(learns)
    assert network.is_small is (size == 4)
    masks = masks_of(network, 7, 0.5)
    masks[0][:, 1], masks[1][:, :2] = False, False
    images = torch.randn(7, 6)
    expected = network(images, masks)
    with torch.no_grad():
        network.layers[0].weight[size : 2 * size] = torch.nan
        network.layers[1].weight[:, size : 2 * size] = torch.nan
        network.layers[1].weight[: 2 * size] = torch.nan
        network.head_layers[0].weight[:, : 2 * size] = torch.nan
    assert torch.equal(network(images, masks), expected)
    with torch.no_grad():
        assert torch.equal(network(images, masks), expected)
    if learns:
        network(images, masks).sum().backward()
        assert all(p.grad.isfinite().all() for p in network.parameters())
        assert not network.layers[1].weight.grad[: 2 * size].any()
        assert not network.head_layers[0].weight.grad[:, : 2 * size].any()


def test_masks_that_are_no_multiple_of_the_images_are_refused():
    network = network_of()
    for images, rows in ((2, 3), (2, 1), (0, 3), (3, 0)):
        with pytest.raises(ValueError, match=f"a multiple of {images} inputs, got {rows} rows"):
            forward(network, torch.zeros(images, 6), masks_of(network, rows, 0.5))
    assert forward(network, torch.zeros(0, 6), masks_of(network, 0, 0.5)).shape == (0, 4)


def test_two_of_32_blocks_of_8_on_784_inputs_take_12704_macs():
    network = GatedMLP(784, num_blocks=(32,), block_size=8)
    mask = mask_of_indices(torch.tensor([[3, 17]]), 32)
    assert layer_macs(network, 0, None, mask).tolist() == [784 * 16 + 16 * 10] == [12_704]
    assert network.dense_macs == 784 * 256 + 256 * 10


def test_initial_weights_depend_on_the_seed_alone_and_torchs_global_stream_goes_on():
    torch.manual_seed(5)
    first = network_of(seed=3).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    again, other = network_of(seed=3).state_dict(), network_of(seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("masks", [[], [(3,)], [(3,), (5,), (3,)], [(3,), (5,), (2,), (2,)]])
def test_masks_that_are_not_one_for_each_layer_are_refused(masks):
    with pytest.raises(ValueError, match=r"one mask for each gated layer with \[3, 5, 2\] blocks"):
        forward(network_of(), torch.zeros(1, 6), [torch.ones(1, *m).bool() for m in masks])


@given(bits=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_mask_is_the_set_of_its_blocks_whatever_their_order(bits):
    for row in torch.tensor(bits):
        indices = row.nonzero().flatten().flip(0)
        assert torch.equal(mask_of_indices(indices, 5), row)
    assert torch.equal(as_mask(torch.tensor(bits), 5), torch.tensor(bits))
    assert torch.equal(pad_mask(torch.tensor(bits), 7)[:, 5:], torch.zeros(len(bits), 2).bool())
    torch.testing.assert_close(density(torch.tensor(bits)) * 5, torch.tensor(bits).sum(1).float())


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (torch.tensor([[0, 1, 1, 0]]), ValueError, "got one twice; a mask of 0 and 1 must be bool"),
        (torch.tensor([[4]]), ValueError, r"in 0\.\.3, or -1 for none, got 4\.\.4"),
        (torch.tensor([[-2]]), ValueError, r"in 0\.\.3, or -1 for none, got -2\.\.-2"),
        (torch.tensor([[4, -1]]), ValueError, r"in 0\.\.3, or -1 for none, got -1\.\.4"),
        (torch.tensor([[0, 1]], dtype=torch.int32), TypeError, "got torch.int32"),
    ],
)
def test_an_action_that_is_neither_mask_nor_block_numbers_is_refused(action, error, message):
    with pytest.raises(error, match=message):
        as_mask(action, 4)
