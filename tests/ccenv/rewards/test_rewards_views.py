"""Every reward in every view of the environment; the reward of two numbers; the price in curves."""

import gymnasium as gym
import numpy as np
import pytest

import ccenv
from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.data.toy import PROBE_SETTINGS
from ccenv.envs.stable_baselines import BlockSelectionVecEnv

PROBE = dict(PROBE_SETTINGS)


def drawn_masks(rows, seed=0):
    return np.random.default_rng(seed).random((2, rows, 4)) < 0.5


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_a_vector_reward_is_two_numbers_within_the_declared_space(mode):
    env = ccenv.BlockSelectionVectorEnv(5, reward="vector", autoreset_mode=mode, **PROBE)
    assert env.reward_space == gym.spaces.Box(
        np.array([0, -1], np.float32), np.array([1, 0], np.float32)
    )
    env.reset(seed=0)
    for step, mask in enumerate(drawn_masks(5)):
        _, reward, _, _, info = env.step(mask)
        assert reward.shape == (5, 2)
        assert reward.dtype == np.float32
        assert all(row in env.reward_space for row in reward)
        np.testing.assert_array_equal(reward[:, 1], -info["cost"])
        np.testing.assert_array_equal(reward[:, 0], info["correct"] if step else np.zeros(5))
    if mode == "NEXT_STEP":
        np.testing.assert_array_equal(env.step(mask)[1], np.zeros((5, 2)))
    alone = ccenv.BlockSelectionEnv(reward="vector", **PROBE)
    alone.reset(seed=0)
    _, reward, *_ = alone.step(np.ones(4, dtype=np.int8))
    assert reward in alone.reward_space
    assert ccenv.BlockSelectionEnv(**PROBE).reward_space is None


def test_who_needs_one_number_refuses_a_vector_and_says_so():
    with pytest.raises(ValueError, match="one number for Stable-Baselines3, got 'vector'"):
        BlockSelectionVecEnv(4, reward="vector", **PROBE)
    env = ccenv.BlockSelectionVectorEnv(4, reward="vector", **PROBE)
    env.reset(seed=0)
    for name in ("dense", "reinforce"):
        with pytest.raises(ValueError, match="one number for agents, got 'vector'"):
            resolve(AGENTS[name], {}, "agent")(env, seed=0)


@pytest.mark.parametrize("agent_name", ["reinforce", "rloo", "condnet", "sb3_ppo", "sb3_a2c"])
def test_every_agent_has_curves_of_the_price_and_of_the_rewards_terms(agent_name):
    agent_class = resolve(agent_name, AGENTS, "agent")
    settings = PROBE | agent_class.env_defaults | {"reward": "lagrangian"}
    settings |= {"reward_kwargs": {"cost_limit": 0.1, "update_every": 1}}
    env = ccenv.BlockSelectionVectorEnv(16 * settings.get("group_size", 1), **settings)
    env.reset(seed=0)
    heard = []
    kwargs = {"num_kept": 1} if agent_name == "rloo" else {}
    agent_class(env, seed=0, **kwargs).learn(64, lambda images, scalars: heard.append(scalars))
    found = [scalars["reward/price"] for scalars in heard]
    assert found[0] == 0
    assert found == sorted(found)
    assert found[-1] > 0
    for scalars in heard:
        terms = scalars["reward/log_likelihood"] + scalars["reward/cost"]
        assert scalars["episode/return"] == pytest.approx(terms, abs=1e-4)
