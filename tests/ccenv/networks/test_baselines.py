"""Baselines: dense, pruned, cascades and hashed n-grams; their bills, memory and training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ccenv
from ccenv.agents.reference_policies import Dense
from ccenv.annexes.networks.baselines import text
from ccenv.annexes.networks.baselines.dense import half
from ccenv.annexes.networks.baselines.pruned import pruned, pruned_blocks
from ccenv.annexes.networks.text.embedding import TokenMLP
from ccenv.annexes.networks.text.tokens import HashedRows
from ccenv.networks.core.exit_state import exit_losses
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.learning.training import CoTrainer, Pretraining, frozen_weights
from ccenv.networks.vision.early_exit import cascade
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import seeded

UNITS = (12, 8)
SHAPE = (1, 4, 4)
DENSE = 16 * 12 + 12 * 8 + 8 * 10
UPDATES = 20


def non_zeros(network):
    return sum(int(layer.weight.count_nonzero()) for layer in network.layers.layers)


def make(macs=60, channels=(), shape=SHAPE):
    return pruned(shape, 10, UNITS, channels, macs).eval()


def simulator_of(macs=60):
    return seeded(
        16,
        dataset="digits",
        network="pruned",
        network_kwargs={"units": UNITS, "macs": macs},
        weights="cotrain",
        weights_kwargs={"schedule_updates": UPDATES, "learning_rate": 0.01},
    )


@given(macs=st.integers(1, DENSE), begin=st.floats(0, 0.4), more=st.floats(0.05, 0.5))
@settings(max_examples=10, deadline=None)
def test_the_bill_is_the_weights_that_are_not_zero_and_ends_at_the_number_asked_for(
    macs, begin, more
):
    network = pruned(SHAPE, 10, UNITS, macs=macs, begin=begin, end=begin + more)
    kept, row = torch.ones(1, 1, dtype=torch.bool), torch.rand(1, *SHAPE)
    before = network.dense_macs
    for done in torch.linspace(0, 1, 9).tolist():
        network.after_update(done)
        (spent,) = network.macs(0, network.start(row), kept).tolist()
        assert spent == non_zeros(network) == network.macs_at(done) <= before
        before = spent
    assert before == macs
    assert network.macs(0, network.start(row), ~kept).tolist() == [0]


@given(macs=st.integers(1, 4 * 3 * (16 + 10)), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_kept_blocks_cost_what_is_left_of_them_and_answer_as_the_masked_layers_do(macs, seed):
    torch.manual_seed(seed)
    network = pruned_blocks(SHAPE, 10, num_blocks=4, block_size=3, macs=macs).eval()
    images, mask = torch.rand(5, *SHAPE), torch.rand(5, 4) < 0.5
    network.after_update(1.0)
    hidden, out = network.layers.layers
    of_block = hidden.weight.count_nonzero(dim=1) + out.weight.count_nonzero(dim=0)
    spent = network.macs(0, network.start(images), mask)
    assert torch.equal(spent, (mask * of_block.view(4, 3).sum(dim=1)).sum(dim=1))
    assert network.macs(0, network.start(images), torch.ones_like(mask)).tolist() == [macs] * 5
    kept = hidden(images.flatten(1)).relu() * mask.repeat_interleave(3, dim=1)
    torch.testing.assert_close(network(images, [mask]), out(kept))


def test_norms_of_convolutions_learn_along_and_cost_a_bias_a_channel():
    network = pruned((2, 8, 8), 10, UNITS, (4, 6), 300, norms=True)
    plain = pruned((2, 8, 8), 10, UNITS, (4, 6), 300)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 2
    assert network.dense_macs == plain.dense_macs
    assert network.memory_bytes() == plain.memory_bytes()
    images, kept = torch.rand(5, 2, 8, 8), torch.ones(5, 1, dtype=torch.bool)
    before = [norm.running_mean.clone() for norm in norms]
    network.train()(images, [kept])
    network.eval()
    assert not any(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    network.after_update(1.0)
    assert network.layers.kept_macs() <= 300


def test_the_smallest_weights_of_all_layers_go_first():
    network = make(macs=100)
    sizes = torch.cat([layer.weight.abs().flatten() for layer in network.layers.layers])
    least = sizes.sort(descending=True).values[99]
    network.after_update(1.0)
    left = torch.cat([layer.weight.abs().flatten() for layer in network.layers.layers])
    assert torch.equal(left != 0, sizes >= least)


def test_a_convolutions_weight_costs_as_often_as_it_is_used():
    network = make(macs=500, channels=(4,), shape=(1, 8, 8))
    # Maps of 4 x 4 places: a weight there is worth 16 of those behind.
    assert network.layers.places == [16, 1, 1, 1]
    network.after_update(1.0)
    first, *others = network.layers.kept()
    bill = 16 * int(first.sum()) + sum(int(kept.sum()) for kept in others)
    assert network.layers.kept_macs() == bill
    assert 500 - 16 < bill <= 500


def test_the_cubic_schedule_is_that_of_zhu_and_gupta():
    network = pruned(SHAPE, 10, UNITS, macs=64, begin=0.0, end=1.0)
    assert [network.macs_at(x) for x in (0.0, 0.5, 1.0)] == [DENSE, 64 + (DENSE - 64) / 8, 64]


def test_what_is_pruned_in_training_stays_zero():
    simulator = simulator_of()
    Dense(simulator).learn(16 * UPDATES // 2)
    half = [kept.clone() for kept in simulator.network.layers.kept()]
    assert DENSE > non_zeros(simulator.network) > 60
    Dense(simulator).learn(16 * UPDATES // 2)
    assert non_zeros(simulator.network) == 60
    assert ccenv.evaluate(simulator, Dense(simulator), split="validation").macs == 60
    for early, late in zip(half, simulator.network.layers.kept(), strict=True):
        assert not (late & ~early).any()


def test_without_the_end_of_its_training_or_without_training_it_is_refused():
    simulator = Simulator(4, network="pruned", weights="cotrain")
    with pytest.raises(ValueError, match="schedule_updates"):
        simulator.seed(0)
    with pytest.raises(ValueError, match="weights='cotrain'"):
        frozen_weights(simulator.network, simulator.data, Pretraining(min_updates=1))


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


def test_dropout_is_on_while_the_network_learns_and_off_when_it_is_used():
    network = half(in_features=6, num_blocks=(1,), block_size=400, num_classes=3)
    plain = GatedMLP(6, (1,), 400, 3)
    plain.load_state_dict(network.state_dict())
    images, labels = torch.rand(64, 6), torch.arange(64) % 3
    masks = [torch.ones(64, 1, dtype=torch.bool)]
    network.eval()
    assert torch.equal(network(images, masks), plain(images, masks))
    network.train()
    hidden = network.gated_layer(0, images, None, None, "reference").detach()
    assert (hidden == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    # What is left counts double, so that units mean the same on average.
    kept = plain.gated_layer(0, images, None, None, "reference").detach()
    torch.testing.assert_close(hidden, torch.where(hidden == 0, 0.0, 2 * kept))
    CoTrainer(network).update(images, labels, masks)
    assert not network.training


WINDOW, SYMBOLS = (6,), 9
SIZES = {"embedding_size": 3, "context": 4}
FEATURES = 4 * 3
HASHED = {"units": 5, "num_rows": 12, "context": 4, "order": 3}


def dense(units, embedding, linears, last_bias):
    """The network `bytes` of one block a layer with these weights."""
    plain = TokenMLP(WINDOW, SYMBOLS, num_blocks=[1] * len(units), block_size=units, **SIZES)
    plain.embedding.load_state_dict(embedding.state_dict())
    with torch.no_grad():
        for into, known in zip(plain.layers, linears, strict=True):
            into.weight.copy_(known.weight)
            into.bias.copy_(last_bias if known.bias is None else known.bias)
    return plain.eval()


def answers(plain, tokens):
    return plain(tokens, [torch.ones(len(tokens), 1, dtype=torch.bool)] * len(plain.gates))


def drawn(rows=7):
    return torch.randint(SYMBOLS, (rows, *WINDOW)), torch.ones(rows, 1, dtype=torch.bool)


def test_a_pruned_one_is_the_dense_network_of_its_weights_before_and_after_it_is_pruned():
    network = text.pruned_bytes(WINDOW, SYMBOLS, units=(8, 5), macs=40, **SIZES).eval()
    tokens, kept = drawn()
    linears = network.layers.layers
    assert network.dense_macs == FEATURES * 8 + 8 * 5 + 5 * SYMBOLS
    for done, macs in ((0.0, network.dense_macs), (1.0, 40)):
        network.after_update(done)
        plain = dense((8, 5), network.stem.embedding, linears, network.head.bias)
        torch.testing.assert_close(network(tokens, [kept]), answers(plain, tokens))
        assert sum(int(layer.weight.count_nonzero()) for layer in linears) == macs
        assert network.macs(0, network.start(tokens), kept).tolist() == [macs] * len(tokens)
    assert plain.dense_macs == network.dense_macs


def test_memory_of_a_pruned_one_is_what_is_left_with_its_indices_and_the_embeddings_whole():
    network = text.pruned_bytes(WINDOW, SYMBOLS, units=(8, 5), macs=40, **SIZES)
    network.after_update(1.0)
    rows = 8 + 5 + SYMBOLS
    assert network.memory_bytes() == 40 * (4 + 2) + (rows + 3) * 4 + rows * 4 + SYMBOLS * 3 * 4


def test_a_cascade_is_the_small_dense_network_or_the_large_one():
    network = text.cascade_bytes(WINDOW, SYMBOLS, first=(4,), then=(8, 5), **SIZES).eval()
    tokens, kept = drawn()
    small, large = network.part(0).head, network.head
    for goes_on, units, body in ((~kept, (4,), small), (kept, (8, 5), large)):
        linears = [m for m in body if isinstance(m, torch.nn.Linear)]
        plain = dense(units, network.stem.embedding, linears, None)
        torch.testing.assert_close(network(tokens, [goes_on]), answers(plain, tokens))
    first = FEATURES * 4 + 4 * SYMBOLS
    assert network.start_macs == first
    assert network.dense_macs == first + FEATURES * 8 + 8 * 5 + 5 * SYMBOLS


def filled(network):
    """With numbers in the rows of n-grams, which start at zero."""
    with torch.no_grad():
        network.stem.rows.weight.normal_()
    return network.eval()


@given(bits=st.lists(st.booleans(), min_size=3 * 7, max_size=3 * 7))
@settings(max_examples=10, deadline=None)
def test_kept_output_matrices_are_added_up_and_each_costs_the_logits_once(bits):
    network, mask = filled(hashed(num_blocks=3)), torch.tensor(bits).view(7, 3)
    tokens, _ = drawn()
    of_block = network.part(0).output.weight.unflatten(1, (3, 5)).unbind(1)
    units, nothing = network.stem(tokens), torch.zeros(7, SYMBOLS)
    added = [units @ weight.t() for weight in of_block]
    kept = [torch.where(mask[:, n : n + 1], added[n], nothing) for n in range(3)]
    torch.testing.assert_close(network(tokens, [mask]), sum(kept) + network.head.bias)
    spent = network.macs(0, network.start(tokens), mask)
    assert torch.equal(spent, mask.sum(dim=1) * 5 * SYMBOLS)
    assert network.dense_macs == 3 * 5 * SYMBOLS
    more = network.memory_bytes() - hashed().memory_bytes()
    assert more == 4 * 2 * 5 * SYMBOLS


@given(st.lists(st.integers(0, SYMBOLS - 1), min_size=6, max_size=6), st.integers(2, 4))
def test_windows_that_end_alike_share_the_row_of_that_ngram_and_lengths_share_none(one, length):
    stem = HashedRows(SYMBOLS, units=1, context=6, order=4, num_rows=3000)
    other = [(symbol + 1) % SYMBOLS for symbol in one[: 6 - length]] + one[6 - length :]
    rows, others = stem.hashed(torch.tensor([one, other])).tolist()
    assert rows[: length - 1] == others[: length - 1]
    assert [row // 1000 for row in rows] == [0, 1, 2]
    pairs = torch.cartesian_prod(torch.arange(SYMBOLS), torch.arange(SYMBOLS))
    few = HashedRows(SYMBOLS, units=1, context=2, order=2, num_rows=1000).hashed(pairs)
    assert len(few) - 5 <= len(few.unique())


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_units_are_the_activation_of_summed_rows_times_what_the_last_symbol_says(
    activation, scaled
):
    tuned = {"activation": activation, "is_scaled": scaled, "row_shares": (3, 1)}
    network, plain = filled(hashed(**tuned)), hashed()
    tokens, _ = drawn()
    stem = network.stem
    places = stem.places.weight[4 * tokens[:, -4:] + torch.arange(4)].sum(dim=1)
    sums = places + stem.rows.weight[stem.hashed(tokens)].sum(dim=1)
    units = getattr(torch.nn.functional, activation)(sums)
    if scaled:
        assert torch.equal(stem(tokens), units)
        stem.scales.weight.data.normal_()
        units = units * stem.scales.weight[tokens[:, -1]]
    assert torch.equal(stem(tokens), units)
    assert network.dense_macs == plain.dense_macs
    assert network.memory_bytes() - plain.memory_bytes() == 4 * 5 * SYMBOLS * scaled


@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.integers(0, 9))
def test_each_length_has_its_share_of_the_rows_and_equal_shares_are_the_default(shares, more):
    num_rows = sum(shares) * 9 + more
    sizes = {"units": 1, "context": 6, "order": 4, "num_rows": num_rows}
    tokens = torch.randint(SYMBOLS, (50, 6))
    rows = HashedRows(SYMBOLS, **sizes, row_shares=shares).hashed(tokens)
    numbers = [num_rows * share // sum(shares) for share in shares]
    first = torch.tensor([0, numbers[0], sum(numbers[:2])])
    assert ((rows >= first) & (rows < first + torch.tensor(numbers))).all()
    even = HashedRows(SYMBOLS, **sizes, row_shares=(2, 2, 2)).hashed(tokens)
    assert torch.equal(even, HashedRows(SYMBOLS, **sizes).hashed(tokens))


def test_a_symbol_that_there_is_not_has_no_row():
    network = text.hashed_ngrams(WINDOW, SYMBOLS, **HASHED)
    for wrong in (-1, SYMBOLS + 1):
        with pytest.raises(IndexError):
            network.start(torch.full((1, *WINDOW), wrong))


def test_of_a_sequences_first_symbols_only_those_that_are_there_have_rows():
    stem = filled(text.hashed_ngrams(WINDOW, SYMBOLS, **HASHED)).stem
    tokens, _ = drawn()
    for length in range(1, 5):
        first = tokens.clone()
        first[:, :-length] = SYMBOLS
        places = torch.arange(4 - length, 4)
        rows = stem.places.weight[4 * tokens[:, -length:] + places].sum(dim=1)
        ngrams = stem.rows.weight[stem.hashed(tokens)[:, : length - 1]].sum(dim=1)
        assert torch.equal(stem(first), (rows + ngrams).relu())


def hashed(**sizes):
    return text.hashed_ngrams(WINDOW, SYMBOLS, **HASHED | sizes)
