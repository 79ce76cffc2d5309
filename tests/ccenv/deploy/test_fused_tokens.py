"""Networks of symbols in one compiled call: equal to the layers one by one, and as safe."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from ccenv.base.masks import random_mask
from ccenv.deploy.fused import symbol_maps
from ccenv.deploy.fused.choosers import Chooser, ListChooser
from ccenv.deploy.fused.classifier import FusedClassifier, why_not_fused
from ccenv.deploy.fused.program import add_gumbel
from ccenv.deploy.latency import plain_pass, plain_passes
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward
from ccenv.networks.text.embedding import TokenMLP, next_byte

ALL_TABLES = "hidden,logits,pairs"
NUM_SYMBOLS = 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network_of(length=6, symbols=NUM_SYMBOLS, classes=5, seed=0, **sizes):
    given = {"num_blocks": (4, 3), "block_size": (8, 5), "embedding_size": 3, "look_tokens": 2}
    torch.manual_seed(seed)
    network = next_byte((length,), classes, symbols, **given | sizes)
    for parameter in network.requires_grad_(False).parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(1)))
    return network.eval()


def windows_of(network, rows, seed=2):
    shape = (rows, network.num_tokens)
    return torch.randint(network.num_symbols, shape, generator=generator(seed))


SIZES = st.fixed_dictionaries(
    {
        "length": st.integers(2, 9),
        "symbols": st.integers(2, 11),
        "classes": st.sampled_from([2, 5, 16, 32]),
        "embedding_size": st.sampled_from([1, 3, 8]),
        "tables": st.sampled_from(["", "hidden", "logits,pairs", ALL_TABLES]),
        "context": st.sampled_from([None, 2]),
    }
)
LAYERS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=3)


@pytest.fixture(params=["tables", "products"])
def folding(request, monkeypatch):
    """Maps of symbols as sums of tables, or as products of what is looked up."""
    most = 1 << 24 if request.param == "tables" else 0
    monkeypatch.setattr(symbol_maps, "MOST_FOLDED", most)
    monkeypatch.setattr(symbol_maps, "MOST_FOLDED_IN_BLOCKS", most)
    return request.param


@given(SIZES, LAYERS, st.sampled_from([1, 2, 7, 70]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_given_masks_it_computes_what_the_layers_compute(sizes, layers, batch, is_folded):
    blocks, widths = zip(*layers, strict=True)
    network = network_of(num_blocks=blocks, block_size=widths, **sizes)
    windows = windows_of(network, batch)
    masks = [random_mask(batch, n, 0.4, generator(2)) for n in blocks]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOST_FOLDED", "MOST_FOLDED_IN_BLOCKS"):
            patch.setattr(symbol_maps, name, (1 << 24) * is_folded)
        fused, dense = FusedClassifier(network), FusedClassifier(network, keep_all=True)
    logits, used = fused(windows, masks)
    assert_close(logits, forward(network, windows, masks, "reference"), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(used, masks, strict=True))
    whole, none = dense(windows)
    assert_close(whole, dense_forward(network, windows), rtol=1e-4, atol=1e-5)
    assert none == []


def random_map(rows, columns, seed):
    draw = generator(seed)
    return torch.randn(rows, columns, generator=draw), torch.randn(rows, generator=draw)


def test_a_window_does_not_depend_on_its_neighbours_and_repeats_are_equal(folding):
    network = network_of(num_blocks=70, block_size=4, tables=ALL_TABLES)
    fused = FusedClassifier(network, [Chooser([random_map(70, 6, 0)], "top_k", 3)])
    windows = windows_of(network, 300)
    logits, masks = fused(windows)
    assert torch.equal(fused(windows)[0], logits)
    for row in (0, 17, 299):
        alone, mask = fused(windows[row : row + 1])
        assert torch.equal(mask[0][0], masks[0][row])
        assert_close(alone[0], logits[row])
    assert fused(windows[:0])[0].shape == (0, 5)


def test_weights_of_skipped_blocks_are_not_read_and_all_are_copies(folding):
    network = network_of(tables=ALL_TABLES)
    windows = windows_of(network, 9)
    masks = [random_mask(9, 4, 0.5, generator()), random_mask(9, 3, 0.5, generator(1))]
    masks[0][:, 2] = False
    before = FusedClassifier(network)
    expected, _ = before(windows, masks)
    network.layers[0].weight[16:24] = torch.nan
    network.layers[1].weight[:, 16:24] = torch.nan
    assert torch.equal(FusedClassifier(network)(windows, masks)[0], expected)
    network.embedding.weight.zero_()
    network.pair_table.weight.zero_()
    assert torch.equal(before(windows, masks)[0], expected)


WRONG = st.one_of(st.integers(-(2**63), -1), st.integers(NUM_SYMBOLS, 2**63 - 1))


@given(WRONG, st.integers(0, 599), st.integers(0, 5), st.sampled_from([1, 70, 600]))
@settings(max_examples=60, deadline=None)
def test_a_symbol_that_there_is_not_is_refused_wherever_it_stands(symbol, row, column, rows):
    windows = windows_of(NETWORK, rows)
    windows[row % rows, column] = symbol
    for fused in CALLS:
        with pytest.raises(ValueError, match=r"expected symbols in 0\.\.6, got"):
            fused(windows)


NETWORK = network_of(tables=ALL_TABLES)
CALLS = [
    FusedClassifier(NETWORK, keep_all=True),
    FusedClassifier(NETWORK, [Chooser(torch.ones(n)) for n in (4, 3)]),
    FusedClassifier(NETWORK, [ListChooser(torch.zeros(49, 1).long(), 2, 7) for _ in range(2)]),
]


def test_threads_share_rows_and_find_wrong_symbols_too():
    network = network_of(length=24, symbols=128, num_blocks=32, block_size=16, classes=128)
    chooser = Chooser([random_map(32, 6, 0)], "top_k", 2)
    fused, windows = FusedClassifier(network, [chooser]), windows_of(network, 2000)
    alone, before = fused(windows)[0], torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert_close(fused(windows)[0], alone)
        windows[1999, 0] = 128
        with pytest.raises(ValueError, match="got 0 to 128"):
            fused(windows)
    finally:
        torch.set_num_threads(before)


def test_inputs_that_are_no_windows_are_refused():
    good = windows_of(NETWORK, 2)
    for fused in CALLS:
        with pytest.raises(TypeError, match="symbols as int64"):
            fused(good.float())
        for wrong in (good[:, 1:], good[0], good[None]):
            with pytest.raises(ValueError, match=r"expected windows \[batch, 6\]"):
                fused(wrong)
        with pytest.raises(ValueError, match="expected no masks"):
            fused(good, [torch.ones(2, n, dtype=torch.bool) for n in (4, 3)])
    apart = torch.stack([good, good], dim=2)[:, :, 0]
    assert torch.equal(CALLS[0](apart)[0], CALLS[0](good)[0])
    drawn = FusedClassifier(NETWORK, [Chooser(torch.zeros(n), "drawn") for n in (4, 3)])
    with pytest.raises(ValueError, match="expected a generator"):
        drawn(good)


@pytest.mark.parametrize(
    ("chooser", "message"),
    [
        (Chooser([random_map(4, 5, 0)]), "map of those of 1 to 6 places"),
        (Chooser([random_map(4, 21, 0)]), "map of those of 1 to 6 places"),
        (Chooser([random_map(3, 6, 0)]), "to 4 scores"),
        (Chooser([random_map(9, 6, 0), random_map(4, 8, 0)]), "to 4 scores"),
        (Chooser([random_map(4, 6, 0)], embeddings=torch.ones(8, 3)), "embeddings of 7 symbols"),
        (Chooser(torch.ones(4), embeddings=torch.ones(7, 3)), "1 to 6 places"),
        (Chooser([random_map(4, 6, 0)], "topk"), "unknown rule 'topk'"),
        (Chooser([random_map(4, 6, 0)], "top_k", 5), "num_kept in 1..4"),
        (ListChooser(torch.full((7, 1), 4), 1, 7), "blocks 0 to 3"),
        (ListChooser(torch.full((7, 1), -1), 1, 7), "blocks 0 to 3"),
        (ListChooser(torch.zeros(6, 1).long(), 1, 7), "each of 7 symbols"),
        (ListChooser(torch.zeros(36, 1).long(), 2, 6), "each of 7 symbols"),
    ],
)
def test_choosers_that_do_not_fit_are_refused(chooser, message):
    with pytest.raises(ValueError, match=message):
        FusedClassifier(NETWORK, [chooser, Chooser(torch.ones(3))])


class OtherHead(TokenMLP):
    def logits(self, *arguments, **settings):
        return super().logits(*arguments, **settings) + 0


def test_what_cannot_be_fused_is_refused_with_the_reason():
    other = OtherHead((6,), 5, 7)
    assert "logits() of its own and no lower()" in why_not_fused(other)
    assert "side by side" in why_not_fused(network_of(stem="hashed", order=2, num_rows=9))
    with pytest.raises(ValueError, match="cannot fuse OtherHead"):
        FusedClassifier(other)
    with pytest.raises(ValueError, match="float32 on the CPU"):
        FusedClassifier(network_of().double())
    with pytest.raises(ValueError, match="a chooser for each of 2"):
        FusedClassifier(NETWORK, [])
    with pytest.raises(ValueError, match="no choosers beside keep_all"):
        FusedClassifier(NETWORK, [Chooser(torch.ones(n)) for n in (4, 3)], keep_all=True)
    with pytest.raises(ValueError, match="observation"):
        FusedClassifier(NETWORK, observation="summary")
    pixels = build_network(GatedMLP, 0, in_features=6, num_blocks=(4,))
    with pytest.raises(ValueError, match="without embeddings"):
        FusedClassifier(pixels, [Chooser([random_map(4, 6, 0)], embeddings=torch.ones(7, 1))])


def test_noise_in_vectors_is_minus_the_logarithm_of_minus_the_logarithm():
    near = torch.rand(500, generator=generator()) ** 8
    draws = torch.cat([near, 1 - near, torch.tensor([0.0, 1e-30, 1 - 1e-7, 0.5])])
    draws = draws.clamp(max=1 - 2**-24)
    scores = torch.zeros(len(draws))
    add_gumbel(scores.data_ptr(), draws.data_ptr(), 1, len(draws), len(draws))
    within = draws.clamp(1e-20, 1 - 1e-7).double()
    assert_close(scores.double(), -(-within.log()).log(), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("context", [None, 4])
@pytest.mark.parametrize("tables", ["", ALL_TABLES])
def test_every_way_of_the_dense_network_computes_the_same(tables, context):
    network = network_of(tables=tables, context=context)
    windows = windows_of(network, 9)
    ways = plain_passes(network, len(windows))
    assert set(ways) == {"torch", "compiled"}
    expected = dense_forward(network, windows)
    assert_close(plain_pass(network, 9)(windows), expected, rtol=1e-4, atol=1e-5)
    assert_close(ways["compiled"](windows)[0], expected, rtol=1e-4, atol=1e-5)
