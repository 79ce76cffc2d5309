"""Rivals on texts: the dense networks that they are made of, their bills and what is refused."""

import pytest
import torch

import ccenv
from ccenv.networks.memory import memory_bytes
from ccenv.networks.models.embedding import next_byte
from ccenv.networks.models.text_rivals import cascade_bytes, pruned_bytes

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
    assert memory_bytes(network) == 40 * (4 + 2) + (rows + 3) * 4 + rows * 4 + SYMBOLS * 3 * 4


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
