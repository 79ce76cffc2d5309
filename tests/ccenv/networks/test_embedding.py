"""Networks of token windows: their laws, their bill, and that they learn to predict a symbol."""

import pytest
import torch

from ccenv.annexes.deploy.fused.classifier import why_not_fused
from ccenv.annexes.networks.text.embedding import TokenMLP
from ccenv.networks.core.protocol import dense_forward, forward
from tests.ccenv.networks.tiny import tokens_of


def small(**sizes):
    torch.manual_seed(0)
    return tokens_of(**sizes).eval()


def filled(network):
    """With numbers in the tables, which start with zeros."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "table" in name or "rows" in name:
                parameter.normal_()
    return network


def windows(rows=6, length=5, symbols=7):
    return torch.randint(symbols, (rows, length))


def test_blocks_behind_a_hashed_stem_read_its_units_and_their_gate_sees_them():
    network, x = filled(small(stem="hashed", order=3, num_rows=20, embedding_size=6)), windows()
    units = network.embedding(x)
    assert torch.equal(network.start(x).x, units)
    assert torch.equal(network.look(0, network.start(x)), units)
    assert network.dense_macs == 6 * 8 + 8 * 12 + 12 * 7
    assert "not embeddings" in why_not_fused(network)


def test_of_a_context_the_symbols_before_it_are_not_read():
    network, x = small(context=3), windows()
    alone = TokenMLP(
        (3,), 7, embedding_size=3, num_blocks=(4, 3), block_size=(2, 4), look_tokens=2
    ).eval()
    alone.load_state_dict(network.state_dict())
    assert network.dense_macs == alone.dense_macs < small().dense_macs
    assert torch.equal(dense_forward(network, x), dense_forward(alone, x[:, -3:]))


def test_the_first_look_is_the_embedding_of_the_last_symbols():
    network, x = small(), windows()
    look = network.look(0, network.start(x))
    assert torch.equal(look, network.embedding(x[:, -2:]).flatten(1))


def test_tables_start_as_the_network_without_them_and_cost_the_same():
    plain, tabled = small(), small(tables="hidden,logits,pairs")
    x, masks = windows(), [torch.rand(6, n) < 0.5 for n in plain.num_blocks]
    assert torch.equal(forward(plain, x, masks), forward(tabled, x, masks))
    hidden = [network.start(x) for network in (plain, tabled)]
    assert torch.equal(plain.macs(0, hidden[0], masks[0]), tabled.macs(0, hidden[1], masks[0]))
    assert plain.dense_macs == tabled.dense_macs
    counts = [sum(p.numel() for p in network.parameters()) for network in (plain, tabled)]
    assert counts[1] - counts[0] == 7 * (4 * 2 + 3 * 4) + 7 * 7 + 7 * 7 * 7


def test_logits_of_tables_are_what_the_last_symbols_say():
    plain, tabled = small(), filled(small(tables="logits,pairs"))
    x, nothing = windows(), [torch.zeros(6, n, dtype=torch.bool) for n in plain.num_blocks]
    said = tabled.logit_table.weight[x[:, -1]] + tabled.pair_table.weight[7 * x[:, -2] + x[:, -1]]
    expected = forward(plain, x, nothing) + said
    torch.testing.assert_close(forward(tabled, x, nothing), expected)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 5), torch.zeros(2, 6, dtype=torch.int64)])
def test_what_is_no_window_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected symbols as int64 \[rows, 5\]"):
        small().start(wrong)
