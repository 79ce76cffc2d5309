"""Agents say how they choose: choosers choose alike, and so does the one call that reads them."""

import dataclasses

import pytest
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from ccenv.agents import AGENTS
from ccenv.agents.base import Agent
from ccenv.agents.rloo import Rloo
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.latency import measure_latency
from ccenv.annexes.deploy.short_walk import fuse_policy
from ccenv.base.masks import as_mask
from ccenv.base.seeding import stream
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.mdp.choosers import mask_of, read_by
from ccenv.mdp.dynamics import initial, transition
from ccenv.mdp.observations import LAST_SYMBOLS
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.lab.benchmarks import front_times
from tests.ccenv.episodes import NUM_SYMBOLS, seeded

ROWS = 48
PIXELS = {"num_blocks": (6, 4)}
UNITS = {
    "dataset": "digits",
    "network": "resnet",
    "network_kwargs": {"depth": 8, "width": 4},
    "weights": "cotrain",
    "observation": "layer_input",
}
FUSED_AGENTS = [
    name
    for name in AGENTS
    if getattr(AGENTS[name], "choosers", Agent.choosers) is not Agent.choosers and name != "hash"
]
"""Those that say how they choose, and do not choose by symbols."""
RELU = {"net_arch": {"pi": [7, 5], "vf": [4]}, "activation_fn": torch.nn.ReLU}
AFFINE = {"net_arch": {"pi": [], "vf": [4]}}
OTHERWISE = [
    ("condnet", {"variant": "text"}),
    ("straight_through", {"sampling": "threshold", "hidden_units": 4}),
    ("rloo", {"sampling": "independent"}),
    ("topk", {"bias_rate": 0.1}),
    ("topk", {"bias_rate": 0.1, "hidden_units": 4}),
    ("gumbel", {"sampling": "ordered"}),
    ("ppo", {"remembers": False}),
    ("ppo", {"num_kept": 2}),
    ("sb3_ppo", {"policy_kwargs": RELU}),
    ("sb3_a2c", {"policy_kwargs": AFFINE}),
]
OF_UNITS = [
    ("reinforce", {}),
    ("reinforce", {"hidden_units": 3}),
    ("actor_critic", {}),
    ("condnet", {}),
    ("ppo", {}),
    ("rloo", {"sampling": "independent"}),
    ("sb3_ppo", {}),
]


TEXT = {
    "dataset": "tests.ccenv.episodes:windows",
    "network": "bytes",
    "network_kwargs": {"num_blocks": [6, 4], "block_size": 3, "look_tokens": 3},
    "weights": "cotrain",
    "reward": "negative_nll",
    "observation": LAST_SYMBOLS,
}
OF_TEXT = [
    *(
        ("rloo", {"embedding_size": 4} | more)
        for more in ({}, {"sampling": "independent"}, {"hidden_units": 5})
    ),
    *(("rloo", {"embedding_size": "one_hot"} | more) for more in ({}, {"hidden_units": 5})),
    ("rloo", {"observation": "layer_input"}),
    ("rloo", {}),
    ("topk", {"embedding_size": 4}),
    ("condnet", {"observation": "layer_input"}),
    ("sb3_ppo", {}),
    ("hash", {}),
    ("hash", {"num_hashed": 2, "num_kept": 3}),
    ("dense", {}),
    ("block_dropout", {}),
]


PRICED = TEXT | {"context": {"cost_weight": [0.1, 0.5]}, "reward": "accuracy_minus_cost"}


def make_agent(settings, name, given):
    """An agent with noise on its weights, so that both answers come."""
    builder = AGENTS[name]
    own = {key: value for key, value in given.items() if key != "observation"}
    seen = {key: value for key, value in given.items() if key == "observation"}
    env = BlockSelectionVectorEnv(ROWS, **builder.env_defaults | settings | seen)
    env.reset(seed=0)
    agent = builder(env, **own)
    for tensor in agent.parameters().values():
        if tensor.is_floating_point():
            tensor.data.add_(torch.randn(tensor.shape, generator=stream(0, "noise")))
    return agent


CASES = [
    *((PIXELS, name, {}) for name in FUSED_AGENTS),
    *((PIXELS, *case) for case in OTHERWISE),
    *((TEXT, *case) for case in OF_TEXT),
    *((UNITS, *case) for case in OF_UNITS),
    *((PRICED, "rloo", {"embedding_size": size}) for size in (0, 4, "one_hot")),
]


