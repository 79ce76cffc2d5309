"""A network and its policy in one compiled call: equal to the layers one by one, and as safe."""

import math

import hypothesis.strategies as st
import numba
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from ccenv.annexes.deploy.fused import network as fused_network
from ccenv.annexes.deploy.fused.classifier import Chooser, FusedClassifier, why_not_fused
from ccenv.annexes.deploy.fused.network import is_whole
from ccenv.annexes.deploy.fused.parts import add_noise, pool_images
from ccenv.annexes.deploy.latency import plain_passes
from ccenv.annexes.networks.text.embedding import TokenMLP
from ccenv.base.masks import random_mask
from ccenv.mdp.choosers import ListChooser
from ccenv.mdp.observations import make_observer, pool, pool_window
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.lowering import lowered
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward

ALL_TABLES = "hidden,logits,pairs"
NUM_SYMBOLS = 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shaken(network):
    for parameter in network.requires_grad_(False).parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator(1)))
    return network.eval()


def of_pixels(features=12, num_blocks=(4, 3), block_size=(8, 5), **more):
    sizes = {"num_blocks": num_blocks, "block_size": block_size, "num_classes": 5}
    return shaken(build_network(GatedMLP, 0, in_features=features, **sizes | more))


def of_symbols(length=6, symbols=NUM_SYMBOLS, classes=5, **sizes):
    own = {"num_blocks": (4, 3), "block_size": (8, 5), "embedding_size": 3, "look_tokens": 2}
    torch.manual_seed(0)
    return shaken(TokenMLP((length,), classes, num_symbols=symbols, **own | sizes))


def inputs_of(network, rows, seed=2):
    draws = generator(seed)
    if isinstance(network, GatedMLP):
        return torch.randn(rows, network.layers[0].weight.shape[1], generator=draws)
    return torch.randint(network.num_symbols, (rows, network.num_tokens), generator=draws)


def masks_of(rows, num_blocks=(4, 3), seed=3):
    return [random_mask(rows, n, 0.4, generator(seed)) for n in num_blocks]


def random_map(rows, columns, seed=0):
    draw = generator(seed)
    return torch.randn(rows, columns, generator=draw), torch.randn(rows, generator=draw)


@pytest.fixture(params=["pixels", "tables", "products"])
def network(request, monkeypatch):
    """Of pixels, or of symbols whose maps are sums of tables or products of what is looked up."""
    folded = 1 << 24 if request.param == "tables" else 0
    monkeypatch.setattr(fused_network, "MOST_FOLDED", folded)
    monkeypatch.setattr(fused_network, "MOST_FOLDED_IN_BLOCKS", folded)
    return of_pixels() if request.param == "pixels" else of_symbols(tables=ALL_TABLES)


LAYERS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=3)
PIXELS = st.fixed_dictionaries(
    {
        "features": st.integers(1, 40),
        "head_units": st.lists(st.integers(1, 20), max_size=2).map(tuple),
        "activation": st.sampled_from(["tanh", "relu"]),
    }
)
SYMBOLS = st.fixed_dictionaries(
    {
        "length": st.integers(2, 9),
        "symbols": st.integers(2, 11),
        "classes": st.sampled_from([2, 5, 16, 32]),
        "embedding_size": st.sampled_from([1, 3, 8]),
        "tables": st.sampled_from(["", "hidden", "logits,pairs", ALL_TABLES]),
        "context": st.sampled_from([None, 2]),
    }
)
KINDS = st.one_of(
    st.tuples(st.just(of_pixels), PIXELS, st.just(False)),
    st.tuples(st.just(of_symbols), SYMBOLS, st.booleans()),
)


