"""Cascades and early exits: shapes, bills, and that the two networks of a cascade are two."""

import pytest
import torch

import ccenv
from ccenv.networks.core.exit_state import exit_losses
from ccenv.networks.vision.early_exit import cascade, early_exit


@pytest.mark.parametrize(
    ("builder", "own", "shape"),
    [
        (cascade, {"first": (4, 6), "then": (8,)}, (1, 6, 6)),
        (cascade, {"first": (), "then": ()}, (1, 4, 4)),
        (early_exit, {"units": (8, 6, 5)}, (1, 6, 6)),
        (early_exit, {"channels": (4, 6), "units": (7,)}, (3, 8, 8)),
        (early_exit, {"channels": (4, 6), "units": ()}, (3, 8, 8)),
    ],
)
def test_they_keep_the_laws_of_networks(builder, own, shape):
    network = builder(shape, 10, **own).eval()
    ccenv.check_network(network, torch.rand(2, *shape))
    assert all(gate.skipped == "stop" for gate in network.gates)


def test_stopping_costs_the_small_network_and_going_on_both():
    network = cascade((1, 4, 4), 10, first=(3, 5), then=(8,))
    hidden, small, large = network.start(torch.rand(2, 1, 4, 4)), 16 * 3 + 15 + 50, 16 * 8 + 80
    mask = torch.tensor([[False], [True]])
    assert network.macs(0, hidden, mask).tolist() == [small, small + large]
    assert network.dense_macs == small + large


def test_an_early_exit_reads_the_layers_before_it():
    network = early_exit((1, 4, 4), 10, units=(6, 5, 4))
    hidden, stop = network.start(torch.rand(1, 1, 4, 4)), torch.zeros(1, 1, dtype=torch.bool)
    assert network.macs(0, hidden, stop).tolist() == [16 * 6 + 60]
    assert network.dense_macs == 16 * 6 + 60 + 30 + 50 + 20 + 40
    assert [gate.name for gate in network.gates] == ["exit1", "exit2"]


def test_the_networks_of_a_cascade_learn_apart():
    network, labels = cascade((1, 4, 4), 10, first=(4,), then=(6,)), torch.arange(5)
    images = torch.rand(5, 1, 4, 4)
    exit_losses(network, images, labels).backward()
    early = network.parts[0].head(images.flatten(1))
    alone = torch.nn.functional.cross_entropy(early, labels)
    parameters = list(network.parts[0].parameters())
    gradients = torch.autograd.grad(alone, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_one_layer_has_no_place_for_an_exit():
    with pytest.raises(ValueError, match="at least two layers"):
        early_exit((1, 4, 4), 10, units=(4,))
