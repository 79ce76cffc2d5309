"""Networks of token windows: their laws, their bill, and that they learn to predict a symbol."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ccenv.deploy.fused.classifier import why_not_fused
from ccenv.networks.core.check import check_network
from ccenv.networks.core.protocol import dense_forward, forward
from ccenv.networks.text.embedding import next_byte


def small(seed=0, **sizes):
    torch.manual_seed(seed)
    given = {"num_blocks": (4, 3), "block_size": (2, 4), "embedding_size": 3, "look_tokens": 2}
    return next_byte((5,), 7, **given | sizes).eval()


def filled(network):
    """With numbers in the tables, which start with zeros."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "table" in name or "rows" in name:
                parameter.normal_()
    return network


def windows(rows=6, length=5, symbols=7):
    return torch.randint(symbols, (rows, length))


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"num_blocks": 4, "block_size": 5},
        {"num_symbols": 11},
        {"num_blocks": (2, 3, 2), "block_size": 3},
        {"tables": "hidden"},
        {"tables": ["logits", "pairs"]},
        {"tables": ["hidden", "logits", "pairs"], "num_symbols": 9},
        {"context": 3},
        {"context": 2, "tables": "hidden,logits,pairs"},
        {"stem": "hashed", "order": 4, "num_rows": 30},
        {"stem": "hashed", "order": 2, "num_rows": 9, "context": 3, "tables": "hidden"},
    ],
)
def test_a_network_of_windows_obeys_the_laws_of_networks(sizes):
    check_network(filled(small(**sizes)), windows())


def test_blocks_behind_a_hashed_stem_read_its_units_and_their_gate_sees_them():
    network, x = filled(small(stem="hashed", order=3, num_rows=20, embedding_size=6)), windows()
    units = network.embedding(x)
    assert torch.equal(network.start(x).x, units)
    assert torch.equal(network.look(0, network.start(x)), units)
    assert network.dense_macs == 6 * 8 + 8 * 12 + 12 * 7
    assert "not embeddings" in why_not_fused(network)


def test_of_a_context_the_symbols_before_it_are_not_read():
    network, x = small(context=3), windows()
    alone = next_byte((3,), 7, None, 3, (4, 3), (2, 4), 2).eval()
    alone.load_state_dict(network.state_dict())
    assert network.dense_macs == alone.dense_macs < small().dense_macs
    assert torch.equal(dense_forward(network, x), dense_forward(alone, x[:, -3:]))


@pytest.mark.parametrize("tables", ["", "hidden,logits,pairs"])
@pytest.mark.parametrize("rows", [1, 7, 33])
@pytest.mark.parametrize("density", [0.0, 0.2, 0.5, 1.0])
def test_backends_agree_in_outputs_and_gradients(rows, density, tables):
    network, x = filled(small(tables=tables)), windows(rows)
    masks = [torch.rand(rows, n) < density for n in network.num_blocks]
    found = []
    for backend in ("reference", "cpu", "auto"):
        logits = forward(network, x, masks, backend)
        network.zero_grad()
        logits.square().sum().backward()
        found.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_nan_in_a_skipped_block_changes_nothing_and_its_gradient_is_zero():
    network, x = small(), windows()
    masks = [torch.ones(6, n, dtype=torch.bool) for n in network.num_blocks]
    masks[0][:, 1] = False
    before = forward(network, x, masks)
    with torch.no_grad():
        network.layers[0].weight[2:4] = torch.nan
        network.layers[0].bias[2:4] = torch.nan
        network.layers[1].weight[:, 2:4] = torch.nan
    assert torch.equal(forward(network, x, masks), before)
    forward(network, x, masks).sum().backward()
    assert not network.layers[0].weight.grad[2:4].any()
    assert not network.layers[1].weight.grad[:, 2:4].any()


@settings(max_examples=40, deadline=None)
@given(bits=st.lists(st.booleans(), min_size=7, max_size=7))
def test_the_bill_is_kept_inputs_times_kept_units_and_look_ups_are_free(bits):
    network = small()
    first, second = torch.tensor([bits[:4]]), torch.tensor([bits[4:]])
    hidden = network.start(windows(1))
    units = 2 * int(first.sum()), 4 * int(second.sum())
    assert int(network.macs(0, hidden, first)) == 15 * units[0]
    hidden = network.step(0, hidden, first)
    assert int(network.macs(1, hidden, second)) == units[1] * (units[0] + 7)


def test_the_default_costs_what_the_trial_states():
    network = next_byte()
    mask = torch.zeros(1, 32, dtype=torch.bool)
    mask[0, :2] = True
    hidden = network.start(windows(1, 24, 128))
    # 11,264 with the 1,024 of the trial's policy.
    assert int(network.macs(0, hidden, mask)) == 10_240
    assert network.dense_macs == 163_840
    assert network.gates[0].look_size == 32


