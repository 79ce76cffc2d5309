"""Laws of all networks: the checker's, equal back ends, shared inputs, copies, packed weights."""

import copy
import pickle

import pytest
import torch

from ccenv.networks import NETWORKS as BY_NAME
from ccenv.networks.core.check import check_network
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.protocol import dense_forward, walk
from tests.ccenv.networks.tiny import NETWORKS, built, inputs_of, masks_of

OTHERS = {"mlp-dropout-0.2", "mlp-dropout-0.5"}
"""The fully connected network in training alone."""


def test_every_network_of_the_table_is_here():
    assert set(BY_NAME) - OTHERS <= set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_keeps_the_checkers_laws(name):
    check_network(built(name), inputs_of(name, 2))


def logits_and_gradients(network, inputs, masks, backend, weights=None):
    network.zero_grad()
    logits = walk(network, inputs, lambda gate, _: masks[gate], backend, weights)
    if logits.requires_grad:
        logits.square().sum().backward()
    read = [*network.parameters(), *(weights or [])]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in read]
    return [logits.detach(), *grads]


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_backends_agree_in_logits_and_gradients(name):
    network = built(name)
    for rows, density in ((1, 0.5), (7, 0.0), (7, 0.5)):
        inputs, masks = inputs_of(name, rows), masks_of(network, rows, density)
        drawn, found = [torch.rand(mask.shape) for mask in masks], []
        for backend in ("reference", "cpu", "auto"):
            for scales in (None, drawn):
                weights = scales and [w.clone().requires_grad_() for w in scales]
                found.append(logits_and_gradients(network, inputs, masks, backend, weights))
            for gradient, mask in zip(found[-1][-len(masks) :], masks, strict=True):
                assert not gradient[~mask].any()
        for plain, weighed in (found[2:4], found[4:]):
            assert_close(plain, found[0])
            assert_close(weighed, found[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_masks_of_one_input_share_it_and_give_what_each_gives_alone(name):
    network, inputs = built(name), inputs_of(name, 2)
    masks = masks_of(network, 6)
    weights = [torch.rand(mask.shape) for mask in masks]
    for backend in ("reference", "cpu", "auto"):
        shared, alone = (
            logits_and_gradients(network, x, masks, backend, weights)
            for x in (inputs, inputs.repeat_interleave(3, 0))
        )
        assert_close(shared, alone)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_weights_of_one_copies_and_packed_networks_answer_alike_and_no_rows_give_no_rows(name):
    network, inputs = built(name), inputs_of(name, 5)
    masks = masks_of(network, 5)
    none, ones = [mask[:0] for mask in masks], [torch.ones(mask.shape) for mask in masks]
    assert walk(network, inputs[:0], lambda gate, _: none[gate]).shape == (0, network.num_classes)
    assert dense_forward(network, inputs[:0]).shape == (0, network.num_classes)
    expected = walk(network, inputs, lambda gate, _: masks[gate])
    weighed = walk(network, inputs, lambda gate, _: masks[gate], weights=ones)
    torch.testing.assert_close(weighed, expected)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(walk(other, inputs, lambda gate, _: masks[gate]), expected)
    before = copy.deepcopy(network.state_dict())
    pack(network)
    packed = walk(network, inputs, lambda gate, _: masks[gate])
    torch.testing.assert_close(packed, expected, rtol=1e-3, atol=1e-4)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
