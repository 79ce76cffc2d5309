"""Networks of symbols in one compiled call: equal to the layers one by one, and as safe."""

import dataclasses
import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from ccenv.agents import AGENTS
from ccenv.agents.hash_routing import Hash
from ccenv.agents.rloo import Rloo
from ccenv.base.masks import as_mask, mask_of_indices, random_mask
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.faster import fuse_policy
from ccenv.deploy.fused import symbol_maps
from ccenv.deploy.fused.choosers import Chooser, ListChooser
from ccenv.deploy.fused.classifier import FusedClassifier
from ccenv.deploy.fused.program import add_gumbel
from ccenv.deploy.fused.tokens import FusedTokens, why_not_tokens
from ccenv.deploy.latency import measure_latency, plain_pass, plain_passes
from ccenv.mdp.dynamics import initial, transition
from ccenv.mdp.observations import LAST_SYMBOLS, make_observer
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward
from ccenv.networks.text.embedding import next_byte
from ccenv.networks.text.tokens import TokenMLP
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.lab.benchmarks import front_times
from ccenv.simulator.settings import make_simulator

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
        fused, dense = FusedTokens(network), FusedTokens(network, keep_all=True)
    logits, used = fused(windows, masks)
    assert_close(logits, forward(network, windows, masks, "reference"), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(used, masks, strict=True))
    whole, none = dense(windows)
    assert_close(whole, dense_forward(network, windows), rtol=1e-4, atol=1e-5)
    assert none == []


def random_map(rows, columns, seed):
    draw = generator(seed)
    return torch.randn(rows, columns, generator=draw), torch.randn(rows, generator=draw)


def walk(network, windows, observe, choose):
    """Layer by layer through the environment's own observations."""
    state, masks = initial(network, windows, torch.zeros(len(windows), dtype=torch.int64)), []
    for layer in range(len(network.num_blocks)):
        masks.append(choose(observe(state)[:, : observe.lengths[layer]], layer))
        state, _ = transition(network, state, masks[-1])
    return masks


@pytest.mark.parametrize("kind", ["layer_input", "symbols", "embeddings"])
@pytest.mark.parametrize("rule", ["top_k", "drawn_k", "likely", "drawn"])
@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("tables", ["", ALL_TABLES])
def test_it_chooses_what_the_policy_chooses_layer_by_layer(kind, rule, hidden, tables, folding):
    network = network_of(num_blocks=(20, 4), tables=tables)
    windows, own = windows_of(network, 80), None
    shown = "layer_input" if kind == "layer_input" else LAST_SYMBOLS
    observe = make_observer(shown, network, (network.num_tokens,), torch.int64)
    if kind == "embeddings":
        own = torch.randn(NUM_SYMBOLS, 4, generator=generator(5))
    maps = []
    for layer, blocks in enumerate(network.num_blocks):
        length = 2 * 4 if kind == "embeddings" else observe.lengths[layer]
        steps = [length, hidden, blocks] if hidden else [length, blocks]
        pairs = itertools.pairwise(steps)
        maps.append([random_map(b, a, 10 * layer + n) for n, (a, b) in enumerate(pairs)])
    draws = [torch.rand(80, n, generator=g) for g in [generator(7)] for n in network.num_blocks]

    def choose(look, layer):
        scores = look if own is None else own[look.long()].flatten(1)
        for step, (weight, bias) in enumerate(maps[layer]):
            scores = scores.tanh() if step else scores
            scores = torch.nn.functional.linear(scores, weight, bias)
        if rule == "top_k":
            return mask_of_indices(scores.topk(2, dim=1).indices, scores.shape[1])
        if rule == "drawn_k":
            noise = -torch.log(-torch.log(draws[layer].clamp(1e-20, 1 - 1e-7)))
            return mask_of_indices((scores + noise).topk(2, dim=1).indices, scores.shape[1])
        if rule == "likely":
            return scores > 0
        return draws[layer] < 0.01 + 0.98 * scores.sigmoid()

    masks = walk(network, windows, observe, choose)
    choosers = [Chooser(m, rule, num_kept=2, low=0.01, embeddings=own) for m in maps]
    fused = FusedTokens(network, choosers, observation=shown)
    logits, found = fused(windows, generator=generator(7) if "drawn" in rule else None)
    assert 0.05 < torch.cat(found, dim=1).float().mean() < 0.95
    for mine, theirs in zip(found, masks, strict=True):
        assert torch.equal(mine, theirs)
    assert_close(logits, forward(network, windows, masks, "reference"), rtol=1e-4, atol=1e-5)


