"""The probes of blocks, units and exits: their optima by enumeration of all masks."""

import itertools

import pytest
import torch

from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.data.toy import (
    NUM_DOMAINS,
    probe_exit_masks,
    probe_images,
    probe_optimal_masks,
    probe_unit_masks,
)
from ccenv.mdp.dynamics import initial, transition
from ccenv.networks.core.arguments import build_network
from ccenv.networks.probe import probe_network
from ccenv.networks.registry import NETWORKS
from ccenv.rewards import make_reward

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
def test_other_data_is_refused(name):
    builder = resolve(name, NETWORKS, "network")
    with pytest.raises(ValueError, match="expected dataset='probe' with inputs"):
        builder(input_shape=(1, 8, 8), num_classes=10)


def all_masks(num_blocks):
    return torch.tensor(list(itertools.product([False, True], repeat=num_blocks)))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_probes_masks_are_the_only_best_ones_of_all(num_layers):
    network = probe_network(num_blocks=(NUM_DOMAINS,) * num_layers).requires_grad_(False)
    reward = make_reward("accuracy_minus_cost", {"cost_weight": 0.5})
    images, labels = probe_images(40, seed=1)
    optimal = torch.cat(probe_optimal_masks(images, num_layers), dim=1)
    assert len({tuple(row) for row in optimal.tolist()}) == NUM_DOMAINS
    choices = all_masks(NUM_DOMAINS * num_layers)
    for image, label, best in zip(images, labels, optimal, strict=True):
        images_, labels_ = image.expand(len(choices), *image.shape), label.expand(len(choices))
        state = initial(network, images_, labels_)
        returns = torch.zeros(len(choices))
        for mask in choices.split(NUM_DOMAINS, dim=1):
            state, outcome = transition(network, state, mask)
            returns += sum(reward(outcome).values())
        assert choices[returns.argmax()].equal(best)
        assert (returns >= returns.max() - 1e-6).sum() == 1


def test_one_wrong_block_makes_the_probes_answer_wrong():
    network = probe_network().requires_grad_(False)
    images, labels = probe_images(200, seed=1)
    optimal = probe_optimal_masks(images, 2)
    assert (network(images, optimal).argmax(dim=1) == labels).all()
    for layer in range(2):
        for shift in range(1, NUM_DOMAINS):
            wrong = list(optimal)
            wrong[layer] = optimal[layer].roll(shift, dims=1)
            assert (network(images, wrong).argmax(dim=1) != labels).all()


@pytest.mark.parametrize(
    "settings_",
    [{"num_blocks": (5,)}, {"block_size": 3}, {"activation": "tanh"}, {"head_units": (4,)}],
)
def test_the_probe_takes_no_other_sizes(settings_):
    with pytest.raises(ValueError, match="expected the probe's settings"):
        probe_network(**settings_)
