"""The network `gru`: it is torch's layer over whole sequences, and a step of it with a cache."""

import torch
from torch.nn.functional import linear

import ccenv
from ccenv.annexes.networks.baselines.text import GRU
from ccenv.networks.core.protocol import dense_forward
from tests.ccenv.networks.tiny import SYMBOLS, positions, symbols

WINDOW = 6


def model(**sizes):
    torch.manual_seed(0)
    network = GRU((WINDOW,), SYMBOLS, **{"width": 5, "embedding_size": 3} | sizes).eval()
    torch.nn.init.normal_(network.head.bias)
    return network


def plainly(network, sequence):
    stem = network.stem
    states, _ = stem.gru(stem.embedding(sequence)[None])
    return linear(states[0], network.part(0).body[0].weight, network.head.bias)


def test_every_position_is_the_plain_run_over_its_sequence():
    network, texts = model(), symbols(WINDOW, 3, 1)
    expected = torch.cat([plainly(network, text) for text in texts])
    torch.testing.assert_close(dense_forward(network, positions(texts, WINDOW)), expected)


def test_cudnn_keeps_what_gradients_need_in_a_rollout_too():
    assert not model().training
    assert model().stem.gru.training


def test_a_position_costs_one_step_and_the_logits_wherever_it_stands():
    network, inputs = model(), positions(symbols(WINDOW), WINDOW)
    dense = 3 * 5 * (3 + 5) + 5 * SYMBOLS
    assert network.dense_macs == dense
    mask = torch.tensor([[True], [False]] * 3)
    spent = network.macs(0, network.start(inputs), mask)
    assert spent.tolist() == [dense, dense - 5 * SYMBOLS] * 3
    # Elementwise products of gates are not counted: of a layer this wide they are few.
    wide = model(width=150)
    ccenv.check_network(wide, inputs[[0, WINDOW - 1]])
    ccenv.check_network(wide, inputs[[2, 3]])