@given(st.integers(1, 3), st.lists(st.tuples(st.integers(1, 70), st.integers(1, 3)), min_size=1))
@settings(max_examples=30, deadline=None)
def test_lists_name_the_blocks_that_are_kept(num_keys, layers):
    blocks = [n for n, _ in layers[:3]]
    network = network_of(num_blocks=blocks, block_size=2)
    windows, entries = windows_of(network, 40), NUM_SYMBOLS**num_keys
    lists = [
        torch.rand(entries, n, generator=generator()).topk(min(k, n)).indices
        for n, (_, k) in zip(blocks, layers, strict=False)
    ]
    fused = FusedTokens(network, [ListChooser(one, num_keys, NUM_SYMBOLS) for one in lists])
    logits, masks = fused(windows)
    powers = NUM_SYMBOLS ** torch.arange(num_keys - 1, -1, -1)
    keys = (windows[:, -num_keys:] * powers).sum(dim=1)
    for one, mask in zip(lists, masks, strict=True):
        assert torch.equal(mask, mask_of_indices(one[keys], mask.shape[1]))
    assert_close(logits, forward(network, windows, masks, "reference"), rtol=1e-4, atol=1e-5)


def test_a_window_does_not_depend_on_its_neighbours_and_repeats_are_equal(folding):
    network = network_of(num_blocks=70, block_size=4, tables=ALL_TABLES)
    fused = FusedTokens(network, [Chooser([random_map(70, 6, 0)], "top_k", 3)])
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
    before = FusedTokens(network)
    expected, _ = before(windows, masks)
    network.layers[0].weight[16:24] = torch.nan
    network.layers[1].weight[:, 16:24] = torch.nan
    assert torch.equal(FusedTokens(network)(windows, masks)[0], expected)
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
    FusedTokens(NETWORK, keep_all=True),
    FusedTokens(NETWORK, [Chooser(torch.ones(n)) for n in (4, 3)]),
    FusedTokens(NETWORK, [ListChooser(torch.zeros(49, 1).long(), 2, 7) for _ in range(2)]),
]


def test_threads_share_rows_and_find_wrong_symbols_too():
    network = network_of(length=24, symbols=128, num_blocks=32, block_size=16, classes=128)
    chooser = Chooser([random_map(32, 6, 0)], "top_k", 2)
    fused, windows = FusedTokens(network, [chooser]), windows_of(network, 2000)
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
    drawn = FusedTokens(NETWORK, [Chooser(torch.zeros(n), "drawn") for n in (4, 3)])
    with pytest.raises(ValueError, match="expected a generator"):
        drawn(good)