@given(KINDS, LAYERS, st.sampled_from([1, 2, 7, 70, 200]))
def test_given_masks_it_computes_what_the_layers_compute(kind, layers, rows):
    build, sizes, is_folded = kind
    blocks, widths = zip(*layers, strict=True)
    network = build(num_blocks=blocks, block_size=widths, **sizes)
    inputs, masks = inputs_of(network, rows), masks_of(rows, blocks)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOST_FOLDED", "MOST_FOLDED_IN_BLOCKS"):
            patch.setattr(fused_network, name, (1 << 24) * is_folded)
        fused, dense = FusedClassifier(network), FusedClassifier(network, keep_all=True)
    logits, used = fused(inputs, masks)
    assert_close(logits, forward(network, inputs, masks, "reference"), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(used, masks, strict=True))
    whole, none = dense(inputs)
    assert_close(whole, dense_forward(network, inputs), rtol=1e-4, atol=1e-5)
    assert none == []


@given(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)), st.integers(0, 3))
def test_the_cheap_look_averages_as_torch_does(shape, beyond):
    channels, height, width = shape
    images = torch.randn(3, *shape, generator=generator())
    expected = pool(images).flatten(1)
    windows = [pool_window(side) for side in (height, width)]
    looks = torch.full((3, expected.shape[1] + beyond), 7.0)
    pool_images(
        images.data_ptr(), looks.data_ptr(), 3, looks.shape[1], channels, height, width, *windows
    )
    assert_close(looks[:, : expected.shape[1]], expected)
    assert bool((looks[:, expected.shape[1] :] == 7).all())


def test_noise_in_vectors_is_minus_the_logarithm_of_minus_the_logarithm():
    near = torch.rand(500, generator=generator()) ** 8
    draws = torch.cat([near, 1 - near, torch.tensor([0.0, 1e-30, 1 - 1e-7, 0.5])])
    draws = draws.clamp(max=1 - 2**-24)
    scores = torch.zeros(len(draws))
    call = numba.njit(lambda *given: add_noise(given[0], given[1], given[2]))
    call(draws.data_ptr(), scores.data_ptr(), len(draws))
    within = draws.clamp(1e-20, 1 - 1e-7).double()
    assert_close(scores.double(), -(-within.log()).log(), rtol=3e-6, atol=1e-6)


ODD_SCORES = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, -1.0])


@given(st.lists(ODD_SCORES, min_size=1, max_size=40), st.data())
def test_the_best_k_are_kept_the_first_of_equal_ones_and_nan_before_all(scores, data):
    num_kept = data.draw(st.integers(1, len(scores)))
    chooser = Chooser(torch.tensor(scores), "top_k", num_kept)
    network = of_pixels(4, (len(scores),), (2,))
    _, (mask,) = FusedClassifier(network, [chooser])(torch.zeros(2, 4))
    places = [
        (-math.inf if math.isnan(s) else -s, not math.isnan(s), j) for j, s in enumerate(scores)
    ]
    best = sorted(j for *_, j in sorted(places)[:num_kept])
    assert mask[1].nonzero().flatten().tolist() == best


def test_an_input_does_not_depend_on_its_neighbours_and_repeats_are_equal_by_bits(network):
    look = network.gates[0].look_size
    maps = [[random_map(4, look)], [random_map(3, network.gates[1].look_size)]]
    fused = FusedClassifier(network, [Chooser(own, "top_k", 2) for own in maps])
    inputs = inputs_of(network, 300)
    logits, masks = fused(inputs)
    assert torch.equal(fused(inputs)[0], logits)
    for row in (0, 17, 299):
        alone, mask = fused(inputs[row : row + 1])
        assert torch.equal(mask[0][0], masks[0][row])
        assert_close(alone[0], logits[row])
    assert fused(inputs[:0])[0].shape == (0, 5)


def test_weights_of_skipped_blocks_are_not_read_and_all_are_copies(network):
    inputs, masks = inputs_of(network, 9), masks_of(9)
    masks[0][:, 2] = False
    before = FusedClassifier(network)
    expected, _ = before(inputs, masks)
    network.layers[0].weight[16:24] = torch.nan
    network.layers[1].weight[:, 16:24] = torch.nan
    assert torch.equal(FusedClassifier(network)(inputs, masks)[0], expected)
    for parameter in network.parameters():
        parameter.zero_()
    assert torch.equal(before(inputs, masks)[0], expected)


