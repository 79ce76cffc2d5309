"""The specification, ccenv/minimal.py, and the core compute the same."""

import ast
import dataclasses
import functools
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import ccenv
from ccenv import minimal
from ccenv.agents.condnet import Condnet
from ccenv.agents.condnet import regularizers as core_regularizers
from ccenv.agents.reinforce import Reinforce
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.mdp.dynamics import initial, transition
from ccenv.mdp.observations import make_observer
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.rewards.plain import accuracy_minus_cost
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator

EQUAL = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
"""Within rounding: blocks are added up in another order."""
SEEDS = st.integers(0, 2**20)
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
SIZES = st.fixed_dictionaries(
    {
        "layers": st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=3),
        "activation": st.sampled_from(sorted(ACTIVATIONS)),
        "seed": SEEDS,
    }
)
"""Blocks and units of a block of each gated layer, and what else makes a network."""
SMALL = {"layers": [(3, 4), (2, 5)], "activation": "tanh", "seed": 0}


def both(in_features, num_classes, layers, activation, seed):
    """A network of the core with random weights and biases, and the specification's with them."""
    blocks, sizes = zip(*layers, strict=True)
    core = build_network(
        GatedMLP,
        seed,
        in_features=in_features,
        num_blocks=blocks,
        block_size=sizes,
        num_classes=num_classes,
        activation=activation,
    )
    draws = stream(seed, "test biases")
    for layer in (*core.layers, *core.head_layers):
        layer.bias.data = torch.randn(layer.bias.shape, generator=draws) / 4
    return core, copied(core)


def copied(core):
    """The specification's network with the weights of one of the core."""
    activation = ACTIVATIONS[core.activation]
    sizes = core.num_blocks, core.block_sizes, core.num_classes, activation
    network = minimal.GatedMLP(core.in_features, *sizes)
    for parameter, other in zip(of_minimal(network), of_core(core), strict=True):
        parameter.data = other.detach().clone()
    return network


def of_core(core):
    """Weights of each layer, then biases."""
    layers = (*core.layers, *core.head_layers)
    return [*(layer.weight for layer in layers), *(layer.bias for layer in layers)]


def of_minimal(module):
    """The same of a network or a policy of the specification."""
    return [*module.weights, *module.biases]


def of_scores(agent):
    """The same of an agent of the core."""
    layers = [agent.scores.last(gate) for gate in range(len(agent.num_blocks))]
    return [*(layer.weight for layer in layers), *(layer.bias for layer in layers)]


def all_equal(ones, others):
    for one, other in zip(ones, others, strict=True):
        EQUAL(one, other)


@given(
    sizes=SIZES,
    features=st.integers(1, 9),
    classes=st.integers(2, 5),
    rows=st.integers(1, 7),
    density=st.floats(0, 1),
    cost_weight=st.floats(0, 5),
    backend=st.sampled_from(["auto", "reference"]),
)
def test_an_episode_has_the_cores_masks_costs_and_end_bit_for_bit_and_its_numbers_and_gradients(
    sizes, features, classes, rows, density, cost_weight, backend
):
    core, network = both(features, classes, **sizes)
    draws = stream(sizes["seed"], "test inputs")
    inputs = torch.rand(rows, 1, 1, features, generator=draws)
    labels = torch.randint(classes, (rows,), generator=draws)
    observer = make_observer("layer_input", core, (1, 1, features))
    mine, theirs = minimal.start(inputs, labels), initial(core, inputs, labels)
    for gate, blocks in enumerate(core.num_blocks):
        with torch.no_grad():
            EQUAL(minimal.observe(network, mine), observer(theirs))
        mask = torch.rand(rows, blocks, generator=draws) < density
        mine, outcome = minimal.step(network, mine, mask, cost_weight)
        theirs, expected = transition(core, theirs, mask, backend)
        assert torch.equal(mine.mask, expected.mask)
        for name in ("layer_cost", "compute_cost", "macs"):
            assert torch.equal(outcome[name], getattr(expected, name)), name
        assert ("correct" in outcome) == expected.is_last == (gate + 1 == len(core.num_blocks))
        EQUAL(outcome["reward"], sum(accuracy_minus_cost(expected, cost_weight).values()))
    EQUAL(minimal.observe(network, mine), observer(theirs).detach())
    EQUAL(outcome["nll"], -expected.log_likelihood)
    outcome["nll"].sum().backward()
    (-expected.log_likelihood).sum().backward()
    zero = torch.zeros(())
    for one, other in zip(of_minimal(network), of_core(core), strict=True):
        EQUAL(one.grad, zero.expand(one.shape) if other.grad is None else other.grad)


