"""Laws of the network `patches`: transient refreshes, one entry a patch, committed masks."""

import math

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.annexes.networks.text.patches import PatchModel
from ccenv.networks.core.protocol import forward
from ccenv.simulator.rollout import walk
from tests.ccenv.episodes import seeded
from tests.ccenv.networks.tiny import SYMBOLS, positions, symbols, write_prose

LENGTH = 10
SMALL = {
    "depth": 2,
    "width": 8,
    "num_heads": 2,
    "ffn_width": 6,
    "context": 3,
    "embedding_size": 3,
    "local_units": 4,
    "head_units": 5,
}


def model(patch_size=4, **sizes):
    torch.manual_seed(0)
    network = PatchModel((LENGTH,), SYMBOLS, patch_size=patch_size, **SMALL | sizes).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network


def inputs_of(*lengths):
    """Every position of sequences of symbols."""
    return positions(symbols(*lengths), LENGTH)


def masks_of(rows, seed=0):
    return torch.rand(rows, 1, generator=torch.Generator().manual_seed(seed)) < 0.5


def attended(layer, x, entries):
    """A layer's output for one token [width], and its own key and value."""
    parts = layer.attention.query_key_value(layer.attention.norm(x))
    query, key, value = parts.view(3, layer.attention.num_heads, -1)
    keys = torch.stack([*(k for k, _ in entries), key], dim=1)
    values = torch.stack([*(v for _, v in entries), value], dim=1)
    scores = (keys @ query[:, :, None]).squeeze(2) / math.sqrt(query.shape[1])
    mixed = (scores.softmax(dim=1)[:, :, None] * values).sum(dim=1)
    return layer.feed(x + layer.attention.output(mixed.flatten())), (key, value)


