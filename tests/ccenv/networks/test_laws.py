"""Laws of all networks: the checker's, equal back ends, shared inputs, copies, packed weights."""

import copy
import functools
import pickle

import pytest
import torch

from ccenv.mdp.dynamics import initial, outcomes
from ccenv.networks import NETWORKS as BY_NAME
from ccenv.networks.core.abilities import Continues, Norms, PlaysWindows, ability
from ccenv.networks.core.check import check_network
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.parameters import inactive_entries
from ccenv.networks.core.protocol import dense_forward, forward, through, walk
from ccenv.networks.core.unrolled import sequence_logits
from tests.ccenv.networks import tiny

OTHERS = {"mlp-dropout-0.2", "mlp-dropout-0.5"}
"""The fully connected network in training alone."""
WITH_CACHE = ("lm", "patches", "gru", "skip_gru", "decoder")
OF_SEQUENCES = [name for name in tiny.NETWORKS if name.startswith(WITH_CACHE)]


def test_every_network_of_the_table_is_here():
    assert set(BY_NAME) - OTHERS <= set(tiny.NETWORKS)


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_a_network_keeps_the_checkers_laws(name):
    network = tiny.built(name)
    check_network(network, tiny.inputs_of(name, 2))
    assert (name in OF_SEQUENCES) == (ability(network, PlaysWindows) is not None)


def logits_and_gradients(network, inputs, masks, backend, weights=None, start=None):
    network.zero_grad()
    hidden = through(network, inputs, lambda gate, _: masks[gate], backend, weights, start=start)
    logits = network.logits(hidden, backend)
    if logits.requires_grad:
        logits.square().sum().backward()
    read = [*network.parameters(), *(weights or [])]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in read]
    return [logits.detach(), *grads]


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_backends_agree_in_logits_and_gradients(name):
    network = tiny.built(name)
    for rows, density in ((1, 0.5), (7, 0.0), (7, 0.5)):
        inputs, masks = tiny.inputs_of(name, rows), tiny.masks_of(network, rows, density)
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


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_masks_of_one_input_share_it_and_give_what_each_gives_alone(name):
    network, inputs = tiny.built(name), tiny.inputs_of(name, 2)
    masks = tiny.masks_of(network, 6)
    weights = [torch.rand(mask.shape) for mask in masks]
    for backend in ("reference", "cpu", "auto"):
        shared, alone = (
            logits_and_gradients(network, x, masks, backend, weights)
            for x in (inputs, inputs.repeat_interleave(3, 0))
        )
        assert_close(shared, alone)


@pytest.mark.parametrize("name", tiny.NETWORKS)
@torch.no_grad()
def test_plain_weights_copies_and_packed_networks_answer_alike_and_no_rows_give_no_rows(name):
    network, inputs = tiny.built(name), tiny.inputs_of(name, 5)
    masks = tiny.masks_of(network, 5)
    none, ones = [mask[:0] for mask in masks], [torch.ones(mask.shape) for mask in masks]
    full = [torch.ones_like(mask) for mask in masks]
    assert walk(network, inputs[:0], lambda gate, _: none[gate]).shape == (0, network.num_classes)
    # Torch reshapes no empty tensor to [0, -1], as this model asks it to.
    if name != "gated wired":
        assert dense_forward(network, inputs[:0]).shape == (0, network.num_classes)
    expected = walk(network, inputs, lambda gate, _: masks[gate])
    ways = [(masks, ones), (full, [mask.float() for mask in masks])]
    # What a refresh shows there does not scale.
    for given, weights in ways[:1] if name == "staleness" else ways:
        weighed = walk(network, inputs, lambda gate, _, given=given: given[gate], weights=weights)
        torch.testing.assert_close(weighed, expected)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(walk(other, inputs, lambda gate, _: masks[gate]), expected)
    before = copy.deepcopy(network.state_dict())
    pack(network)
    packed = walk(network, inputs, lambda gate, _: masks[gate])
    torch.testing.assert_close(packed, expected, rtol=1e-3, atol=1e-4)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", tiny.NETWORKS)
