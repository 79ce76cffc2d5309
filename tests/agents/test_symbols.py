"""Policies of texts: their own embeddings of the last symbols, and hash tables."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.agents import AGENTS
from ccenv.agents.rloo import Rloo
from ccenv.agents.scores import JOINT, ONE_HOT, LayerScores, random_table
from ccenv.annexes.agents.hash_routing import Hash, balanced_table
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.base.masks import as_mask
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.mdp.observations import LAST_SYMBOLS
from tests.ccenv.episodes import NUM_SYMBOLS, seeded, windows

WITH_EMBEDDINGS = ["actor_critic", "disarm", "gumbel", "rloo", "straight_through", "topk"]


OWN = {"num_blocks": 4, "block_size": 3, "look_tokens": 2}


def make(rows=12, **more):
    given = {
        "dataset": "tests.ccenv.episodes:windows",
        "network": "bytes",
        "network_kwargs": OWN,
        "weights": "cotrain",
        "reward": "negative_nll",
        "observation": LAST_SYMBOLS,
    }
    return seeded(rows, **given | more)


@pytest.mark.parametrize("group_size", [1, 3])
def test_the_look_is_the_last_symbols_at_every_gate_and_for_every_mask(group_size):
    own = {"num_blocks": [4, 5], "block_size": 3, "look_tokens": 3}
    simulator = make(network_kwargs=own, group_size=group_size)
    seen = simulator.begin()
    tokens = simulator.data.images[simulator.indices]
    for num_blocks in simulator.num_blocks:
        assert seen[:, :3].tolist() == tokens[:, -3:].tolist()
        seen = simulator.step(torch.ones(12, num_blocks, dtype=torch.bool)).observation


LOOKS_UP = r"looks symbols up .* numbers \[6\].*cascade_bytes"
NUMBERS = {"network_kwargs": {}, "observation": "layer_input"}


@pytest.mark.parametrize(
    ("settings", "weights", "message"),
    [
        ({"network": "pondering"} | NUMBERS, "frozen", LOOKS_UP),
        ({"network": "mlp"} | NUMBERS, "frozen", LOOKS_UP),
        ({"network": "streaming"} | NUMBERS, "cotrain", LOOKS_UP),
    ],
)
def test_what_reads_numbers_is_refused_of_texts_before_a_network_is_trained(
    settings, weights, message, monkeypatch
):
    monkeypatch.setattr(
        "ccenv.simulator.simulator.frozen_weights",
        lambda *_: pytest.fail("a network was trained"),
    )
    with pytest.raises(ValueError, match=message):
        make(weights=weights, **settings)


def test_a_symbol_that_the_network_has_no_row_for_is_refused_wherever_it_is():
    """On a GPU a look-up that is out of range ends every later call, too."""
    split = windows("train")
    split.images[-1, 2] = NUM_SYMBOLS + 4
    with pytest.raises(ValueError, match=r"knows every symbol .* no 11 "):
        make(dataset=lambda _: split)


@pytest.mark.parametrize("size", [5, ONE_HOT])
@pytest.mark.parametrize("context", [{}, {"context": {"budget": [0.1, 0.5]}}])
def test_scores_of_symbols_are_the_affine_map_of_what_is_looked_up(context, size):
    simulator = make(**context)
    scores = LayerScores(simulator, 0, embedding_size=size)
    seen, plain = simulator.begin(), len(context)
    assert scores.lengths[0] == plain + 2
    (table, (weight, bias)) = scores.embeddings(0), scores.maps(0)[0]
    looked_up = table[seen[:, plain : plain + 2].long()].flatten(1)
    expected = torch.cat([seen[:, :plain], looked_up], dim=1) @ weight.t() + bias
    torch.testing.assert_close(scores(seen, 0), expected)


@pytest.mark.parametrize("plain", [0, 1])
def test_looking_up_costs_nothing_and_the_map_is_billed(plain):
    simulator = make(**({"context": {"budget": [0.1, 0.5]}} if plain else {}))
    assert LayerScores(simulator, 0, embedding_size=5).macs == [(plain + 2 * 5) * 4]
    assert LayerScores(simulator, 0, 3, embedding_size=5).macs == [(plain + 2 * 5) * 3 + 3 * 4]
    for size in (ONE_HOT, JOINT):
        assert LayerScores(simulator, 0, embedding_size=size).macs == [plain * 4]
        assert LayerScores(simulator, 0, 3, embedding_size=size).macs == [plain * 3 + 3 * 4]


@pytest.mark.parametrize("size", [3, JOINT])
@pytest.mark.parametrize("name", WITH_EMBEDDINGS)
def test_every_agent_of_scores_learns_its_look_ups_and_refuses_what_shows_no_symbols(name, size):
    kind = resolve(name, AGENTS, "agent")
    # An affine map of k of n or of coins; the smallest group that all of them take.
    own = kind.env_defaults | {"group_size": 2}
    agent = kind(make(**own | {"observation": LAST_SYMBOLS}), embedding_size=size)
    looked_up = agent.scores.layers[0][0]
    learned = looked_up.table if size == 3 else looked_up.weight
    before = learned.detach().clone()
    agent.learn(24)
    assert not torch.equal(learned, before)
    with pytest.raises(ValueError, match=f"expected observation='{LAST_SYMBOLS}'"):
        kind(make(**own | {"observation": "layer_input"}), embedding_size=size)


EXPORTED = [(Rloo, {"embedding_size": size}) for size in (4, ONE_HOT, JOINT)]


@pytest.mark.parametrize(("kind", "own"), [*EXPORTED, (Hash, {"balanced": True})])
def test_an_exported_policy_has_its_look_ups(kind, own, tmp_path):
    simulator = make(group_size=2)
    agent = kind(simulator, seed=5, **own)
    agent.learn(24)
    SkippingClassifier.from_agent(agent, **own).save(tmp_path / "file")
    tokens, _ = simulator.data.batch(torch.arange(9))
    simulator.begin(torch.arange(6))
    mask = as_mask(agent.act(simulator.observe(simulator.state)[::2], 0), 4)
    loaded = SkippingClassifier.load(tmp_path / "file")
    assert torch.equal(loaded.classify(tokens, deterministic=True)[1][0][:6], mask)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5))
def test_an_entry_has_k_different_blocks(num_blocks, kept, seed):
    kept = min(num_blocks, kept)
    draws = stream(seed, "test")
    tables = [
        random_table(20, num_blocks, kept, draws),
        balanced_table(torch.arange(20), num_blocks, kept, draws),
    ]
    for table in tables:
        assert as_mask(table, num_blocks).sum(dim=1).tolist() == [kept] * 20


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 6))
def test_no_two_blocks_differ_in_use_by_more_than_the_most_used_entry(uses, num_blocks):
    counts = torch.tensor(uses)
    table = balanced_table(counts, num_blocks, 1, stream(0, "test"))
    load = torch.zeros(num_blocks, dtype=torch.int64).index_add(0, table[:, 0], counts)
    assert int(load.max() - load.min()) <= max(uses)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("num_hashed", [1, 2])
def test_hashing_looks_at_the_last_symbols_alone(num_hashed, balanced):
    simulator = make(200)
    agent = Hash(simulator, num_kept=2, num_hashed=num_hashed, balanced=balanced)
    seen = simulator.begin()
    masks = as_mask(agent.act(seen, 0), 4)
    ends = [tuple(row) for row in seen[:, 2 - num_hashed : 2].tolist()]
    found = {}
    for end, mask in zip(ends, masks.tolist(), strict=True):
        assert found.setdefault(end, mask) == mask
    assert len({tuple(mask) for mask in found.values()}) > 1
    assert torch.equal(as_mask(agent.act(seen, 0, stream(3, "draws")), 4), masks)
    assert agent.policy_macs == [0]


def test_a_table_depends_on_the_seed_alone():
    tables = [Hash(make(), seed=seed).tables[0] for seed in (0, 0, 1)]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@pytest.mark.parametrize("context", [{}, {"context": {"budget": [0.1, 0.5]}}])
def test_a_joint_look_up_has_a_row_for_each_pair_beside_the_map_of_plain_columns(context):
    simulator = make(40, **context)
    scores, plain = LayerScores(simulator, 0, embedding_size=JOINT), len(context)
    seen = simulator.begin()
    (weight, bias) = scores.maps(0)[0]
    assert weight.shape == (4, plain + NUM_SYMBOLS**2)
    pairs = NUM_SYMBOLS * seen[:, plain] + seen[:, plain + 1]
    rows = weight.t()[plain + pairs.long()] + bias + seen[:, :plain] @ weight[:, :plain].t()
    torch.testing.assert_close(scores(seen, 0), rows)


@pytest.mark.parametrize(("size", "num_hashed"), [(ONE_HOT, 1), (JOINT, 2)])
@pytest.mark.parametrize("num_kept", [1, 2])
def test_a_start_at_the_hash_keeps_its_blocks_with_the_wanted_probability(
    num_kept, size, num_hashed
):
    simulator = make(group_size=2)
    settings = {"embedding_size": size, "num_kept": num_kept}
    agent = Rloo(simulator, seed=3, start="hash", start_probability=0.8, **settings)
    hashed = Hash(simulator, seed=3, num_kept=num_kept, num_hashed=num_hashed)
    seen = simulator.begin()
    for layer, blocks in enumerate(simulator.num_blocks):
        kept = as_mask(hashed.act(seen, layer), blocks)
        assert torch.equal(as_mask(agent.act(seen, layer), blocks), kept)
        first = agent.distribution(seen, layer).rest.scores.softmax(dim=1)
        torch.testing.assert_close((first * kept).sum(dim=1), torch.full((12,), 0.8))


LARGE = {"network_kwargs": OWN | {"num_symbols": 4096}}
AT_THE_HASH = {"start": "hash", "embedding_size": ONE_HOT, "start_probability": 1}


@pytest.mark.parametrize(
    ("kind", "settings", "own", "message"),
    [
        (Hash, {}, {"num_hashed": 0}, "expected num_hashed of 1 to 2"),
        (Hash, {}, {"num_hashed": 3}, "expected num_hashed of 1 to 2"),
        (Hash, {"observation": "layer_input"}, {}, "for a policy that looks symbols up"),
        (Hash, LARGE, {"num_hashed": 2}, "a table of at most"),
        (Rloo, LARGE, {"embedding_size": JOINT}, r"embedding_size='joint': 2, .* table of at most"),
        (Rloo, {}, AT_THE_HASH, r"start_probability in \(0, 1\), got 1"),
    ],
)
def test_tables_of_what_is_not_shown_or_beyond_memory_are_refused(kind, settings, own, message):
    with pytest.raises(ValueError, match=message):
        kind(make(group_size=2, **settings), **own)
