"""A model of Stable-Baselines3 is judged as it is, as this package's own agents are."""

import functools
import itertools
import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import VecNormalize

import ccenv
from ccenv.agents.sb3 import A2CAgent, PPOAgent
from ccenv.envs.actions import ActionView
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.simulator.evaluate import evaluate
from tests.ccenv.episodes import UNEVEN, seeded

SEEN = UNEVEN | {"observation": "summary"}
PAGE = Path(__file__).parents[3] / "runs/docs/tutorials/stable_baselines3.md"


def fresh(num_envs=8, **settings):
    env = BlockSelectionVecEnv(num_envs, **SEEN | settings)
    env.seed(0)
    env.reset()
    return env


def same_verdict(one, other):
    assert one.numbers() == other.numbers()
    for left, right in zip(one.masks, other.masks, strict=True):
        assert torch.equal(left, right)
    for left, right in zip(one.keep_probability, other.keep_probability, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("agent_class", [A2CAgent, PPOAgent])
@pytest.mark.parametrize("sample", [True, False])
def test_a_model_is_judged_as_the_agent_that_holds_it(agent_class, sample):
    simulator = seeded(16, **SEEN)
    agent = agent_class(simulator)
    agent.learn(64)
    expected = evaluate(simulator, agent, deterministic=not sample, seed=3)
    same_verdict(
        ccenv.evaluate(agent.vec_env, agent.model, deterministic=not sample, seed=3), expected
    )


@pytest.mark.parametrize(
    ("algorithm", "net_arch", "layers"),
    [
        (A2C, {"pi": [16], "vf": [64]}, ["in", 16, "out"]),
        (PPO, [7, 9], ["in", 7, 9, "out"]),
        (PPO, [], ["in", "out"]),
    ],
)
def test_only_the_actors_macs_are_counted_and_as_by_hand(algorithm, net_arch, layers):
    env = fresh()
    model = algorithm("MlpPolicy", env, policy_kwargs={"net_arch": net_arch}, n_steps=2)
    sizes = [{"in": env.observation_space.shape[0], "out": 5}.get(n, n) for n in layers]
    by_hand = 2 * sum(a * b for a, b in itertools.pairwise(sizes))
    found = evaluate(env, model)
    assert found.policy_cost == by_hand / env.simulator.dense_macs
    assert found.macs - by_hand == pytest.approx(
        found.compute_cost * env.simulator.dense_macs, rel=1e-6
    )


@pytest.mark.parametrize(
    ("algorithm", "view", "outputs"),
    [(DQN, {"code": "menu", "menu": "single"}, 7), (TD3, {"code": "box"}, 5)],
)
def test_a_model_that_acts_through_a_view_is_judged_through_it(algorithm, view, outputs):
    env = ActionViewVecEnv(fresh(), **view)
    model = algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [6]}, buffer_size=64)
    (size,) = env.observation_space.shape
    found = evaluate(env, model)
    assert found.policy_cost == 2 * (size * 6 + 6 * outputs) / env.unwrapped.simulator.dense_macs
    same_verdict(evaluate(env.unwrapped, model), found)
    observation = env.reset()
    actions, _ = model.predict(observation, deterministic=True)
    masks = env.code.masks(actions, np.random.default_rng(0))
    indices = env.unwrapped.simulator.indices
    assert len(indices) == len(masks)
    again = evaluate(env, model, split="train", deterministic=True)
    for row, index in enumerate(indices.tolist()):
        assert again.masks[0][index].tolist() == masks[row][:3].astype(bool).tolist()
    model.env = None
    with pytest.raises(TypeError, match="action view that it learned with"):
        evaluate(env.unwrapped, model)


def test_other_kinds_of_models_are_judged_and_draws_leave_the_global_stream_alone():
    box = ActionViewVecEnv(fresh(), "box", sample=True)
    models = [
        (box, SAC("MlpPolicy", box, buffer_size=64)),
        (fresh(), MaskablePPO("MlpPolicy", fresh(), n_steps=2)),
    ]
    for env, model in models:
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        drawn = functools.partial(evaluate, env, model, deterministic=False)
        first = drawn(seed=1)
        assert torch.equal(torch.rand(1), expected)
        same_verdict(drawn(seed=1), first)
        assert drawn(seed=2).numbers() != first.numbers()
        assert first.policy_cost > 0


def test_a_model_of_the_scalar_environment_is_judged_too():
    env = ActionView(gym.make("BlockSelection-v0", **SEEN), "menu", menu="single")
    model = DQN("MlpPolicy", env, buffer_size=64)
    assert evaluate(env, model).num_images == 500


def test_a_model_behind_a_normaliser_sees_what_it_learned_from():
    env = VecNormalize(fresh(), norm_reward=False)
    model = A2C("MlpPolicy", env, n_steps=2)
    env.obs_rms.mean += 1.0
    moved = evaluate(env, model, deterministic=True)
    with torch.no_grad():
        seen = torch.as_tensor(env.normalize_obs(env.unwrapped.simulator.begin().numpy()))
        bits = model.policy.get_distribution(seen).distribution.probs[:, :3] > 0.5
    indices = env.unwrapped.simulator.indices
    train = evaluate(env, model, split="train", deterministic=True)
    assert torch.equal(train.masks[0][indices], bits)
    assert moved.num_images == 500


def test_the_page_says_what_the_networks_of_each_algorithm_cost():
    bits = BlockSelectionVecEnv(8, observation="summary")
    menu, discrete = (ActionViewVecEnv(bits, "menu", menu="single"), ActionViewVecEnv(bits))
    cost = {
        "PPO": lambda **kwargs: PPO("MlpPolicy", bits, n_steps=2, policy_kwargs=kwargs),
        "DQN": lambda **kwargs: DQN("MlpPolicy", menu, buffer_size=64, policy_kwargs=kwargs),
        "RecurrentPPO": lambda **kwargs: RecurrentPPO(
            "MlpLstmPolicy", discrete, n_steps=2, policy_kwargs=kwargs
        ),
    }
    rows = re.findall(
        r"^\| (\w+)[^|]* \| ([\d.]+) \| ([\d.]+) with `(.*)` \|$", PAGE.read_text(), re.M
    )
    assert [name for name, *_ in rows] == list(cost)
    for name, default, smaller, settings in rows:
        for said, kwargs in ((default, {}), (smaller, eval(f"dict({settings})"))):
            model = cost[name](**kwargs)
            found = evaluate(model.env, model).policy_cost
            assert said == f"{found:.{len(said.partition('.')[2])}f}"