def test_inputs_and_masks_that_lie_apart_in_memory_give_the_same(network):
    fused, inputs = FusedClassifier(network), inputs_of(network, 5)
    apart = torch.stack([inputs, inputs], dim=2)[:, :, 0]
    masks = [torch.rand(n, 5, generator=generator()).t() < 0.5 for n in (4, 3)]
    expected = fused(inputs, [mask.contiguous() for mask in masks])[0]
    assert torch.equal(fused(apart, masks)[0], expected)


WRONG = st.one_of(st.integers(-(2**63), -1), st.integers(NUM_SYMBOLS, 2**63 - 1))
TEXT = of_symbols(tables=ALL_TABLES)
CALLS = [
    FusedClassifier(TEXT, keep_all=True),
    FusedClassifier(TEXT, [Chooser(torch.ones(n)) for n in (4, 3)]),
    FusedClassifier(TEXT, [ListChooser(torch.zeros(49, 1).long(), 2, 7) for _ in range(2)]),
]


@given(WRONG, st.integers(0, 599), st.integers(0, 5), st.sampled_from([1, 70, 600]))
def test_a_symbol_that_there_is_not_is_refused_wherever_it_stands(symbol, row, column, rows):
    windows = inputs_of(TEXT, rows)
    windows[row % rows, column] = symbol
    for fused in CALLS:
        with pytest.raises(ValueError, match=r"expected symbols in 0\.\.6, got"):
            fused(windows)


def test_threads_share_rows_and_find_wrong_symbols_too():
    network = of_symbols(24, 128, 128, num_blocks=32, block_size=16)
    fused = FusedClassifier(network, [Chooser([random_map(32, 6)], "top_k", 2)])
    windows, before = inputs_of(network, 2000), torch.get_num_threads()
    alone = fused(windows)[0]
    torch.set_num_threads(3)
    try:
        assert_close(fused(windows)[0], alone)
        windows[1999, 0] = 128
        with pytest.raises(ValueError, match="got 0 to 128"):
            fused(windows)
    finally:
        torch.set_num_threads(before)


def test_scores_may_be_the_same_for_every_image():
    network, images = of_pixels(), torch.randn(3000, 12, generator=generator())
    bits = [torch.tensor([True, False, True, False]), torch.tensor([False, True, True])]
    logits, masks = FusedClassifier(network, [Chooser(b.float() - 0.5) for b in bits])(images)
    assert all(bool((mask == b).all()) for mask, b in zip(masks, bits, strict=True))
    assert_close(logits, forward(network, images, masks, "reference"))
    for rate in (0.2, 0.0):
        score = torch.tensor(rate).logit()
        drawn = FusedClassifier(network, [Chooser(score.expand(n), "sampled") for n in (4, 3)])
        kept = torch.cat(drawn(images, generator=generator())[1], dim=1).float().mean()
        assert kept == pytest.approx(rate, abs=0.02 * (rate > 0))


def test_every_way_of_the_dense_network_that_speed_is_measured_against_computes_the_same():
    text = [of_symbols(tables=tables, context=c) for tables in ("", ALL_TABLES) for c in (None, 4)]
    for network in (of_pixels(head_units=(7,)), OtherLayers(12).requires_grad_(False), *text):
        inputs = inputs_of(network, 9)
        expected, ways = dense_forward(network, inputs), plain_passes(network, 9)
        assert ("compiled" in ways) == (network in text)
        assert_close(ways["torch"](inputs), expected, rtol=1e-4, atol=1e-5)
        if network in text:
            assert_close(ways["compiled"](inputs)[0], expected, rtol=1e-4, atol=1e-5)


class OtherLayers(GatedMLP):
    """A walk of its own."""

    def gated_layer(self, *arguments, **settings):
        return super().gated_layer(*arguments, **settings) + 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: OtherLayers(4), "gated_layer() of its own and no lower()"),
        (lambda: of_symbols(stem="hashed", order=2, num_rows=9), "not embeddings side by side"),
        (lambda: of_pixels().double(), "float32 on the CPU"),
        (lambda: of_symbols().double(), "float32 on the CPU"),
        (lambda: of_pixels(activation=torch.sin), "its activation"),
    ],
)
def test_what_cannot_be_fused_is_refused_with_the_reason(build, message):
    network = build()
    assert message in why_not_fused(network)
    with pytest.raises(ValueError, match=f"cannot fuse {type(network).__name__}"):
        FusedClassifier(network)


