"""Exits by their formulas: who answers, what it costs, and how they are trained together."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from ccenv.base.seeding import stream
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.exit_state import Exit, exit_losses
from ccenv.networks.core.protocol import dense_forward, forward, walk
from ccenv.networks.vision.residual import ResidualUnit
from tests.ccenv.networks.tiny import of_exits

LAYOUTS = {
    "unit exit unit exit unit": "ueueu",
    "exit first": "eueu",
    "two exits in a row, always between": "ueeaue",
    "exit last": "ue",
}
CLASSES = 3


def built(layout, seed=0):
    return build_network(lambda: of_exits(layout), seed).eval()


def by_hand(network, row, bits, weights=None):
    """Logits and MACs of one input [1, 4]: bits and weights are one number a gate."""
    x, share, gate = network.stem(row), 1.0, 0
    answer, macs = torch.zeros(1, CLASSES), 20
    for part in network.parts:
        if not isinstance(part, Exit | ResidualUnit):
            x, macs = part(x), macs + 25
            continue
        keep, weight = bits[gate], 1.0 if weights is None else weights[gate]
        gate += 1
        if isinstance(part, ResidualUnit):
            x, macs = (x + weight * part.body(x), macs + 25) if keep else (x, macs)
            continue
        macs += 15
        if not keep:
            return answer + share * part.head(x), macs
        answer, share = answer + share * (1 - weight) * part.head(x), share * weight
    return answer + share * network.head(x), macs + 15


def walked(network, inputs, masks, weights=None):
    """Logits, and bills, executed masks and looks of each gate."""
    hidden, bills, executed, looks = network.start(inputs), [], [], []
    for gate, mask in enumerate(masks):
        bills.append(network.macs(gate, hidden, mask))
        scale = None if weights is None else weights[gate]
        if len(mask) == hidden.num_rows:
            executed.append(network.executed(gate, hidden, mask))
            looks.append(network.look(gate, hidden))
        hidden = network.step(gate, hidden, mask, scale)
    return network.logits(hidden), torch.stack(bills), executed, looks


def drawn(network, rows, seed, inputs=None):
    """Inputs, masks, and weights."""
    generator = stream(seed, "exits")
    x = torch.randn(rows if inputs is None else inputs, 4, generator=generator)
    masks = [torch.rand(rows, 1, generator=generator) < 0.6 for _ in network.gates]
    return x, masks, [torch.rand(rows, 1, generator=generator) for _ in network.gates]


some_layout = st.sampled_from([*LAYOUTS.values()])


@settings(max_examples=30)
@given(layout=some_layout, rows=st.integers(1, 6), seed=st.integers(0, 999), weighted=st.booleans())
def test_who_answers_and_what_it_costs_is_the_hand_formula_and_nothing_runs_behind_an_exit(
    layout, rows, seed, weighted
):
    network = built(layout)
    x, masks, weights = drawn(network, rows, seed)
    logits, bills, executed, looks = walked(network, x, masks, weights if weighted else None)
    stopped = torch.zeros(rows, dtype=torch.bool)
    for gate, found in enumerate(network.gates):
        for behind in (bills, executed, looks):
            assert not behind[gate][stopped].any()
        assert torch.equal(executed[gate][~stopped], masks[gate][~stopped])
        if found.skipped == "stop":
            stopped = stopped | ~masks[gate][:, 0]
    for row in range(rows):
        bits = [bool(mask[row]) for mask in masks]
        scale = [float(w[row]) for w in weights] if weighted else None
        answer, macs = by_hand(network, x[row : row + 1], bits, scale)
        torch.testing.assert_close(logits[row : row + 1], answer)
        assert int(bills[:, row].sum()) == macs


@settings(max_examples=30)
@given(layout=some_layout, rows=st.integers(1, 8), seed=st.integers(0, 999))
def test_of_a_batch_what_is_billed_runs_and_nothing_else(layout, rows, seed):
    network = built(layout)
    x, masks, _ = drawn(network, rows, seed)
    bills = walked(network, x, masks)[1]
    ran, _ = counted(forward, network, x, masks)
    assert ran == int(bills.sum())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_gates_cost_at_least_is_the_cheapest_mask(layout):
    network = built(layout)
    choices = torch.tensor([*itertools.product([False, True], repeat=len(network.gates))])
    masks = [*choices.T[:, :, None]]
    bills = walked(network, torch.randn(1, 4).repeat(len(choices), 1), masks)[1]
    assert network.least_macs(0) == int(bills.sum(dim=0).min())
    exits = [found.skipped == "stop" for found in network.gates]
    for gate in range(1, len(exits)):
        # Of the rows that get there.
        there = torch.stack(
            [masks[i][:, 0] for i in range(gate) if exits[i]] or [choices[:, 0] | True]
        )
        rest = bills[gate:, there.all(dim=0)].sum(dim=0)
        assert network.least_macs(gate) == int(rest.min())


@settings(max_examples=30)
@given(layout=some_layout, seed=st.integers(0, 99), smoothing=st.sampled_from([0.0, 0.1]))
def test_the_loss_of_exits_is_the_weighted_sum_of_their_answers_losses(layout, seed, smoothing):
    network = built(layout)
    x, _, _ = drawn(network, 5, seed)
    labels = torch.randint(CLASSES, (5,), generator=stream(seed, "labels"))
    expected = cross_entropy(dense_forward(network, x), labels, label_smoothing=smoothing)
    for gate, found in enumerate(network.gates):
        if found.skipped == "stop":
            stop = [torch.full((5, 1), number != gate) for number in range(len(network.gates))]
            loss = cross_entropy(forward(network, x, stop), labels, label_smoothing=smoothing)
            expected = expected + network.part(gate).loss_weight * loss
    found = exit_losses(network, x, labels, None, smoothing)
    torch.testing.assert_close(found, expected)
    found.backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_masks_stop_no_input_while_exits_learn_but_skip_units():
    network = built("eueu")
    x, _, _ = drawn(network, 4, 0, inputs=2)
    labels = torch.tensor([0, 0, 2, 2])
    stopping = [torch.zeros(4, 1, dtype=torch.bool)] * 4
    going = [torch.full((4, 1), found.skipped == "stop") for found in network.gates]
    found = exit_losses(network, x, labels, stopping)
    assert torch.equal(found, exit_losses(network, x, labels, going))
    units_skipped = cross_entropy(walk(network, x, lambda gate, _: going[gate]), labels)
    # Units skipped, every answer reads the stem's features.
    hidden = network.stem(x).repeat_interleave(2, 0)
    exits = [part for part in network.parts if isinstance(part, Exit)]
    losses = [part.loss_weight * cross_entropy(part.head(hidden), labels) for part in exits]
    torch.testing.assert_close(found, units_skipped + sum(losses))


def test_a_gate_that_is_no_exit_has_no_early_answer():
    network = built("ue")
    with pytest.raises(ValueError, match="expected gate 0 to be an exit that is next"):
        network.early_answer(0, network.start(torch.zeros(1, 4)))
