"""Every network of the table in the environment: episodes, agents, views, export, resume."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_checker import check_env

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.fused.classifier import reads_symbols
from ccenv.annexes.deploy.short_walk import has_single_rows
from ccenv.base.masks import full_mask
from ccenv.mdp.observations import OBSERVATIONS
from ccenv.networks import NETWORKS
from ccenv.networks.core.abilities import Norms, ability
from ccenv.networks.core.lowering import operations_of
from ccenv.rewards import REWARDS
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import episode, masks_for, same_weights, seeded
from tests.ccenv.networks.tiny import LLAMA, PATCHES
from tests.ccenv.networks.tiny import NETWORKS as TINY

FULLY_CONNECTED = ("mlp", "mlp-dropout-0.2", "mlp-dropout-0.5", "probe")
"""Networks whose sizes are settings of the environment: tested with it."""
COUNTED = ("ngram",)
"""Networks without weights to learn, which are tested by themselves."""


TEXT = {"dataset": "tests.ccenv.episodes:windows"}
PRUNED = {"weights_kwargs": {"schedule_updates": 4}}
NEEDS = {
    "bytes": {"network_kwargs": {"num_blocks": 4, "block_size": 4}},
    # A window whose last symbol ends a patch costs the same under any mask: no budget holds it.
    "patches": {"network_kwargs": PATCHES | {"num_heads": 2, "patch_size": 4}},
    "pruned": PRUNED,
    "pruned_blocks": PRUNED,
    "pruned_bytes": PRUNED,
    "smollm2": {"network_kwargs": {"weights": "random", "sizes": LLAMA}},
    "probe-residual": {"dataset": "probe"},
    "probe-exit": {"dataset": "probe"},
}
"""What a network of the table needs beside its sizes."""


def small(name):
    """Settings of a network that takes milliseconds, by those of `tests.ccenv.networks.tiny`."""
    builder, shape = TINY[name]
    sizes = {"network_kwargs": getattr(builder, "keywords", {})}
    return sizes | (TEXT if shape is None else {}) | NEEDS.get(name, {})


OVER_TIME = ("documents", "staleness")
"""Their weights are set, and they are about sequences: see `tests.ccenv.simulator.test_loads`."""
TESTED_ELSEWHERE = (*FULLY_CONNECTED, *COUNTED, *OVER_TIME)
SMALL = {name: small(name) for name in NETWORKS if name in TINY.keys() - TESTED_ELSEWHERE}
"""Name -> settings of a network that takes milliseconds."""
OF_TEXT = [name for name, settings in SMALL.items() if "windows" in settings.get("dataset", "")]
BY_NAME = [name for name in SMALL if name not in ("smollm2", "efficientnet_lite0")]
"""Networks whose small version has settings that JSON holds."""
KINDS = ("conv", "bytes", "lm", "early_exit", "streaming")
"""One of blocks, of symbols, of sequences, of exits and of many answers."""


def settings_of(name, **more):
    return {"dataset": "digits", "network": name, "weights": "cotrain", **SMALL[name], **more}


def make(name, rows=8, **more):
    return seeded(rows, **settings_of(name, **more))


@pytest.mark.parametrize(
    ("name", "reward"),
    [
        *(("conv", reward) for reward in REWARDS),
        *((name, reward) for name in KINDS[1:] for reward in ("potential", "target_density")),
    ],
)
def test_every_reward_pays_for_it(name, reward):
    simulator = make(name, reward=reward)
    _, steps = episode(simulator, masks_for(simulator))
    assert all(step.reward.isfinite().all() for step in steps)


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("name", [name for name in SMALL if name not in OF_TEXT])
def test_its_observations_are_padded_looks_with_the_index_of_the_gate(name, observation):
    simulator = make(name, observation=observation)
    observations, _ = episode(simulator, masks_for(simulator))
    lengths, places = simulator.observe.lengths, simulator.num_layers
    for gate, seen in enumerate(observations):
        assert seen.shape == (8, simulator.observe.obs_size)
        assert not seen[:, lengths[gate] : max(lengths)].any()
        one_hot = [float(i == gate) for i in range(places)]
        assert seen[:, max(lengths) :].tolist() == [one_hot] * 8


@pytest.mark.parametrize("name", SMALL)
def test_a_budget_is_never_exceeded(name):
    simulator = make(name)
    least = simulator.network.least_macs(0) / simulator.dense_macs
    budget = (least + 1) / 2
    limited = make(name, context={"budget": budget})
    _, steps = episode(limited, [full_mask(8, n) for n in limited.num_blocks])
    cost = steps[-1].outcome.compute_cost
    assert (cost <= budget + 1e-6).all()
    assert (cost >= least - 1e-6).all()


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        *((name, "reinforce") for name in SMALL),
        *(
            (name, agent)
            for name in KINDS
            for agent in ("rloo", "condnet", "actor_critic", "straight_through", "topk")
        ),
    ],
)
def test_agents_act_learn_and_let_it_learn(name, agent):
    agent_class, is_rloo = AGENTS[agent], agent == "rloo"
    wishes = {**agent_class.env_defaults, "group_size": 1 + is_rloo}
    if name in OF_TEXT:
        wishes["observation"] = "layer_input"
    simulator = make(name, **wishes)
    if agent == "topk" and min(simulator.num_blocks) < 2:
        with pytest.raises(ValueError, match=r"num_kept in 1\.\.num_blocks"):
            agent_class(simulator, seed=0)
        return
    own = {"sampling": "independent"} if is_rloo else {}
    agent = agent_class(simulator, seed=0, **own)
    before = [p.clone() for p in simulator.network.parameters()]
    seen = []
    agent.learn(16, lambda images, scalars: seen.append(scalars))
    assert all(np.isfinite(value) for scalars in seen for value in scalars.values())
    after = list(simulator.network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_the_loudest_blocks_are_billed_as_all_of_them(name):
    simulator = make(name)
    norms, gates = ability(simulator.network, Norms), range(simulator.num_layers)
    if norms is None or not all(norms.tells_norms(gate) for gate in gates):
        with pytest.raises(ValueError, match="tells its blocks' norms"):
            AGENTS["magnitude"](simulator, target_density=0.5)
        return
    agent = AGENTS["magnitude"](simulator, target_density=0.5)
    verdict = ccenv.evaluate(simulator, agent, split="validation", batch_size=50)
    only_exits = all(gate.skipped == "stop" for gate in simulator.network.gates)
    assert (name == "probe-exit" or only_exits) == (verdict.policy_cost == 0)
    assert verdict.policy_cost <= 1


@pytest.mark.parametrize("name", KINDS)
def test_it_passes_the_checkers_of_gymnasium_and_stable_baselines3(name):
    env = gym.make("ccenv:BlockSelection-v0", **settings_of(name))
    check_env(env.unwrapped, warn=True)
    ccenv.check_vector_env(ccenv.BlockSelectionVectorEnv(4, **settings_of(name)))


@pytest.mark.parametrize("name", BY_NAME)
def test_an_agent_on_it_is_exported_and_answers_alike(name, tmp_path):
    simulator = make(name, weights="cotrain")
    agent = AGENTS["reinforce"](simulator, seed=0)
    classifier = SkippingClassifier.from_agent(agent)
    classifier.save(tmp_path / "classifier.safetensors")
    loaded = SkippingClassifier.load(tmp_path / "classifier.safetensors")
    images, _ = simulator.data.batch(torch.arange(5))
    assert torch.equal(loaded(images), classifier(images))
    operations = operations_of(loaded.network)
    is_short = len(loaded.image_shape) == 3 and has_single_rows(operations)
    if is_short or reads_symbols(operations):
        fused = loaded.fuse()
        for image in images:
            torch.testing.assert_close(fused(image[None])[0], loaded(image[None]))
        return
    with pytest.raises(ValueError, match="cannot fuse"):
        loaded.fuse()


@pytest.mark.parametrize("name", [*KINDS, "pruned", "skip_gru", "resnet", "probe-exit"])
def test_going_on_from_a_stored_state_is_never_having_stopped(name):
    first, second = make(name), make(name)
    episode(first, masks_for(first))
    first.update_network()
    restore_simulator(second, copy.deepcopy(simulator_state(first)))
    for simulator in (first, second):
        episode(simulator, masks_for(simulator, 1))
        simulator.update_network()
    assert same_weights(first.network, second.network)


def test_a_setting_of_a_fully_connected_network_beside_it_is_refused():
    with pytest.raises(ValueError, match="expected no num_blocks with this network"):
        Simulator(2, **settings_of("conv", num_blocks=(3,)))
    with pytest.raises(ValueError, match="network_kwargs"):
        Simulator(2, **settings_of("conv", network_kwargs={"dept": 8}))


def steady_look(network, state):
    """A look of one's own: the mean of the input, and the number of the gate."""
    means = state.images_by_row.flatten(1).float().mean(dim=1, keepdim=True)
    return torch.cat([means, torch.full_like(means, state.layer)], dim=1)


def wrong_look(network, state):
    return torch.zeros(3)


@pytest.mark.parametrize("kind", [steady_look, f"{__name__}:steady_look"])
@pytest.mark.parametrize("name", [*KINDS, "mlp"])
def test_a_look_of_ones_own_is_used_by_name_or_as_a_function(name, kind):
    settings = settings_of(name) if name in SMALL else {"weights": "cotrain"}
    simulator = seeded(6, **{**settings, "observation": kind, "group_size": 2})
    observations, _ = episode(simulator, masks_for(simulator))
    assert simulator.observe.lengths == (2,) * simulator.num_layers + (0,)
    for gate, seen in enumerate(observations[:-1]):
        means = simulator.state.images_by_row.flatten(1).float().mean(dim=1)
        torch.testing.assert_close(seen[:, 0], means)
        assert seen[:, 1].tolist() == [gate] * 6


def test_a_look_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"float32 \[1, size\] at gate 'layers.0'"):
        Simulator(2, weights="cotrain", observation=wrong_look)
    with pytest.raises(ValueError, match=r"\(network, state\) -> tensor"):
        Simulator(2, weights="cotrain", observation=lambda state: state)