@pytest.mark.parametrize(
    ("build", "chooser", "message"),
    [
        (of_pixels, Chooser([(torch.ones(4, 11), None)]), "maps from 12 features to 4 scores"),
        (of_pixels, Chooser([(torch.ones(4, 12), None)], "topk"), "unknown rule 'topk'"),
        (of_pixels, Chooser([(torch.ones(4, 12), None)], "top_k", 5), r"num_kept in 1\.\.4"),
        (of_pixels, Chooser(torch.ones(3)), "expected 4 scores"),
        (of_pixels, Chooser(torch.ones(4), activation="elu"), "unknown activation 'elu'"),
        (of_pixels, Chooser([random_map(4, 6)], embeddings=torch.ones(7, 1)), "without embeddings"),
        (of_symbols, Chooser([random_map(4, 5)]), "map of those of 1 to 6 places"),
        (of_symbols, Chooser([random_map(9, 6), random_map(4, 8)]), "to 4 scores"),
        (of_symbols, Chooser([random_map(4, 6)], embeddings=torch.ones(8, 3)), "of 7 symbols"),
        (of_symbols, Chooser(torch.ones(4), embeddings=torch.ones(7, 3)), "1 to 6 places"),
        (of_symbols, ListChooser(torch.full((7, 1), 4), 1, 7), "blocks 0 to 3"),
        (of_symbols, ListChooser(torch.zeros(6, 1).long(), 1, 7), "each of 7 symbols"),
    ],
)
def test_choosers_that_do_not_fit_are_refused(build, chooser, message):
    with pytest.raises(ValueError, match=message):
        FusedClassifier(build(), [chooser, Chooser(torch.ones(3))])


def test_settings_inputs_masks_and_generators_that_do_not_fit_are_refused():
    network, good = of_pixels(), torch.randn(2, 12)
    fused, masks = FusedClassifier(network), [torch.ones(2, n, dtype=torch.bool) for n in (4, 3)]
    drawn = FusedClassifier(network, [Chooser(torch.zeros(n), "sampled") for n in (4, 3)])
    windows = inputs_of(TEXT, 2)
    for call, kind, message in (
        (lambda: FusedClassifier(network, []), ValueError, "a chooser for each of 2"),
        (lambda: FusedClassifier(network, (), keep_all=True), ValueError, "with keep_all"),
        (lambda: FusedClassifier(TEXT, observation="summary"), ValueError, "observation"),
        (lambda: fused(good.double(), masks), TypeError, "float32 images on the CPU"),
        (lambda: fused(good[:, 1:], masks), ValueError, "images of 12 features"),
        (lambda: fused(good), ValueError, "got none"),
        (lambda: fused(good, masks[:1]), ValueError, "expected masks of shapes"),
        (lambda: fused(good, [mask.int() for mask in masks]), TypeError, "bool masks"),
        (lambda: drawn(good), ValueError, "expected a generator"),
        (lambda: drawn(good, masks), ValueError, "expected no masks"),
        (lambda: CALLS[1](windows.float()), TypeError, "symbols as int64"),
        (lambda: CALLS[1](windows[:, 1:]), ValueError, r"expected windows \[batch, 6\]"),
        (lambda: CALLS[1](windows[0]), ValueError, r"expected windows \[batch, 6\]"),
    ):
        with pytest.raises(kind, match=message):
            call()


def small_blocks(blocks, size, features=20, head=()):
    torch.manual_seed(0)
    network = GatedMLP(features, blocks, size, head_units=head, activation="tanh")
    return network.requires_grad_(False)


