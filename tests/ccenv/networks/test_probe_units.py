"""The probes of units and of exits: their optima by enumeration of all masks."""

import itertools

import pytest
import torch

from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.data.toy import probe_exit_masks, probe_unit_masks
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.check import check_network
from ccenv.networks.registry import NETWORKS

OPTIMA = {"probe-residual": probe_unit_masks, "probe-exit": probe_exit_masks}


def probe_of(name):
    builder = resolve(name, NETWORKS, "network")
    return build_network(builder, 0, input_shape=(1, 1, 8), num_classes=3).requires_grad_(False)


def tried(network, images, masks):
    """Answers [batch] and share of the dense network's MACs [batch]."""
    hidden, spent = network.start(images), torch.zeros(len(images))
    for gate, mask in enumerate(masks):
        spent += network.macs(gate, hidden, mask)
        hidden = network.step(gate, hidden, mask)
    return network.logits(hidden).argmax(dim=1), spent / network.dense_macs


@pytest.mark.parametrize("name", OPTIMA)
@pytest.mark.parametrize("cost_weight", [0.1, 0.5, 0.9])
def test_the_known_masks_are_the_best_of_all_and_no_others_are_as_good(name, cost_weight):
    network, split = probe_of(name), load_split("probe", "test")
    images, labels = split.batch(torch.arange(64))
    known = OPTIMA[name](images)
    answers, cost = tried(network, images, known)
    assert torch.equal(answers, labels)
    best = 1 - cost_weight * cost
    for bits in itertools.product([False, True], repeat=len(network.gates)):
        masks = [torch.full((len(images), 1), bit) for bit in bits]
        answers, cost = tried(network, images, masks)
        reward = (answers == labels).float() - cost_weight * cost
        assert (reward <= best + 1e-6).all()
        # As good are those that are the same up to where they stop.
        hidden, same = network.start(images), torch.ones(len(images), dtype=torch.bool)
        for gate, mask in enumerate(masks):
            executed = network.executed(gate, hidden, mask)
            hidden = network.step(gate, hidden, mask)
            same &= (executed == known[gate])[:, 0]
        assert torch.equal(reward > best - 1e-6, same)


@pytest.mark.parametrize("name", OPTIMA)
def test_the_best_mask_depends_on_the_image_and_all_of_them_answer_right_with_everything(name):
    network, split = probe_of(name), load_split("probe", "train")
    images, labels = split.batch(torch.arange(len(split)))
    codes = torch.cat(OPTIMA[name](images), dim=1)
    assert len(codes.unique(dim=0)) == 4
    everything = [torch.ones(len(images), 1, dtype=torch.bool)] * len(network.gates)
    answers, cost = tried(network, images, everything)
    assert torch.equal(answers, labels)
    assert (cost == 1).all()


@pytest.mark.parametrize("name", OPTIMA)
def test_what_is_to_be_seen_before_the_first_gate_tells_the_best_mask(name):
    network, split = probe_of(name), load_split("probe", "test")
    images, _ = split.batch(torch.arange(64))
    look = network.look(0, network.start(images))
    seen = look[:, -10:-2]
    assert torch.equal(seen, images.flatten(1))


@pytest.mark.parametrize("name", OPTIMA)
def test_probes_keep_the_laws_of_networks_and_have_their_own_weights(name):
    network = probe_of(name)
    check_network(network, load_split("probe", "test").batch(torch.arange(2))[0])
    assert network.has_own_weights


@pytest.mark.parametrize("name", OPTIMA)
def test_other_data_is_refused(name):
    builder = resolve(name, NETWORKS, "network")
    with pytest.raises(ValueError, match="expected dataset='probe' with inputs"):
        builder(input_shape=(1, 8, 8), num_classes=10)
