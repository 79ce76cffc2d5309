"""The probes of blocks, units and exits: their optima by enumeration of all masks."""

import functools
import itertools

import pytest
import torch

from ccenv.annexes.tasks.probe import probe_exit, probe_network, probe_residual
from ccenv.data import load_split
from ccenv.networks.core.check import bill_of
from ccenv.networks.core.protocol import forward
from tests.agents.probes import block_masks, exit_masks, unit_masks

PROBES = {
    "one layer": (
        functools.partial(probe_network, num_blocks=(4,)),
        functools.partial(block_masks, num_layers=1),
    ),
    "two layers": (probe_network, block_masks),
    "units": (probe_residual, unit_masks),
    "exits": (probe_exit, exit_masks),
}
every_probe = pytest.mark.parametrize("name", PROBES)


def probe_of(name, split, count):
    """The network, images, labels, and the best mask of each."""
    build, optima = PROBES[name]
    images, labels = load_split("probe", split).batch(torch.arange(count))
    return build().requires_grad_(False), images, labels, optima(images)


def tried(network, images, masks):
    """Answers [batch] and share of the dense network's MACs [batch]."""
    spent = sum(bill_of(network, images, masks)).float()
    return forward(network, images, masks).argmax(dim=1), spent / network.dense_macs


@every_probe
def test_the_known_masks_are_the_best_of_all_and_no_others_are_as_good(name):
    network, images, labels, known = probe_of(name, "test", 32)
    answers, best_cost = tried(network, images, known)
    assert torch.equal(answers, labels)
    blocks = list(network.num_blocks)
    for bits in itertools.product([False, True], repeat=sum(blocks)):
        masks = torch.tensor(bits).expand(len(images), -1).split(blocks, dim=1)
        answers, cost = tried(network, images, masks)
        # As good are those that are the same up to where they stop.
        hidden, same = network.start(images), torch.ones(len(images), dtype=torch.bool)
        for gate, mask in enumerate(masks):
            executed = network.executed(gate, hidden, mask)
            hidden = network.step(gate, hidden, mask)
            same &= (executed == known[gate]).all(dim=1)
        for cost_weight in (0.1, 0.5, 0.9):
            gain = (answers == labels).float() - 1 - cost_weight * (cost - best_cost)
            assert torch.equal(gain > -1e-6, same)


@every_probe
def test_the_best_mask_depends_on_the_image_and_with_everything_all_answers_are_right(name):
    network, images, labels, known = probe_of(name, "train", 200)
    assert len(torch.cat(known, dim=1).unique(dim=0)) == 4
    everything = [torch.ones_like(mask) for mask in known]
    answers, cost = tried(network, images, everything)
    assert torch.equal(answers, labels)
    assert (cost == 1).all()
    look = network.look(0, network.start(images))
    seen = look if name.endswith(("layer", "layers")) else look[:, -10:-2]
    assert torch.equal(seen, images.flatten(1))