@pytest.mark.parametrize(
    ("chooser", "message"),
    [
        (Chooser([random_map(4, 5, 0)]), "map of those of 1 to 6 places"),
        (Chooser([random_map(4, 21, 0)]), "map of those of 1 to 6 places"),
        (Chooser([random_map(3, 6, 0)]), "map to 4 scores"),
        (Chooser([random_map(9, 6, 0), random_map(4, 8, 0)]), "maps from 9 features"),
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
        FusedTokens(NETWORK, [chooser, Chooser(torch.ones(3))])


class OtherHead(TokenMLP):
    def logits(self, *arguments, **settings):
        return super().logits(*arguments, **settings) + 0


def test_what_cannot_be_fused_is_refused_with_the_reason():
    other = OtherHead(6, 7, 5)
    assert "not those of TokenMLP" in why_not_tokens(other)
    assert "not those of TokenMLP" in why_not_tokens(build_network(GatedMLP, 0, in_features=4))
    with pytest.raises(ValueError, match="cannot fuse OtherHead"):
        FusedTokens(other)
    with pytest.raises(ValueError, match="float32 on the CPU"):
        FusedTokens(network_of().double())
    with pytest.raises(ValueError, match="a chooser for each of 2"):
        FusedTokens(NETWORK, [])
    with pytest.raises(ValueError, match="no choosers beside keep_all"):
        FusedTokens(NETWORK, [Chooser(torch.ones(n)) for n in (4, 3)], keep_all=True)
    with pytest.raises(ValueError, match="observation"):
        FusedTokens(NETWORK, observation="summary")
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


def windows(split):
    """Windows of 6 symbols, the smaller ones more frequent; the label is the last."""
    draws = torch.rand(600, 6, generator=stream(len(split), "windows"))
    tokens = (draws.square() * NUM_SYMBOLS).long()
    return Split(tokens, tokens[:, -1].clone(), NUM_SYMBOLS)


SETTINGS = {
    "dataset": f"{__name__}:windows",
    "network": "bytes",
    "network_kwargs": {"num_blocks": [6, 4], "block_size": 3, "look_tokens": 3},
    "weights": "cotrain",
    "reward": "negative_nll",
}
CHOOSING = [
    *(
        ("rloo", {"embedding_size": 4, "observation": LAST_SYMBOLS} | more)
        for more in ({}, {"draw": "independent"}, {"hidden_units": 5})
    ),
    *(
        ("rloo", {"embedding_size": "one_hot", "observation": LAST_SYMBOLS} | more)
        for more in ({}, {"hidden_units": 5})
    ),
    ("rloo", {"observation": "layer_input"}),
    ("rloo", {"observation": LAST_SYMBOLS}),
    ("topk", {"embedding_size": 4, "observation": LAST_SYMBOLS}),
    ("condnet", {"observation": "layer_input"}),
    ("sb3_ppo", {"observation": LAST_SYMBOLS}),
    ("hash", {}),
    ("hash", {"num_hashed": 2, "num_kept": 3}),
    ("dense", {}),
    ("block_dropout", {}),
]


def make_agent(name, given):
    builder = resolve(AGENTS[name], AGENTS, "agent")
    own = {key: value for key, value in given.items() if key != "observation"}
    seen = {key: given[key] for key in given if key == "observation"}
    defaults = builder.env_defaults | {"observation": LAST_SYMBOLS}
    simulator = make_simulator(16, {**defaults, **SETTINGS, **seen})
    simulator.seed(0)
    agent = builder(simulator, **own)
    for tensor in agent.parameters().values():
        if tensor.is_floating_point():
            tensor.data.add_(torch.randn(tensor.shape, generator=generator()))
    return agent


@pytest.mark.parametrize(("name", "own"), CHOOSING)
@pytest.mark.parametrize("drawn", [False, True])
def test_an_agent_in_one_call_chooses_what_it_chooses_in_the_environment(name, own, drawn):
    agent = make_agent(name, own)
    simulator, network = agent.simulator, agent.simulator.network
    windows, labels = simulator.data.batch(torch.arange(200))
    fused = fuse_policy(network, agent, simulator.observe, (6,), drawn=drawn)
    assert isinstance(fused, FusedTokens)
    state = initial(network, windows, labels)
    draws = [stream(0, "masks") if drawn else None for _ in range(2)]
    with torch.no_grad():
        logits, masks = fused(windows, generator=draws[0])
        for layer, blocks in enumerate(simulator.num_blocks):
            action = agent.act(simulator.observe(state), layer, draws[1])
            mask = as_mask(action, blocks)
            assert torch.equal(masks[layer], mask)
            state, _ = transition(network, state, mask)
        assert_close(logits, forward(network, windows, masks, "reference"), rtol=1e-4, atol=1e-5)


def test_agents_of_a_context_are_not_fused():
    simulator = make_simulator(
        12,
        {
            **SETTINGS,
            "observation": LAST_SYMBOLS,
            "group_size": 3,
            "context": {"budget": [0.1, 0.5]},
        },
    )
    simulator.seed(0)
    agent = Rloo(simulator, embedding_size=2)
    assert fuse_policy(simulator.network, agent, simulator.observe, (6,), drawn=True) is None
    with pytest.raises(ValueError, match="without a context"):
        SkippingClassifier.from_agent(agent, embedding_size=2).fuse()


@pytest.mark.parametrize(
    ("kind", "own"),
    [(Rloo, {"embedding_size": 4}), (Rloo, {"embedding_size": "one_hot"}), (Hash, {})],
)
@pytest.mark.parametrize("draw", ["mode", "sampled"])
def test_an_exported_predictor_runs_in_one_call(kind, own, draw):
    agent = make_agent(kind.__name__.lower(), own)
    classifier = SkippingClassifier.from_agent(agent, **own)
    windows, _ = agent.simulator.data.batch(torch.arange(30))
    logits, masks = classifier.fuse(draw=draw)(windows)
    expected, theirs = classifier.classify(windows, draw=draw)
    assert all(torch.equal(a, b) for a, b in zip(masks, theirs, strict=True))
    assert_close(logits, expected, rtol=1e-4, atol=1e-5)


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


def test_latency_is_told_beside_the_fastest_way_of_the_dense_network():
    agent = make_agent("rloo", {"embedding_size": 4})
    found = measure_latency(agent.simulator, agent, 3, repeats=2)
    assert set(found.dense_ways) == {"torch", "compiled"}
    assert found.dense_milliseconds == min(found.dense_ways.values())
    assert dataclasses.asdict(found)["speedup"] > 0


def test_rows_of_texts_are_timed_by_their_sizes():
    cells = (
        Cell("dense", "dense", {}),
        Cell("hash", "hash", {}),
        Cell("again", "hash", {"images": 64}),
        Cell("two", "hash", {"num_hashed": 2}),
        Cell("counts", "dense", {"network": "ngram", "network_kwargs": {}}),
    )
    found = front_times.by_size(Sweep("texts", "d", cells, 1.0, SETTINGS, (0,)))
    assert [one.labels for one in found] == [["dense"], ["hash", "again"], ["two"]]
    for one in found:
        logits, _ = front_times.make_pass(one, 5, "mode")()
        assert logits.shape == (5, NUM_SYMBOLS)