@torch.no_grad()
def test_costs_of_gates_sum_to_the_compute_cost_which_is_one_where_all_is_kept(name):
    network, inputs = tiny.built(name), tiny.inputs_of(name, 4)
    masks, spent = tiny.masks_of(network, 4), torch.zeros(4)
    for mask in masks:
        mask[0] = True
    state = initial(network, inputs, torch.zeros(4, dtype=torch.int64))
    for outcome in outcomes(network, state, lambda state: masks[state.layer]):
        spent += outcome.layer_cost
        torch.testing.assert_close(outcome.compute_cost, spent)
        torch.testing.assert_close(outcome.macs / network.dense_macs, spent)
    assert outcome.compute_cost[0] == 1


@pytest.mark.parametrize("name", tiny.NETWORKS)
@torch.no_grad()
def test_norms_of_blocks_are_those_of_what_was_computed(name):
    network, inputs = tiny.built(name), tiny.inputs_of(name, 4)
    if (norms := ability(network, Norms)) is None:
        return
    hidden = network.start(inputs)
    for index, (gate, mask) in enumerate(
        zip(network.gates, tiny.masks_of(network, 4), strict=True)
    ):
        hidden = network.step(index, hidden, mask)
        if norms.tells_norms(index):
            found = norms.block_norms(index, hidden)
            assert found.shape == mask.shape
            assert gate.skipped != "zero" or not found[~mask].any()


def by_the_end(network, gate, hidden, inputs):
    """Masks that follow from an input's last symbol, at its position and at those before."""
    blocks = torch.arange(network.gates[gate].num_blocks)
    return (inputs[:, -1:] + blocks + gate) % 3 > 0


def masks_by(rule, network, inputs):
    return [rule(gate, None, inputs) for gate in range(len(network.gates))]


@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_a_window_alone_gives_what_windows_together_give_with_gradients_to_symbols_before(name):
    network, inputs = tiny.built(name).requires_grad_(True), tiny.positions(tiny.symbols(5, 3), 5)
    rule = functools.partial(by_the_end, network)
    masks = masks_by(rule, network, inputs)

    def alone(row):
        state = network.played(inputs[row : row + 1], rule, alone=True)
        own = [mask[row : row + 1] for mask in masks]
        return forward(
            network, inputs[row : row + 1], own, start=network.read(inputs[row : row + 1], state)
        )

    together = network.read(inputs, network.played(inputs, rule))
    whole = logits_and_gradients(network, inputs, masks, "auto", None, together)
    network.zero_grad()
    logits = torch.cat([alone(row) for row in range(len(inputs))])
    logits.square().sum().backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    assert_close([logits.detach(), *grads], whole)


@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_sequences_go_on_position_by_position_under_the_masks_that_were_executed(name):
    network, inputs = tiny.built(name), tiny.positions(tiny.symbols(5, 5), 5)
    if ability(network, Continues) is None:
        return
    rule = functools.partial(by_the_end, network)
    masks = masks_by(rule, network, inputs)
    whole = forward(
        network, inputs, masks, start=network.read(inputs, network.played(inputs, rule))
    )
    for backend in ("auto", "reference"):
        found = sequence_logits(network, inputs, masks, 5, backend)
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


# One layer that is repeated is read by what follows.
WITH_BLOCKS = [n for n in OF_SEQUENCES if n.startswith(("lm", "dec")) and n != "lm, pondering"]


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_a_state_of_another_network_or_of_several_sequences_is_refused(name):
    network, inputs = tiny.built(name), tiny.positions(tiny.symbols(3), 5)
    with pytest.raises(ValueError, match="a state that this network has made, got another"):
        copy.deepcopy(network).read(inputs[-1:], network.played(inputs[-1:], alone=True))
    with pytest.raises(ValueError, match="the end of one sequence, got 3 inputs"):
        network.played(inputs, alone=True)


@pytest.mark.parametrize("name", WITH_BLOCKS)
@torch.no_grad()
def test_what_no_position_keeps_is_not_read(name):
    network, inputs = tiny.built(name), tiny.positions(tiny.symbols(5, 3), 5)

    def rule(gate, hidden, inputs):
        is_later = torch.arange(network.gates[gate].num_blocks) > 0
        return by_the_end(network, gate, hidden, inputs) & is_later

    def answers():
        return forward(
            network, inputs, masks, start=network.read(inputs, network.played(inputs, rule))
        )

    masks = masks_by(rule, network, inputs)
    before, unread = answers(), inactive_entries(network, masks)
    for key, parameter in network.named_parameters():
        parameter[unread[key]] = torch.nan
    assert any(entries.any() for entries in unread.values())
    assert torch.equal(answers(), before)