def plainly(network, window, committed):
    """Logits of a window's last place, and those with a refresh there, place by place."""
    text, size = window[window != SYMBOLS], network.patch_size
    padded = torch.cat([torch.full((network.context,), SYMBOLS), text])
    entries = [[] for _ in network.trunk]
    whole = context = network.first
    parts = []
    for place, offset in enumerate(n % size for n in range(len(text))):
        read = network.embedding(padded[place + 1 : place + 1 + network.context]).flatten()
        local = (network.reads(read) + network.offsets.weight[offset]).relu()
        parts = parts if offset else []
        query, key, value = network.aggregates(local).view(3, network.num_heads, -1)
        parts.append((key, value))
        keys, values = (torch.stack(each, dim=1) for each in zip(*parts, strict=True))
        scores = (keys @ query[:, :, None]).squeeze(2) / math.sqrt(query.shape[1])
        token = (query + (scores.softmax(dim=1)[:, :, None] * values).sum(dim=1)).flatten()
        x, left = token + network.places.weight[place // size], []
        for layer, earlier in zip(network.trunk, entries, strict=True):
            x, entry = attended(layer, x, earlier)
            left.append(entry)
        refreshed = network.norm(x)
        if offset == size - 1:
            whole = context = refreshed
            for earlier, entry in zip(entries, left, strict=True):
                earlier.append(entry)
        before = context
        if committed[place]:
            context = refreshed
    return [network.head(torch.cat([seen, local])) for seen in (before, refreshed)], whole


@pytest.mark.parametrize("patch_size", [1, 3, 4, 10])
def test_every_position_is_the_plain_run_with_its_own_refresh_at_the_end_alone(patch_size):
    network, inputs = model(patch_size), inputs_of(LENGTH, 2, LENGTH)
    committed = masks_of(3 * LENGTH, seed=3)
    mask = masks_of(len(inputs))
    state = network.played(inputs, lambda gate, hidden, rows: committed[: len(rows)])
    start = network.read(inputs, state)
    found = forward(network, inputs, [mask], start=start)
    # Sequences lie one after the other at the longest one's length.
    first = [0] * LENGTH + [LENGTH] * 2 + [2 * LENGTH] * LENGTH
    for row, (window, start) in enumerate(zip(inputs, first, strict=True)):
        answers, _ = plainly(network, window, committed[start:, 0])
        torch.testing.assert_close(found[row], answers[int(mask[row])], rtol=1e-4, atol=1e-5)


def test_refreshes_leave_nothing_in_the_cache_which_has_one_entry_a_patch():
    network, inputs = model(4), inputs_of(LENGTH)
    never = network.played(inputs)
    always = network.played(
        inputs, lambda gate, hidden, rows: torch.ones(len(rows), 1, dtype=torch.bool)
    )
    left, left_always = (sum(cache.entries, ()) for cache in (never, always))
    for one, other in zip(left, left_always, strict=True):
        assert torch.equal(one, other)
        assert one.shape == (1, 2, LENGTH // 4, 4)
    assert torch.equal(never.whole, always.whole)
    # A refresh reaches later places of its patch, not the next patch.
    moved = (never.contexts != always.contexts).any(dim=2)[0].tolist()
    assert moved == [place % 4 in (1, 2) for place in range(LENGTH)]


def test_at_the_end_of_a_patch_there_is_nothing_to_refresh_and_its_entry_is_paid_for():
    network, inputs = model(4), inputs_of(LENGTH)
    hidden, mask = network.start(inputs), torch.ones(LENGTH, 1, dtype=torch.bool)
    ends = torch.tensor([place % 4 == 3 for place in range(LENGTH)])
    assert torch.equal(network.executed(0, hidden, mask)[:, 0], ~ends)
    kept, skipped = (network.macs(0, hidden, m) for m in (mask, ~mask))
    assert torch.equal(kept > skipped, ~ends)
    assert torch.equal(*(forward(network, inputs[ends], [m[ends]]) for m in (mask, ~mask)))


@pytest.mark.parametrize("patch_size", [1, 3, 4, 10])
def test_the_least_cost_is_what_the_dearest_position_pays_without_a_refresh(patch_size):
    network, inputs = model(patch_size), inputs_of(LENGTH)
    none = torch.zeros(len(inputs), 1, dtype=torch.bool)
    assert network.least_macs(0) == int(network.macs(0, network.start(inputs), none).max())


@pytest.fixture
def prose(tmp_path, monkeypatch):
    """A text in which what follows "b" is told by the symbol before."""
    write_prose(tmp_path, monkeypatch, ("abd", "cbe", "fff"))


def simulator_of(rows=80, learning_rate=0.002, **sizes):
    return seeded(
        rows,
        dataset=f"prose@{LENGTH}",
        network="patches",
        network_kwargs=SMALL | {"patch_size": 5} | sizes,
        weights="cotrain",
        weights_kwargs={"learning_rate": learning_rate},
        observation="layer_input",
        reward="negative_nll",
    )


def refreshed(simulator, threshold):
    """Masks and nll of test positions under a threshold."""
    agent = AGENTS["entropy_threshold"](simulator, threshold=threshold)
    test = simulator.on_split("test", 200)
    _, _, steps = walk(test, agent, None, torch.arange(200))
    return steps[-1].outcome.mask[:, 0], -steps[-1].outcome.log_likelihood


def test_the_threshold_on_the_entropy_moves_refreshes_without_training(prose):
    simulator = simulator_of()
    AGENTS["entropy_threshold"](simulator).learn(80 * 4)
    test = simulator.on_split("test", 200)
    most = math.log(test.data.num_classes)
    masks = [refreshed(simulator, threshold)[0] for threshold in (-1.0, 1.0, most + 0.1)]
    place = test.network.start(test.data.batch(torch.arange(200))[0]).place
    assert torch.equal(masks[0], place % 5 != 4)
    assert not masks[2].any()
    assert not (masks[1] & ~masks[0]).any()
    _, _, steps = walk(
        test, AGENTS["block_dropout"](test, keep_probability=0.0), None, torch.arange(200)
    )
    assert torch.equal(refreshed(simulator, most + 0.1)[1], -steps[-1].outcome.log_likelihood)


def test_while_it_learns_windows_are_played_at_the_wanted_rate(prose):
    simulator = simulator_of(400, 1e-5)
    agent = AGENTS["entropy_threshold"](simulator, target_rate=0.3)
    agent.learn(400 * 3)
    rule, seen = simulator.rule, []
    simulator.rule = lambda *given: seen.append(rule(*given)) or seen[-1]
    simulator.begin()
    assert seen[0].float().mean().item() == pytest.approx(0.3, abs=0.2)