@given(sizes=SIZES, rows=st.integers(1, 5), density=st.floats(0, 1))
def test_the_specification_executes_what_it_bills_and_no_skipped_block(sizes, rows, density):
    _, network = both(6, 3, **sizes)
    draws, labels = stream(sizes["seed"], "test inputs"), torch.zeros(rows, dtype=torch.int64)
    state = minimal.start(torch.rand(rows, 6, generator=draws), labels)
    never = []
    with FlopCounterMode(display=False) as counter:
        for gate, blocks in enumerate(network.num_blocks):
            mask = torch.rand(rows, blocks, generator=draws) < density
            units = mask.any(dim=0).repeat_interleave(network.block_size[gate])
            never += [(network.weights[gate], ~units), (network.biases[gate], ~units)]
            for parameter, rest in never[-2:]:
                parameter.data[rest] = torch.nan
            state, outcome = minimal.step(network, state, mask)
    assert counter.get_total_flops() == 2 * state.macs.sum()
    assert outcome["nll"].isfinite().all()
    outcome["nll"].sum().backward()
    assert not any(parameter.grad[rest].any() for parameter, rest in never)


@given(seed=SEEDS, rows=st.integers(1, 9), blocks=st.integers(1, 6), tau=st.floats(0, 1))
def test_the_papers_regularizers_are_the_cores(seed, rows, blocks, tau):
    p = torch.rand(rows, blocks, generator=stream(seed, "p"))
    all_equal(minimal.regularizers(p, tau), core_regularizers(p, tau, "code"))


def agents(kind, simulator, network, seed, least):
    """An agent of the core that has not learned, and the specification's policy of its seed."""
    agent = kind(simulator, seed=seed)
    agent.min_probability = least
    policy = minimal.Policy(network, least, seed)
    for one, other in zip(of_minimal(policy), of_scores(agent), strict=True):
        assert torch.equal(one, other)
    assert policy.macs == sum(agent.policy_macs)
    return agent, policy


@settings(max_examples=25)
@given(sizes=SIZES, rows=st.integers(2, 12), least=st.floats(0.001, 0.3), progress=st.floats(0, 1))
@pytest.mark.parametrize("kind", [Reinforce, Condnet])
def test_a_policy_of_a_seed_samples_the_cores_masks_and_has_its_gradient_of_any_returns(
    kind, sizes, rows, least, progress
):
    core, network = both(64, 10, **sizes)
    seed = sizes["seed"]
    simulator = Simulator(rows, dataset="digits", network=core)
    simulator.seed(seed)
    agent, policy = agents(kind, simulator, network, seed, least)
    agent.progress = progress
    expected = collect_rollout(simulator, agent, agent.generator)
    inputs, labels = simulator.data.batch(simulator.indices)
    state = minimal.start(inputs, labels)
    rollout = minimal.play(network, policy, state, stream(seed, "agent draws"))
    for gate, mask in enumerate(rollout.masks):
        assert torch.equal(mask, expected.masks[gate, :, : mask.shape[1]])
        EQUAL(rollout.seen[gate], expected.observations[gate])
    EQUAL(rollout.returns, expected.returns)
    returns = torch.randn(rollout.returns.shape, generator=stream(seed, "test returns"))
    agent.update(dataclasses.replace(expected, returns=returns))
    loss = minimal.reinforce if kind is Reinforce else minimal.condnet
    loss(policy, rollout._replace(returns=returns), progress).backward()
    all_equal([one.grad for one in of_minimal(policy)], [one.grad for one in of_scores(agent)])


@settings(max_examples=25)
@given(sizes=SIZES, rows=st.integers(1, 40), cost_weight=st.floats(0, 5))
def test_the_vector_environment_is_the_cores_episode_after_episode(sizes, rows, cost_weight):
    core, network = both(64, 10, **sizes)
    priced = {"reward_kwargs": {"cost_weight": cost_weight}}
    core_env = ccenv.BlockSelectionVectorEnv(rows, dataset="digits", network=core, **priced)
    env = minimal.BlockSelection(rows, network, minimal.bundled_digits()[0], cost_weight)
    assert env.single_observation_space == core_env.single_observation_space
    assert env.single_action_space == core_env.single_action_space
    seed = sizes["seed"]
    env.action_space.seed(seed)
    seen, expected = (one.reset(seed=seed)[0] for one in (env, core_env))
    EQUAL(torch.from_numpy(seen), torch.from_numpy(expected))
    for _ in range(2 * len(core.num_blocks)):
        action = env.action_space.sample()
        steps = [one.step(action) for one in (env, core_env)]
        same_step(*steps)