@pytest.mark.parametrize(("settings", "name", "given"), CASES)
def test_a_chooser_chooses_what_its_agent_chooses_gate_by_gate(settings, name, given):
    agent = make_agent(settings, name, given)
    network, observe = agent.simulator.network, agent.simulator.observe
    choosers = [agent.choosers(deterministic=greedy) for greedy in (True, False)]
    draws = [stream(0, "masks") for _ in range(2)]
    state, looks = initial(network, *agent.simulator.data.batch(torch.arange(ROWS))), []
    # A mixture of two kinds of draws is drawn by the agent alone.
    mixes = name == "ppo" and max(agent.num_blocks) > 1 and "num_kept" not in given
    assert (choosers[1] is None) == mixes
    for gate, blocks in enumerate(agent.num_blocks):
        seen, uniform = observe(state), torch.rand(ROWS, blocks, generator=draws[0])
        looks.append(seen[:, : observe.lengths[gate]])
        with torch.no_grad():
            for own, generator in zip(choosers, (None, draws[1]), strict=True):
                if own is None:
                    continue
                mask = as_mask(agent.act(seen, gate, generator), blocks)
                with FlopCounterMode(display=False) as counter:
                    found = mask_of(own[gate], read_by(own[gate], looks), uniform, blocks)
                assert torch.equal(found, mask)
                # The counter takes a product and a sum for two; SB3's actors see padded looks.
                billed = 2 * ROWS * agent.policy_macs[gate]
                spent = counter.get_total_flops()
                assert spent == billed or (name.startswith("sb3") and 0 < spent < billed)
        state, _ = transition(network, state, mask)


END_TO_END = [
    (PIXELS, "rloo", {}),
    (PIXELS, "sb3_ppo", {}),
    (TEXT, "rloo", {"embedding_size": "one_hot"}),
    (TEXT, "hash", {}),
    (UNITS, "reinforce", {}),
]


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize(("settings", "name", "given"), END_TO_END)
def test_an_agent_is_exported_and_in_one_call_answers_as_the_classifier(
    settings, name, given, drawn
):
    agent = make_agent(settings, name, given)
    classifier = SkippingClassifier.from_agent(agent, **given)
    inputs, _ = agent.simulator.data.batch(torch.arange(30))
    fused = classifier.fuse(deterministic=not drawn)
    # Single rows of stages go another way.
    for rows in (inputs, *inputs[:4].split(1)):
        draws = [stream(0, "masks") if drawn else None for _ in range(2)]
        logits, masks = fused(rows, generator=draws[0])
        expected, theirs = classifier.classify(rows, draws[1], deterministic=not drawn)
        assert all(torch.equal(mine, other) for mine, other in zip(masks, theirs, strict=True))
        assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        # Without a generator the inputs themselves seed the draws.
        assert_close(fused(rows)[0], classifier(rows, deterministic=not drawn))


class HalvedLook(FlattenExtractor):
    def forward(self, observations):
        return super().forward(observations) / 2


OTHER_ACTORS = [
    {"activation_fn": torch.nn.ELU},
    {"net_arch": [4], "features_extractor_class": HalvedLook},
]


@pytest.mark.parametrize("actor", OTHER_ACTORS)
def test_an_actor_that_is_no_chain_of_affine_maps_is_not_fused(actor):
    builder = AGENTS["sb3_ppo"]
    env = BlockSelectionVectorEnv(num_envs=8, **builder.env_defaults)
    env.reset(seed=0)
    look, shape = env.simulator.observe, (1, 8, 8)
    assert (
        fuse_policy(env.simulator.network, builder(env), look, shape, deterministic=False)
        is not None
    )
    agent = builder(env, policy_kwargs=actor)
    assert fuse_policy(env.simulator.network, agent, look, shape, deterministic=False) is None


def test_agents_of_a_context_are_not_fused():
    simulator = seeded(12, group_size=3, context={"budget": [0.1, 0.5]}, **TEXT)
    agent = Rloo(simulator, embedding_size=2)
    assert (
        fuse_policy(simulator.network, agent, simulator.observe, (6,), deterministic=False) is None
    )
    with pytest.raises(ValueError, match="without a context"):
        SkippingClassifier.from_agent(agent, embedding_size=2).fuse()


def test_latency_is_told_beside_the_fastest_way_of_the_dense_network():
    agent = make_agent(TEXT, "rloo", {"embedding_size": 4})
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
    found = front_times.by_size(Sweep("texts", "d", cells, 1.0, TEXT, (0,)))
    assert [one.labels for one in found] == [["dense"], ["hash", "again"], ["two"]]
    for one in found:
        logits, _ = front_times.make_pass(one, 5, True)()
        assert logits.shape == (5, NUM_SYMBOLS)
