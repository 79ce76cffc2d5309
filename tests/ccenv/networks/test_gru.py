"""The network `gru`: it is torch's layer over whole sequences, and a step of it with a cache."""

import pytest
import torch
from torch.nn.functional import linear

import ccenv
from ccenv.agents.reference_policies import Dense
from ccenv.networks.baselines.text import GRU
from ccenv.networks.core.protocol import dense_forward, through
from ccenv.simulator.simulator import Simulator
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


def test_a_cache_gives_what_whole_sequences_give_with_gradients_to_the_first_symbol():
    network, inputs = model(), positions(symbols(WINDOW, 2), WINDOW)
    hidden = through(network, inputs, lambda *_: None, cache=network.cache(inputs))
    logits = network.logits(hidden)
    torch.testing.assert_close(logits, dense_forward(network, inputs))
    weight = network.stem.embedding.weight
    (gradient,) = torch.autograd.grad(logits[WINDOW - 1].sum(), weight)
    assert gradient[inputs[0, -1]].any()


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


def test_it_learns_a_rule_of_a_text_and_is_judged_at_every_position(prose):
    simulator = Simulator(
        64,
        dataset="prose@8",
        network="gru",
        network_kwargs={"width": 8, "embedding_size": 4},
        weights="cotrain",
        weights_kwargs={"learning_rate": 0.02},
    )
    simulator.seed(0)
    agent = Dense(simulator)
    agent.learn(40 * 64)
    verdict = ccenv.evaluate(simulator, agent, batch_size=37)
    test = simulator.on_split("test", 1).data
    inputs, labels = test.batch(torch.arange(len(test)))
    with torch.no_grad():
        logits = [plainly(simulator.network, inputs[i + 7]) for i in range(0, len(test), 8)]
    loss = torch.nn.functional.cross_entropy(torch.cat(logits), labels)
    assert verdict.nll == pytest.approx(float(loss), abs=1e-5)
    assert verdict.nll < 1.5
    assert verdict.macs == simulator.dense_macs == 3 * 8 * (4 + 8) + 8 * 128


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 0}, "embedding_size and num_blocks to be whole numbers of at least 1"),
        ({"embedding_size": 1.5}, "embedding_size and num_blocks to be whole numbers"),
        ({"input_shape": (1, 8, 8)}, "windows of symbols"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        GRU(**sizes)


def test_symbols_that_there_are_not_are_refused():
    network, inputs = model(), positions(symbols(3), WINDOW)
    for read in (network.start, network.cache):
        with pytest.raises(ValueError, match=r"symbols in 0\.\.6, and 7 for missing ones"):
            read(inputs + 8 * (inputs == 0))
        with pytest.raises(ValueError, match="got one behind a symbol"):
            read(inputs.flip(1))
        with pytest.raises(ValueError, match=r"int64 \[rows, 6\]"):
            read(inputs[:, 1:])