def random_maps(network, observation, shape):
    lengths = make_observer(observation, network, shape).lengths
    pairs = zip(network.num_blocks, lengths, strict=False)
    return [[(random_map(n, length, seed=1)[0], None)] for n, length in pairs]


def whole(network, choosers=None):
    operations = lowered(network).operations
    return [is_whole(operations, gate, choosers) for gate in range(len(network.num_blocks))]


def test_single_units_are_computed_whole_unless_few_are_kept():
    network = small_blocks((256,), 1, features=784)
    assert whole(network) == [True]
    assert whole(network, [Chooser(torch.zeros(256), "sampled")]) == [True]
    assert whole(network, [Chooser(torch.zeros(256), "top_k", num_kept=1)]) == [False]
    assert whole(network, [Chooser(torch.full((256,), -9.0), "sampled")]) == [False]
    assert whole(small_blocks((64, 128), (16, 1))) == [False, True]


@pytest.mark.parametrize("where", ["layer", "head", "policy"])
def test_nothing_is_computed_whole_beside_weights_that_are_not_finite(where):
    network = small_blocks((256, 256), 1)
    maps = random_maps(network, "layer_input", (1, 4, 5))
    choosers = [Chooser(m) for m in maps]
    assert whole(network, choosers) == [True, True]
    weight = {
        "layer": network.layers[1].weight,
        "head": network.head_layers[0].weight,
        "policy": maps[1][0][0],
    }[where]
    weight[0, 3] = torch.nan
    assert whole(network, choosers) == [False, False]


CHOSEN = st.lists(st.booleans(), min_size=3, max_size=3)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), min_size=3, max_size=3),
    CHOSEN,
    st.sampled_from(["layer_input", "summary"]),
    st.sampled_from([(), (9,)]),
)
@settings(max_examples=40)
def test_layers_computed_whole_give_the_same_masks_and_logits(layers, chosen, observation, head):
    blocks, sizes = zip(*layers, strict=True)
    network, shape = small_blocks(blocks, sizes, 20, head), (1, 4, 5)
    choosers = [Chooser(maps) for maps in random_maps(network, observation, shape)]
    images = torch.randn(40, *shape, generator=generator(2))
    given_masks = [random_mask(40, n, 0.5, generator(3)) for n in blocks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ccenv.annexes.deploy.fused.network.is_whole", lambda *given: chosen[given[1]]
        )
        fused = FusedClassifier(network, choosers, observation=observation, image_shape=shape)
        logits, masks = fused(images)
        without = FusedClassifier(network)
    torch.testing.assert_close(logits, forward(network, images.flatten(1), masks, "reference"))
    found, _ = without(images, given_masks)
    torch.testing.assert_close(found, forward(network, images.flatten(1), given_masks, "reference"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccenv.annexes.deploy.fused.network.is_whole", lambda *_: False)
        skipping = FusedClassifier(network, choosers, observation=observation, image_shape=shape)
    # Scores differ by rounding: one next to zero may choose otherwise, and then so do those behind.
    differ = torch.cat(masks, dim=1) != torch.cat(skipping(images)[1], dim=1)
    assert differ.any(dim=1).sum() <= 1


def test_what_was_computed_for_a_skipped_unit_reaches_nobody():
    network = small_blocks((256,), 1)
    masks = [random_mask(9, 256, 0.5, generator(0))]
    images = torch.randn(9, 20, generator=generator(1))
    masks[0][:, 5] = False
    expected, _ = FusedClassifier(network)(images, masks)
    network.layers[0].weight[5] = 1e30
    network.layers[0].bias[5] = -1e30
    network.head_layers[0].weight[:, 5] = 1e30
    assert whole(network) == [True]
    assert torch.equal(FusedClassifier(network)(images, masks)[0], expected)


@pytest.mark.parametrize("scores", [torch.ones(256), [(torch.ones(256, 20), None)]])
def test_an_unknown_rule_is_refused_where_blocks_are_small_too(scores):
    with pytest.raises(ValueError, match="unknown rule 'topk'"):
        FusedClassifier(small_blocks((256,), 1), [Chooser(scores, "topk")])