def same_step(one, other):
    """Whether two vector environments gave the same: bits of what is counted, else rounding."""
    for mine, theirs in zip(one[:2], other[:2], strict=True):
        EQUAL(torch.from_numpy(mine), torch.from_numpy(theirs))
    for mine, theirs in zip(one[2:4], other[2:4], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    same_info(one[4], other[4])


def same_info(one, other):
    assert {"layer", "mask", "layer_cost", "compute_cost", "macs"} <= one.keys() <= other.keys()
    assert one.keys() >= other.keys() & {"correct", "nll", "label", "prediction", "final_obs"}
    for name, mine in one.items():
        if name == "final_info":
            same_info(mine, other[name])
        elif name in ("nll", "final_obs"):
            EQUAL(torch.from_numpy(mine), torch.from_numpy(other[name]))
        else:
            np.testing.assert_array_equal(mine, other[name], err_msg=name)


def test_gymnasium_accepts_the_vector_environment_in_its_wrappers():
    _, network = both(64, 10, **SMALL)
    env = minimal.BlockSelection(3, network, minimal.bundled_digits()[0])
    env = gym.wrappers.vector.RecordEpisodeStatistics(env)
    env.reset(seed=0)
    *_, info = [env.step(env.action_space.sample()) for _ in range(2)][-1]
    assert info["episode"]["l"].tolist() == [2, 2, 2]


@settings(max_examples=15)
@given(
    sizes=SIZES,
    seed=SEEDS,
    rows=st.integers(8, 40),
    cost_weight=st.floats(0, 3),
    cotrain=st.booleans(),
)
@pytest.mark.parametrize("kind", [Reinforce, Condnet])
def test_a_whole_training_has_the_cores_curve_and_verdict(
    kind, sizes, seed, rows, cost_weight, cotrain
):
    core, _ = both(64, 10, **sizes)
    simulator = Simulator(
        rows,
        dataset="digits",
        network=core,
        weights="cotrain" if cotrain else "frozen",
        reward_kwargs={"cost_weight": cost_weight},
    )
    simulator.seed(seed)
    network, curve = copied(simulator.network), []
    agent, policy = agents(kind, simulator, network, seed, 0.01)
    num_images = 10 * rows - 1
    agent.learn(num_images, lambda _, scalars: curve.append(scalars))
    if kind is Reinforce:
        loss, optimizer = minimal.reinforce, torch.optim.Adam(policy.parameters(), lr=0.05)
    else:
        loss, optimizer = minimal.condnet, torch.optim.SGD(policy.parameters(), lr=5e-5)
    optimizers = [optimizer]
    if cotrain:
        of_network = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
        optimizers.append(of_network)
    train, test = minimal.bundled_digits()
    settings_ = num_images, rows, cost_weight, seed
    trained = minimal.train(network, policy, loss, optimizers, train, *settings_)
    for row, expected in zip(trained, curve, strict=True):
        for name in ("return", "nll", "compute_cost"):
            assert row[name] == pytest.approx(expected[f"episode/{name}"], rel=1e-3, abs=1e-4)
    for draws, deterministic in ((stream(0, "evaluation masks"), False), (None, True)):
        verdict = ccenv.evaluate(simulator, agent, deterministic=deterministic)
        error, cost = minimal.evaluate(network, policy, test, draws)
        assert error == pytest.approx(verdict.error, abs=0.005)
        assert cost == pytest.approx(verdict.compute_cost, abs=1e-3)


FEWER = [
    (
        test_a_policy_of_a_seed_samples_the_cores_masks_and_has_its_gradient_of_any_returns,
        Reinforce,
    ),
    (test_a_policy_of_a_seed_samples_the_cores_masks_and_has_its_gradient_of_any_returns, Condnet),
    (test_the_vector_environment_is_the_cores_episode_after_episode, None),
    (test_a_whole_training_has_the_cores_curve_and_verdict, Reinforce),
    (test_a_whole_training_has_the_cores_curve_and_verdict, Condnet),
]
"""Laws above that take fewer examples in the suite, and their agent."""


@pytest.mark.slow
@pytest.mark.parametrize(("law", "kind"), FEWER)
def test_a_law_of_fewer_examples_holds_with_100(law, kind, monkeypatch):
    monkeypatch.setattr(law, "_hypothesis_internal_use_settings", settings.default)
    law(**({"kind": kind} if kind else {}))


def test_the_digits_are_the_cores():
    for (inputs, labels), split in zip(minimal.bundled_digits(), ("train", "test"), strict=True):
        expected = load_split("digits", split)
        assert torch.equal(inputs, expected.images.flatten(1))
        assert torch.equal(labels, expected.labels)


def test_it_trains_and_prints_error_and_cost(capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    train = functools.partial(minimal.train, batch_size=128)
    monkeypatch.setattr(
        minimal,
        "train",
        lambda *arguments, num_images: train(*arguments, num_images=num_images // 4),
    )
    minimal.main()
    *_, sampled, greedy = capsys.readouterr().out.splitlines()
    for line in (sampled, greedy):
        error, cost, with_policy = map(float, line.split()[-3:])
        assert error < 0.5
        assert 0 < cost < with_policy < 1


@pytest.mark.parametrize("name", ["minimal"])
def test_a_specification_is_short_and_imports_nothing_of_ccenv(name):
    text = (Path(ccenv.__file__).parent / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 400
    nodes = list(ast.walk(ast.parse(text)))
    froms = [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    plain = [one.name for node in nodes if isinstance(node, ast.Import) for one in node.names]
    assert not [one for one in (*froms, *plain) if one.split(".")[0] in ("ccenv", "")]
    assert not [node for node in nodes if getattr(node, "level", 0)]