def test_the_first_look_is_the_embedding_of_the_last_symbols():
    network, x = small(), windows()
    look = network.look(0, network.start(x))
    assert torch.equal(look, network.embedding(x[:, -2:]).flatten(1))


@pytest.mark.parametrize("tables", ["", "hidden,logits,pairs"])
def test_masks_of_one_window_share_what_they_have_alike(tables):
    network, x = filled(small(tables=tables)), windows(2)
    masks = [torch.rand(6, n) < 0.5 for n in network.num_blocks]
    shared = forward(network, x, masks)
    torch.testing.assert_close(shared, forward(network, x.repeat_interleave(3, 0), masks))


def test_weights_multiply_what_kept_blocks_give():
    network, x = small(num_blocks=4, block_size=5), windows()
    mask, weights = torch.rand(6, 4) < 0.6, torch.rand(6, 4)
    plain = network.step(0, network.start(x), mask).x.unflatten(1, (4, 5))
    scaled = network.step(0, network.start(x), mask, weights).x.unflatten(1, (4, 5))
    torch.testing.assert_close(scaled, plain * weights[:, :, None])


def test_norms_of_blocks_are_root_mean_squares():
    network, x = small(), windows()
    hidden = network.step(0, network.start(x), None)
    expected = hidden.x.unflatten(1, (4, 2)).pow(2).mean(2).sqrt()
    torch.testing.assert_close(network.block_norms(0, hidden), expected)


def test_it_learns_which_symbol_comes_next():
    text = torch.arange(600) * 3 % 7
    x, y = text.unfold(0, 5, 1)[:-1], text[5:]
    network = small(num_blocks=4, block_size=8)
    optimizer = torch.optim.AdamW(network.parameters(), 0.02)
    for update in range(40):
        rows = slice(update * 14, update * 14 + 64)
        masks = [torch.rand(len(x[rows]), 4) < 0.7]
        loss = nn.functional.cross_entropy(forward(network, x[rows], masks), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss = nn.functional.cross_entropy(dense_forward(network, x), y)
    assert float(loss.detach()) < 0.5 * math.log(7)


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


def test_biases_of_skipped_blocks_reach_nothing_and_learn_nothing():
    network, x = filled(small(tables="hidden")), windows()
    masks = [torch.ones(6, n, dtype=torch.bool) for n in network.num_blocks]
    masks[0][:, 1] = False
    before = forward(network, x, masks)
    with torch.no_grad():
        network.hidden_tables[0].weight[:, 2:4] = torch.nan
    assert torch.equal(forward(network, x, masks), before)
    forward(network, x, masks).sum().backward()
    assert not network.hidden_tables[0].weight.grad[:, 2:4].any()
    assert network.hidden_tables[0].weight.grad[:, :2].any()


def test_a_count_of_pairs_is_learned_without_any_block():
    tokens = torch.randint(7, (400, 5))
    answers = (tokens[:, -1] + 2 * tokens[:, -2]) % 7
    network = small(tables="pairs")
    optimizer = torch.optim.AdamW(network.parameters(), 0.1)
    nothing = [torch.zeros(400, n, dtype=torch.bool) for n in network.num_blocks]
    for _ in range(60):
        loss = nn.functional.cross_entropy(forward(network, tokens, nothing), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"input_shape": (3, 8, 8)}, r"windows of symbols \(length,\) for 'bytes'"),
        ({"context": 25}, "context to be at most the window's 24"),
        ({"context": 0}, "context to be whole numbers"),
        ({"look_tokens": 25}, "look_tokens to be at most the 24 symbols"),
        ({"look_tokens": 4, "context": 3}, "look_tokens to be at most the 3 symbols"),
        ({"num_blocks": 0}, "num_blocks to be whole numbers"),
        ({"num_blocks": (2, 2), "block_size": (1, 2, 3)}, "one block_size, or one for each"),
        ({"num_symbols": -1}, "num_symbols"),
        ({"tables": "hiden"}, "hidden"),
        ({"stem": "hash"}, "hashed"),
        ({"stem": "hashed", "context": 25}, "context to be at most the window's 24"),
        ({"stem": "hashed", "context": 5}, "order of at most the 5 symbols"),
        ({"tables": "pairs", "input_shape": (1,), "look_tokens": 1}, "windows of 2 symbols"),
        ({"tables": "pairs", "num_symbols": 60_000}, "look-up tables in training to fit"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        next_byte(**sizes)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 5), torch.zeros(2, 6, dtype=torch.int64)])
def test_what_is_no_window_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected symbols as int64 \[rows, 5\]"):
        small().start(wrong)
