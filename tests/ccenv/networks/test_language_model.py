"""The network `lm`: positions alone, with a cache, in whole sequences; masks of a rule."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical
from torch.nn.functional import cross_entropy

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.generate import write
from ccenv.annexes.networks.text.transformer import LanguageModel
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.envs.rendering import as_words
from ccenv.networks.core.protocol import forward
from ccenv.simulator.cotraining import CoTraining
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import seeded
from tests.ccenv.networks import tiny
from tests.ccenv.networks.own_decoder import writer
from tests.ccenv.networks.tiny import masks_of, symbols

LENGTH = 8
SMALL = {"depth": 2, "width": 8, "num_heads": 2, "ffn_width": 6, "num_experts": 4}
GATES = (
    {},
    {"gates": ("attention", "experts")},
    {"gates": ("heads", "ffn")},
    {"gates": ("experts", "exits"), "depth": 3},
    {"gates": ("heads", "exits"), "depth": 1, "repeats": 3},
    {"gates": "layers", "depth": 3},
)
"""Settings of networks with gates of every kind."""
SETTINGS = {
    "dataset": f"prose@{LENGTH}",
    "network": "lm",
    "network_kwargs": SMALL,
    "weights": "cotrain",
    "observation": "symbols",
    "reward": "negative_nll",
}


def model(**sizes):
    torch.manual_seed(0)
    network = LanguageModel((LENGTH,), 7, **SMALL | sizes).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network


def positions(sequences):
    """Every position of sequences of symbols, as inputs."""
    return tiny.positions(sequences, LENGTH)


def kept_of(network, masks, layer, whole, blocks, num_blocks):
    """Whether each position computes each block of a part of a layer, and whether any of it."""
    for gate, mask in zip(network.gates, masks, strict=True):
        if gate.name == f"layers.{layer}.{whole}":
            return mask.expand(-1, num_blocks), mask
        if gate.name == f"layers.{layer}.{blocks}":
            return mask, torch.ones(len(mask), 1)
    return torch.ones(len(masks[0]), num_blocks), torch.ones(len(masks[0]), 1)


def plainly(network, sequence, masks):
    """Logits at each position of one sequence by plain attention, under masks of each gate.

    Features of positions that have stopped, or skip a layer, stay as they are; nobody reads keys
    of a layer that a position skips.
    """
    heads, experts = (network.blocks[kind] for kind in ("heads", "experts"))
    size = network.width // heads
    x = network.embedding(sequence) + network.places.weight[: len(sequence)]
    running = torch.ones(len(sequence), 1, dtype=torch.bool)
    for number in range(network.parts[-1].layer + 1):
        layer, before = network.layers[number % len(network.layers)], x
        runs = kept_of(network, masks, number, "layers", "layers", 1)[0].bool()
        mask, is_there = kept_of(network, masks, number, "attention", "heads", heads)
        parts = layer.attention.query_key_value(layer.attention.norm(x))
        queries, keys, values = (part.split(size, dim=1) for part in parts.chunk(3, dim=1))
        mixed = []
        for query, key, value in zip(queries, keys, values, strict=True):
            scores = query @ key.t() / math.sqrt(size)
            future = torch.ones_like(scores).triu(1).bool()
            future = future | (~runs.t() & ~torch.eye(len(scores), dtype=torch.bool))
            mixed.append(scores.masked_fill(future, -torch.inf).softmax(dim=1) @ value)
        kept = torch.cat(mixed, dim=1) * mask.repeat_interleave(size, 1)
        output = layer.attention.output
        x = x + kept @ output.weight.t() + output.bias * is_there
        mask, is_there = kept_of(network, masks, number, "ffn", "experts", experts)
        first, second = layer.experts.hidden, layer.experts.output
        units = first(layer.norm(x)).relu() * mask.repeat_interleave(layer.experts.expert_size, 1)
        x = x + second(units) + layer.bias * is_there
        x = torch.where(running & runs, x, before)
        running = running & kept_of(network, masks, number, "exits", "exits", 1)[0].bool()
    weight = network.embedding.weight if network.head is None else network.head.weight
    return network.norm(x) @ weight.t() + network.bias


def rule_of(masks):
    return lambda gate, hidden, inputs: masks[gate]


@pytest.mark.parametrize("settings", [{"tied": True}, *GATES])
def test_under_a_rule_every_position_is_the_plain_run_over_its_sequence(settings):
    network, sequences = model(**settings), symbols(LENGTH, LENGTH)
    masks = masks_of(network, 2 * LENGTH)
    inputs = positions(sequences)
    found = forward(
        network, inputs, masks, start=network.read(inputs, network.played(inputs, rule_of(masks)))
    )
    parts = zip(sequences, *(mask.split(LENGTH) for mask in masks), strict=True)
    expected = torch.cat([plainly(network, sequence, mask) for sequence, *mask in parts])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", GATES)
def test_a_positions_own_masks_are_the_plain_run_with_them_at_the_last_position_alone(settings):
    network, (sequence,) = model(**settings), symbols(LENGTH)
    inputs = positions([sequence])
    ruled, own = (masks_of(network, LENGTH, seed=seed) for seed in (0, 1))
    found = forward(
        network, inputs, own, start=network.read(inputs, network.played(inputs, rule_of(ruled)))
    )
    for place in range(LENGTH):
        masks = [mask[: place + 1].clone() for mask in ruled]
        for mask, others in zip(masks, own, strict=True):
            mask[place] = others[place]
        expected = plainly(network, sequence[: place + 1], masks)[place]
        torch.testing.assert_close(found[place], expected, rtol=1e-5, atol=1e-5)


def test_a_layer_that_is_skipped_costs_nothing_and_later_positions_read_fewer():
    width, place = SMALL["width"], 4
    network, inputs = model(gates="layers"), positions(symbols(LENGTH))
    kept = torch.ones(LENGTH, 1, dtype=torch.bool)
    ruled = kept.clone()
    ruled[[1, 3]] = False
    hidden = network.read(inputs, network.played(inputs, rule_of([ruled, kept])))
    keeping, skipping = (int(network.macs(0, hidden, mask)[place]) for mask in (kept, ~kept))
    of_experts = 4 * 2 * width * SMALL["ffn_width"]
    # Itself, and two of the four before it.
    assert (keeping, skipping) == (2 * width * (2 * width + 3) + of_experts, 0)
    behind = network.step(0, hidden, kept)
    last = width * network.num_classes
    assert int(network.macs(1, behind, ~kept)[place]) == last
    assert int(network.macs(1, behind, kept)[place]) == keeping + 2 * width * 2 + last


def test_what_a_position_costs_that_stops():
    width, place = SMALL["width"], 4
    network, inputs = model(gates="exits", depth=3), positions(symbols(LENGTH, 5))
    stops = [torch.zeros(len(inputs), 1, dtype=torch.bool)] * 2
    rule = rule_of([torch.zeros(len(inputs) + 3, 1, dtype=torch.bool)] * 2)
    hidden = network.read(inputs, network.played(inputs, rule))
    first, before = (int(network.macs(0, hidden, stops[0])[row]) for row in (place, 0))
    answer = width * network.num_classes
    layer = 4 * width**2 + 2 * width * (place + 1) + 4 * 2 * width * SMALL["ffn_width"]
    # Later positions read keys and values of both later layers.
    assert first == layer + answer + 2 * 2 * width**2 == before + 2 * width * place
    hidden = network.step(0, hidden, stops[0])
    assert not network.macs(1, hidden, ~stops[1]).any()
    assert not network.executed(1, hidden, ~stops[1]).any()
    assert not network.look(1, hidden).any()


def test_halting_at_a_network_of_sequences_without_exits_is_refused(prose):
    simulator = Simulator(LENGTH, **SETTINGS | {"observation": "layer_input"})
    with pytest.raises(ValueError, match=r"network with exits .* network_kwargs.gates=exits"):
        AGENTS["act"](simulator, seed=0)


def test_symbols_that_there_are_not_are_refused():
    network = model()
    inputs = positions(symbols(3))
    with pytest.raises(ValueError, match=r"symbols in 0\.\.6, and 7 for missing ones .* got .*8"):
        network.start(inputs + (inputs == 0) * 8)
    with pytest.raises(ValueError, match="got one behind a symbol"):
        network.start(inputs.flip(1))
    with pytest.raises(ValueError, match=r"int64 \[rows, 8\]"):
        network.start(inputs[:, 1:])


def test_rows_of_a_text_are_its_positions_those_of_a_sequence_together(prose):
    text, whole = load_split(f"prose@{LENGTH}", "train"), load_split("prose", "train")
    assert len(text) % LENGTH == 0
    letters = whole.images.symbols.long()
    inputs, labels = text.batch(torch.arange(len(text)))
    assert torch.equal(labels, letters[1 : len(text) + 1])
    assert torch.equal(inputs[:, -1], letters[: len(text)])
    firsts = inputs[LENGTH : 2 * LENGTH]
    assert (firsts == 128).sum(dim=1).tolist() == list(range(LENGTH - 1, -1, -1))
    assert torch.equal(firsts[-1], letters[LENGTH : 2 * LENGTH])
    assert text.together == LENGTH


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prose@0", r"sequences of 1 to \d+ symbols, .* got 0"),
        ("prose@900", "fewer than the validation text .* got 900"),
        ("verse@8", "unknown dataset 'verse@8'"),
    ],
)
def test_a_text_that_has_no_such_sequences_is_refused(prose, name, message):
    with pytest.raises(ValueError, match=message):
        load_split(name, "validation")


@pytest.mark.parametrize(
    ("network", "message"),
    [("bytes", r"has no 128 .*: take network=lm"), ("hashed_ngrams", r"in 0\.\.127 .* got 128;")],
)
def test_a_network_without_a_missing_symbol_is_refused_for_sequences(prose, network, message):
    with pytest.raises(ValueError, match=message):
        Simulator(4, dataset="prose@8", network=network, weights="cotrain", observation="symbols")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("rloo", {}), ("topk", {"scaled": True, "assignment": "sinkhorn", "capacity": 1.5})],
)
def test_an_agents_verdict_by_greedy_masks_is_the_plain_run_with_them(prose, name, settings):
    simulator = seeded(4 * LENGTH, group_size=2, **SETTINGS)
    agent = AGENTS[name](simulator, seed=0, num_kept=1, embedding_size="one_hot", **settings)
    agent.learn(8 * LENGTH)
    rule = simulator.rule
    verdict = ccenv.evaluate(simulator, agent, deterministic=True, batch_size=5 * LENGTH + 3)
    assert simulator.rule is rule
    judged = simulator.on_split("test", 1).data
    inputs, labels = judged.batch(torch.arange(len(judged)))
    losses = []
    for first in range(0, len(judged), LENGTH):
        rows = slice(first, first + LENGTH)
        masks = [mask[rows] for mask in verdict.gate_values or verdict.masks]
        with torch.no_grad():
            logits = plainly(simulator.network, inputs[first + LENGTH - 1], masks)
        losses.append(cross_entropy(logits, labels[rows], reduction="sum"))
    assert verdict.nll == pytest.approx(float(sum(losses)) / len(judged), abs=1e-5)


def test_a_verdict_that_fails_leaves_the_rule_of_training(prose, monkeypatch):
    simulator = seeded(LENGTH, **SETTINGS)
    agent = AGENTS["hash"](simulator, seed=0, num_kept=1)
    agent.learn(LENGTH)
    rule = simulator.rule
    assert rule is not None

    def fail(observation, layer):
        raise OverflowError("no probability")

    monkeypatch.setattr(agent, "keep_probability", fail)
    with pytest.raises(OverflowError):
        ccenv.evaluate(simulator, agent)
    assert simulator.rule is rule


@pytest.mark.parametrize("waiting", [1, 2])
def test_an_update_goes_on_from_the_rollout_and_learns_what_it_would_learn_anew(
    prose, monkeypatch, waiting
):
    def learned(settings):
        simulator = seeded(4 * LENGTH, group_size=2, **SETTINGS)
        agent = AGENTS["rloo"](simulator, seed=0, num_kept=1, embedding_size="one_hot")
        runs = 0

        def counted(*given):
            nonlocal runs
            runs += 1
            return run(*given)

        run = LanguageModel.played
        with monkeypatch.context() as patched:
            patched.setattr(LanguageModel, "played", counted)
            if settings == "anew":
                patched.setattr(CoTraining, "shares_start", lambda *_: False)
            for _ in range(3):
                for _ in range(waiting):
                    collect_rollout(simulator, agent, agent.generator)
                simulator.update_network()
        return simulator.network.state_dict(), runs

    (shared, runs), (anew, all_runs) = learned("shared"), learned("anew")
    assert all(torch.equal(tensor, anew[name]) for name, tensor in shared.items())
    # Of two batches that wait, the newer one's start is older than the weights.
    assert (runs, all_runs) == (3 if waiting == 1 else 12, 3 * 2 * waiting)


def test_rows_follow_gate_values_of_a_rule_unless_a_router_learns_from_them():
    network, inputs = model(), positions(symbols(5, 3))
    values = torch.rand(len(inputs), 4, generator=stream(0, "values")) * masks_of(network, 8)[0]
    of_position = {tuple(row): value for row, value in zip(inputs.tolist(), values, strict=True)}

    def rule(gate, hidden, rows):
        nothing = torch.zeros(4)
        return torch.stack([of_position.get(tuple(row), nothing) for row in rows.tolist()])

    hidden = network.read(inputs, network.played(inputs, rule))
    follows = network.step(0, hidden, values > 0, values)
    leaves = network.step(0, hidden, values > 0, values.clone().requires_grad_())
    assert (len(follows.running), len(leaves.running)) == (0, len(inputs))
    torch.testing.assert_close(follows.features(), leaves.features())


def test_a_policy_that_reads_labels_commits_nothing_and_a_context_is_refused(prose):
    simulator = seeded(LENGTH, context={"cost_weight": [0.1, 1.0]}, **SETTINGS)
    with pytest.raises(ValueError, match="expected no context with a network whose rows read"):
        AGENTS["hash"](simulator, seed=0, num_kept=1).learn(LENGTH)


def test_a_model_learns_a_rule_and_writes_text_and_shows_windows_without_what_is_missing(prose):
    simulator = seeded(8 * LENGTH, weights_kwargs={"learning_rate": 0.03}, **SETTINGS)
    agent = AGENTS["hash"](simulator, seed=0, num_kept=1)
    agent.learn(100 * 8 * LENGTH)
    labels = simulator.on_split("test", 1).data.labels
    of_frequencies = Categorical(torch.bincount(labels).float()).entropy()
    # No model of these words, one of three for every 8 / 3 letters, is surer than that.
    least = math.log(3) / (8 / 3)
    assert least < ccenv.evaluate(simulator, agent, split="test").nll < of_frequencies - 0.03
    classifier = SkippingClassifier.from_agent(agent, num_kept=1)
    written = write(classifier, [0] * LENGTH, 20, stream(0, "writing"), temperature=0.0)
    assert written.density == 0.25
    letters = simulator.data.letters
    assert set(as_words(np.array(written.symbols), letters)) <= set("abc")
    seen = simulator.data.batch(torch.tensor([1]))[0][0].numpy()
    assert len(as_words(seen, letters)) == 2


OF_SEQUENCES = [
    *({"network_kwargs": SMALL | gates} for gates in GATES),
    *({"network": writer, "network_kwargs": {"halves": halves}} for halves in (False, True)),
]


@pytest.mark.parametrize("settings", OF_SEQUENCES)
def test_greedy_text_with_a_cache_is_that_without_and_computes_a_position_a_symbol(
    prose, settings, monkeypatch
):
    simulator = seeded(4 * LENGTH, **SETTINGS | {"observation": "layer_input"} | settings)
    agent = AGENTS["reinforce"](simulator, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in simulator.network.parameters():
            parameter.normal_(std=0.7)
        for parameter in agent.parameters().values():
            parameter.normal_()
    classifier, calls = SkippingClassifier.from_agent(agent), []
    classifier.deterministic = True
    start, length, played = [0, 1, 2], 4 * LENGTH, classifier.network.played
    monkeypatch.setattr(
        classifier.network,
        "played",
        lambda *given, **how: calls.append(how) or played(*given, **how),
    )
    with_cache = write(classifier, start, length, stream(0, "writing"), 0.5)
    # The window is full after 6 symbols, and again after each half of it: 5, 5 and so on.
    assert len(calls) == 7
    calls.clear()
    without = write(classifier, start, length, stream(0, "writing"), 0.5, cached=False)
    assert len(calls) == length
    assert with_cache.symbols == without.symbols
    assert with_cache.density == without.density
    assert len(set(without.symbols)) > 1
    assert 0 < with_cache.density < 1


def test_a_model_of_stable_baselines3_commits_to_its_own_greedy_masks(prose):
    simulator = seeded(2 * LENGTH, **SETTINGS | {"observation": "layer_input"})
    agent = AGENTS["sb3_ppo"](simulator, seed=0)
    agent.learn(4 * LENGTH)
    assert simulator.rule.policy is agent
    inputs, _ = simulator.data.batch(torch.arange(LENGTH))
    cache = simulator.network.played(inputs, simulator.rule)
    greedy = agent.act(simulator.begin(torch.arange(LENGTH)), 0)
    assert torch.equal(cache.masks[0][0], greedy)
