"""Actions: what they mean in each view and code, gate values, and the algorithms they are for."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.envs.actions import ActionView, VectorActionView
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.mdp.action_codes import MAX_MENU, MENUS, BoxProbabilities, MaskMenu, make_code
from tests.ccenv.episodes import EXPERTS, UNEVEN

pytestmark = pytest.mark.usefixtures("no_warnings")

PROBE = PROBE_SETTINGS
ALGORITHMS = {
    "a2c": (A2C, "multi_discrete", {}, {"n_steps": 2}),
    "ppo": (PPO, "multi_discrete", {}, {"n_steps": 2, "batch_size": 32, "stats_window_size": 32}),
    "sac": (SAC, "box", {}, {"learning_starts": 128, "train_freq": 8, "batch_size": 32}),
    "td3": (TD3, "box", {}, {"learning_starts": 128, "train_freq": 8}),
    "dqn": (DQN, "menu", {"menu": "all"}, {"learning_starts": 128, "train_freq": 8}),
}


def rng():
    return np.random.default_rng(0)


def probe_env(**settings):
    return gym.make("BlockSelection-v0", **(PROBE | settings))


@given(bits=st.lists(st.integers(0, 1), min_size=4, max_size=4))
def test_every_mask_can_be_said_in_every_space_that_holds_it(bits):
    wanted = np.array([bits], dtype=bool)
    several = {
        "multi_discrete": np.array([bits]),
        "box": np.array([bits], dtype=np.float32) * 2 - 1,
        "menu": np.array([int("".join(map(str, bits)), 2)]),
    }
    for name, action in several.items():
        settings = {"menu": "all"} if name == "menu" else {}
        code = make_code(name, 4, settings)
        assert code.space.contains(action[0])
        np.testing.assert_array_equal(code.masks(action, rng()), wanted)


def test_a_number_in_the_middle_skips_and_anything_above_it_keeps():
    for low in (-1.0, 0.0):
        middle = (1 + low) / 2
        action = np.array([[low, middle, middle + 0.01, 1.0]], dtype=np.float32)
        assert BoxProbabilities(4, low).masks(action, rng()).tolist() == [
            [False, False, True, True]
        ]


def test_sampled_masks_keep_blocks_as_often_as_the_action_says():
    action = np.tile(np.array([-1.0, -0.5, 0.5, 1.0], dtype=np.float32), (20_000, 1))
    share = BoxProbabilities(4, sample=True).masks(action, rng()).mean(axis=0)
    np.testing.assert_allclose(share, [0.0, 0.25, 0.75, 1.0], atol=0.02)


@given(num_blocks=st.integers(1, 8), name=st.sampled_from(sorted(MENUS)))
def test_a_menu_holds_none_and_all_and_no_mask_twice(num_blocks, name):
    menu = MaskMenu(num_blocks, name).menu
    rows = [tuple(row) for row in menu.tolist()]
    assert menu.dtype == bool
    assert len(set(rows)) == len(rows) <= MAX_MENU
    assert {(False,) * num_blocks, (True,) * num_blocks} <= set(rows)


def test_a_random_menu_depends_on_its_seed_alone():
    first, again, other = (MaskMenu(12, "random", 50, seed).menu for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_maskable_ppo_may_choose_any_mask_of_a_menu_and_no_block_that_is_not_there():
    for make in (
        lambda code: ActionView(gym.make("BlockSelection-v0", **UNEVEN), code),
        lambda code: VectorActionView(ccenv.BlockSelectionVectorEnv(2, **UNEVEN), code),
    ):
        for code, expected in (
            ("menu", [True] * 6),
            ("multi_discrete", [True] * 6 + [True, False] * 2),
        ):
            env = make(code)
            env.reset(seed=0)
            assert np.atleast_2d(env.action_masks())[0].tolist() == expected
    venv = ActionViewVecEnv(BlockSelectionVecEnv(2, **UNEVEN), "menu")
    venv.reset()
    assert np.stack(venv.env_method("action_masks")).tolist() == [[True] * 6] * 2


@pytest.mark.parametrize(
    ("code", "settings", "error", "message"),
    [
        ("menue", {}, ValueError, "did you mean 'menu'"),
        ("menu", {"menu": "prefix"}, ValueError, "did you mean 'prefixes'"),
        ("menu", {"menu": [[1, 0]]}, ValueError, "masks of 4 bits, got 1 of"),
        ("menu", {"menu": []}, ValueError, "1 to 4096 masks"),
        ("menu", {"menu": [[2, 0, 0, 0]]}, ValueError, "to be 0 or 1"),
        ("menu", {"size": 3}, ValueError, "leave size out"),
        ("menu", {"menu": "random", "size": 17}, ValueError, r"size in 2\.\.16"),
        ("box", {"low": -2}, ValueError, "low to be -1 or 0"),
    ],
)
def test_a_view_that_cannot_be_is_refused_with_what_to_do(code, settings, error, message):
    with pytest.raises(error, match=message):
        ActionView(probe_env(), code, **settings)
    with pytest.raises(ValueError, match="menu='random'"):
        MaskMenu(13, "all")


def test_an_action_of_another_kind_is_refused_with_what_was_expected():
    env = ActionView(probe_env(disable_env_checker=True), "menu")
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"numbers in 0\.\.4, got 5"):
        env.step(5)
    with pytest.raises(TypeError, match="whole numbers"):
        env.step(1.0)
    with pytest.raises(ValueError, match="shape"):
        env.step(np.array([1, 2]))
    box = ActionView(probe_env(disable_env_checker=True), "box")
    box.reset(seed=0)
    for bad in (np.full(4, np.nan), np.full(4, 1.5)):
        with pytest.raises(ValueError, match=r"in \[-1, 1\]"):
            box.step(bad)
    with pytest.raises(TypeError, match="one action view only"):
        ActionView(ActionView(probe_env(), "menu"), "box")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_algorithm_of_each_view_learns_through_it_without_a_warning(name):
    algorithm, code, view, settings = ALGORITHMS[name]
    env = ActionViewVecEnv(BlockSelectionVecEnv(32, **PROBE), code, **view)
    model = algorithm("MlpPolicy", env, gamma=1.0, seed=0, device="cpu", **settings)
    assert model.learn(1024).num_timesteps == 1024
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())
    observation = env.reset()
    action, _ = model.predict(observation, deterministic=True)
    assert env.action_space.contains(action[0])


@pytest.mark.parametrize("name", ["ppo", "sac", "dqn"])
def test_the_algorithm_of_each_view_runs_on_scalar_environments_too(name):
    algorithm, code, view, defaults = ALGORITHMS[name]
    wrapped = {"code": code, **view}
    env = make_vec_env(
        "BlockSelection-v0",
        n_envs=2,
        env_kwargs=PROBE,
        wrapper_class=ActionView,
        wrapper_kwargs=wrapped,
        seed=0,
    )
    settings = defaults | ({"batch_size": 4, "n_epochs": 1} if name == "ppo" else {})
    model = algorithm("MlpPolicy", env, gamma=1.0, seed=0, device="cpu", **settings)
    assert model.learn(160).num_timesteps >= 160


LAYERS = {"dataset": "digits", "num_blocks": (3, 5), "block_size": 4, "weights": "cotrain"}
BOTH = pytest.mark.parametrize("settings", [EXPERTS, LAYERS], ids=["experts", "layers"])


def played(env, actions, seed=3):
    """Rewards and infos of an episode."""
    env.reset(seed=seed)
    return [env.step(action)[1::3] for action in actions]


@BOTH
def test_values_of_zero_and_one_are_masks_bit_for_bit(settings):
    masks = ccenv.BlockSelectionVectorEnv(6, **settings)
    weights = ccenv.BlockSelectionVectorEnv(6, action="weight", **settings)
    masks.action_space.seed(0)
    gates = range(masks.simulator.num_layers)
    actions = [masks.action_space.sample() for _ in gates]
    for first, second in zip(
        played(masks, actions),
        played(weights, [a.astype(np.float32) for a in actions]),
        strict=True,
    ):
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1]["mask"], second[1]["mask"])
        assert np.array_equal(first[1]["macs"], second[1]["macs"])


@BOTH
def test_values_count_and_zero_is_not_computed(settings):
    env = ccenv.BlockSelectionVectorEnv(6, action="weight", **settings)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(env.simulator.num_layers)]
    for action in actions:
        action[:, 0] = 0
    whole = [(action > 0).astype(np.float32) for action in actions]
    own, ones = played(env, actions)[-1], played(env, whole)[-1]
    assert not own[1]["mask"][:, 0].any()
    assert own[1]["mask"][:, 1:3].all()
    assert np.array_equal(own[1]["macs"], ones[1]["macs"])
    assert (own[1]["nll"] != ones[1]["nll"]).all()


@pytest.mark.parametrize(
    ("settings", "action", "message"),
    [
        ({}, [0.5, 1.5, 0, 0], r"in \[0, 1\], got 1.5"),
        ({}, [0.5, np.nan, 0, 0], r"in \[0, 1\], got nan"),
        ({}, [0.5, 1], r"shape \[4\], one gate value a block, got \[2\]"),
        ({"action": "mask"}, [0.5, 1, 0, 0], "0 or 1, got 0.5"),
    ],
)
def test_other_actions_are_refused(settings, action, message):
    env = ccenv.BlockSelectionEnv(**EXPERTS | {"action": "weight"} | settings)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(np.array(action))
    with pytest.raises(ValueError, match="unknown action"):
        ccenv.BlockSelectionVectorEnv(4, action="values", **EXPERTS)
