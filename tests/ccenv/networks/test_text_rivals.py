"""Rivals on texts: the dense networks that they are made of, their bills and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ccenv
from ccenv.networks.baselines.text import cascade_bytes, hashed_ngrams, pruned_bytes
from ccenv.networks.learning.training import CoTrainer
from ccenv.networks.text.embedding import next_byte
from ccenv.networks.text.hashed_rows import HashedRows

WINDOW, SYMBOLS = (6,), 9
SIZES = {"embedding_size": 3, "context": 4}
FEATURES = 4 * 3


def dense(units, embedding, linears, last_bias):
    """The network `bytes` of one block a layer with these weights."""
    plain = next_byte(WINDOW, SYMBOLS, num_blocks=[1] * len(units), block_size=units, **SIZES)
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
    network = pruned_bytes(WINDOW, SYMBOLS, units=(8, 5), macs=40, **SIZES).eval()
    tokens, kept = drawn()
    linears = network.layers.layers
    ccenv.check_network(network, tokens)
    assert network.dense_macs == FEATURES * 8 + 8 * 5 + 5 * SYMBOLS
    for done, macs in ((0.0, network.dense_macs), (1.0, 40)):
        network.after_update(done)
        plain = dense((8, 5), network.stem.embedding, linears, network.head.bias)
        torch.testing.assert_close(network(tokens, [kept]), answers(plain, tokens))
        assert sum(int(layer.weight.count_nonzero()) for layer in linears) == macs
        assert network.macs(0, network.start(tokens), kept).tolist() == [macs] * len(tokens)
    assert plain.dense_macs == network.dense_macs


def test_memory_of_a_pruned_one_is_what_is_left_with_its_indices_and_the_embeddings_whole():
    network = pruned_bytes(WINDOW, SYMBOLS, units=(8, 5), macs=40, **SIZES)
    network.after_update(1.0)
    rows = 8 + 5 + SYMBOLS
    assert network.memory_bytes() == 40 * (4 + 2) + (rows + 3) * 4 + rows * 4 + SYMBOLS * 3 * 4


def test_a_cascade_is_the_small_dense_network_or_the_large_one():
    network = cascade_bytes(WINDOW, SYMBOLS, first=(4,), then=(8, 5), **SIZES).eval()
    tokens, kept = drawn()
    small, large = network.part(0).head, network.head
    for goes_on, units, body in ((~kept, (4,), small), (kept, (8, 5), large)):
        linears = [m for m in body if isinstance(m, torch.nn.Linear)]
        plain = dense(units, network.stem.embedding, linears, None)
        torch.testing.assert_close(network(tokens, [goes_on]), answers(plain, tokens))
    first = FEATURES * 4 + 4 * SYMBOLS
    assert network.start_macs == first
    assert network.dense_macs == first + FEATURES * 8 + 8 * 5 + 5 * SYMBOLS
    ccenv.check_network(network, tokens)


def filled(network):
    """With numbers in the rows of n-grams, which start at zero."""
    with torch.no_grad():
        network.stem.rows.weight.normal_()
    return network.eval()


HASHED = {"units": 5, "num_rows": 12, "context": 4, "order": 3}


@pytest.mark.parametrize("order", [1, 3])
def test_hashed_ngrams_obey_the_laws_and_are_billed_for_their_logits_alone(order):
    network = filled(hashed_ngrams(WINDOW, SYMBOLS, **HASHED | {"order": order}))
    ccenv.check_network(network, drawn()[0])
    assert network.dense_macs == 5 * SYMBOLS
    assert network.memory_bytes() == 4 * (5 * (4 * SYMBOLS + 12) + (5 + 1) * SYMBOLS)


def test_hashed_ngrams_are_the_logits_of_a_sum_of_a_row_a_place_and_a_row_an_ngram():
    network = filled(hashed_ngrams(WINDOW, SYMBOLS, **HASHED))
    tokens, kept = drawn()
    stem, logits = network.stem, network.part(0).body[0]
    for window, answer in zip(tokens, network(tokens, [kept]), strict=True):
        last = window[-4:].tolist()
        places = [stem.places.weight[4 * symbol + place] for place, symbol in enumerate(last)]
        ngrams = [stem.rows.weight[row] for row in stem.hashed(window[None])[0]]
        torch.testing.assert_close(answer, logits(sum(places + ngrams).relu()))


@given(st.lists(st.integers(0, SYMBOLS - 1), min_size=6, max_size=6), st.integers(2, 4))
def test_windows_that_end_alike_share_the_row_of_that_ngram_and_lengths_share_none(one, length):
    stem = HashedRows(SYMBOLS, units=1, context=6, order=4, num_rows=3000)
    other = [(symbol + 1) % SYMBOLS for symbol in one[: 6 - length]] + one[6 - length :]
    rows, others = stem.hashed(torch.tensor([one, other])).tolist()
    assert rows[: length - 1] == others[: length - 1]
    assert [row // 1000 for row in rows] == [0, 1, 2]


def test_few_ngrams_share_a_row_with_others():
    stem = HashedRows(SYMBOLS, units=1, context=2, order=2, num_rows=1000)
    rows = stem.hashed(torch.cartesian_prod(torch.arange(SYMBOLS), torch.arange(SYMBOLS)))
    assert len(rows) - 5 <= len(rows.unique())


def test_a_symbol_that_there_is_not_has_no_row():
    network = hashed_ngrams(WINDOW, SYMBOLS, **HASHED)
    for wrong in (-1, SYMBOLS):
        with pytest.raises(IndexError):
            network.start(torch.full((1, *WINDOW), wrong))


def test_hashed_ngrams_learn_what_follows_three_symbols():
    torch.manual_seed(0)
    tokens = torch.randint(4, (64, 3))
    following = (tokens[:, 0] * tokens[:, 1] + tokens[:, 2]) % 4
    network = hashed_ngrams((3,), 4, units=16, num_rows=400, context=3, order=3)
    trainer = CoTrainer(network, learning_rate=0.1, optimizer="adamw_fused")
    kept = torch.ones(64, 1, dtype=torch.bool)
    losses = [trainer.update(tokens, following, [kept]) for _ in range(60)]
    assert losses[-1] < 0.05 < losses[0]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"order": 5}, "order of at most the 4 symbols that are read, got 5"),
        ({"num_rows": 1}, "num_rows of at least 2, got 1"),
        ({"num_rows": 10**12}, "hashed rows in training to fit"),
        ({"units": 0}, "units, context, order and num_rows to be whole numbers"),
    ],
)
def test_rows_that_cannot_be_are_refused(own, message):
    with pytest.raises(ValueError, match=message):
        hashed_ngrams(WINDOW, SYMBOLS, **HASHED | own)


@pytest.mark.parametrize("build", [pruned_bytes, cascade_bytes])
@pytest.mark.parametrize(
    ("shape", "own", "message"),
    [
        ((1, 8, 8), {}, "windows of symbols"),
        ((6,), {"context": 7}, "at most the window's 6 symbols, got 7"),
        ((6,), {"context": 0}, "num_symbols, embedding_size and context"),
        ((6,), {"context": 4, "embedding_size": 0}, "num_symbols, embedding_size and context"),
    ],
)
def test_what_is_no_text_or_cannot_be_read_is_refused(build, shape, own, message):
    with pytest.raises(ValueError, match=message):
        build(shape, SYMBOLS, **own)
