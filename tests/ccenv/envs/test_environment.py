"""Laws of the environment itself: episodes, costs, autoreset, seeds, co-training, bad input."""

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch

from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.envs.scalar import BlockSelectionEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from tests.ccenv.episodes import UNEVEN, same_bits

PROBE = PROBE_SETTINGS


def masks_of(rng, num_envs, width=5, steps=2):
    return [rng.integers(0, 2, (num_envs, width), dtype=np.int8) for _ in range(steps)]


def play(env, seed, actions):
    results = [env.reset(seed=seed)]
    return results + [env.step(action) for action in actions]


def cotrained_course(env, seed):
    """Three batches with an update after each: all that was seen, and the weights at the end."""
    actions = masks_of(np.random.default_rng(1), env.num_envs, steps=2)
    course = [env.reset(seed=seed)]
    for _ in range(3):
        course += [env.step(action) for action in actions]
        course.append((env.update_network(),))
    weights = {k: v.clone() for k, v in env.simulator.network.state_dict().items()}
    return course, weights


def test_a_seeded_reset_restores_weights_optimiser_and_data_order():
    env = BlockSelectionVectorEnv(6, **UNEVEN)
    first, first_weights = cotrained_course(env, 3)
    second, second_weights = cotrained_course(env, 3)
    same_bits(first, second)
    assert all(torch.equal(first_weights[k], second_weights[k]) for k in first_weights)


def test_only_update_network_moves_the_weights_and_each_batch_is_one_version():
    env = BlockSelectionVectorEnv(6, **UNEVEN)
    env.reset(seed=0)
    before = [p.clone() for p in env.simulator.network.parameters()]
    for _ in range(4):
        *_, info = env.step(np.ones((6, 5), dtype=bool))
    after = list(env.simulator.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert (info["network_version"] == 0).all()
    assert set(env.update_network()) == {"network_loss"}
    assert env.update_network() == {}
    *_, info = env.step(np.ones((6, 5), dtype=bool))
    assert (info["network_version"] == 2).all()
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_same_step_hands_out_the_end_and_the_next_start():
    actions = masks_of(np.random.default_rng(0), 4, steps=3)
    same = play(BlockSelectionVectorEnv(4, **UNEVEN), 0, actions)
    waiting = BlockSelectionVectorEnv(4, autoreset_mode="DISABLED", **UNEVEN)
    apart = [*play(waiting, 0, actions[:2]), waiting.reset(), waiting.step(actions[2])]
    _, _, terminated, truncated, info = same[2]
    last_observation, _, _, _, last_info = apart[2]
    assert terminated.all()
    assert not truncated.any()
    np.testing.assert_array_equal(info["final_obs"], last_observation)
    same_bits(info["final_info"], last_info)
    assert info["_final_obs"].all()
    assert info["_final_info"].all()
    np.testing.assert_array_equal(same[2][0], apart[3][0])
    same_bits(same[3], apart[4])
    assert "final_obs" not in same[1][4]


def test_some_rows_cannot_be_reset_alone():
    env = BlockSelectionVectorEnv(2, autoreset_mode="DISABLED", **PROBE)
    with pytest.raises(ValueError, match="go through the layers together"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_info_has_every_documented_key_and_scalars_are_pythons_own():
    env = BlockSelectionEnv(**PROBE)
    _, reset_info = env.reset(seed=0)
    assert reset_info == {"network_version": 0}
    always = {"layer", "mask", "layer_cost", "cost", "compute_cost", "macs", "network_version"}
    always |= {"reward/accuracy", "reward/cost"}
    _, reward, terminated, _, info = env.step(np.ones(4, dtype=np.int8))
    assert info.keys() == always
    assert (type(reward), type(terminated), type(info["macs"])) == (float, bool, int)
    *_, info = env.step(np.ones(4, dtype=np.int8))
    assert info.keys() == always | {"correct", "nll", "label", "prediction"}
    assert type(info["correct"]) is bool


def test_rendering_shows_one_block_map_a_layer():
    env = BlockSelectionEnv(render_mode="ansi", **PROBE)
    env.reset(seed=0)
    env.step(np.array([1, 0, 0, 1]))
    lines = env.render().splitlines()
    assert lines[:2] == ["layer 0  ■□□■", "layer 1  ····"]
    env = BlockSelectionEnv(render_mode="rgb_array", **UNEVEN)
    env.reset(seed=0)
    before = env.render()
    env.step(env.action_space.sample())
    image = env.render()
    assert image.dtype == np.uint8
    assert image.shape == before.shape
    assert (image != before).any()
    assert min(image.shape[:2]) >= 200
    assert env._repr_html_().startswith('<img src="data:image/png;base64,')
    # Gymnasium's wrappers pass no picture on: a notebook shows that of `env.unwrapped`.
    wrapped = gym.make("ccenv:BlockSelection-v0", **UNEVEN)
    wrapped.reset(seed=0)
    assert not hasattr(wrapped, "_repr_html_")
    assert wrapped.unwrapped._repr_html_().startswith("<img ")
    vector = BlockSelectionVectorEnv(3, render_mode="rgb_array", **PROBE)
    vector.reset(seed=0)
    vector.step(np.ones((3, 4), dtype=bool))
    assert [frame.shape for frame in vector.render()] == [(32, 64, 3)] * 3
    assert BlockSelectionVectorEnv(3, **PROBE).render() is None


def test_a_window_shows_what_the_array_holds_and_headless_it_is_silent():
    env, twin = (BlockSelectionEnv(render_mode=mode, **UNEVEN) for mode in ("human", "rgb_array"))
    for one in (env, twin):
        one.reset(seed=0)
        one.step(np.ones(one.action_space.shape, dtype=np.int8))
    assert env.render() is None
    assert (env._window.picture == twin.render()).all()
    env.close()
    assert BlockSelectionEnv(render_mode="human", **PROBE).reset(seed=0)
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        BlockSelectionVectorEnv(3, render_mode="human", **PROBE)


def test_settings_of_a_batch_are_checked():
    with pytest.raises(ValueError, match="multiple of group_size"):
        BlockSelectionVectorEnv(5, group_size=2, **PROBE)
    with pytest.raises(ValueError, match="did you mean 'SAME_STEP'"):
        BlockSelectionVectorEnv(2, autoreset_mode="SAME_STP", **PROBE)
    for nonsense in ([1], 1, None, b"SAME_STEP", {}):
        with pytest.raises(ValueError, match="unknown autoreset_mode"):
            BlockSelectionVectorEnv(2, autoreset_mode=nonsense, **PROBE)
    with pytest.raises(ValueError, match="group_size=1 for a single input"):
        BlockSelectionEnv(group_size=2, **PROBE)


BAD_ACTIONS = {
    "one row": (np.ones(4, dtype=bool), ValueError, "shape"),
    "too wide": (np.ones((2, 5), dtype=bool), ValueError, "shape"),
    "too many rows": (np.ones((3, 4), dtype=bool), ValueError, "shape"),
    "a number": (1, ValueError, "shape"),
    "twos": (np.full((2, 4), 2), ValueError, "0 or 1, got 2"),
    "negative": (np.full((2, 4), -1), ValueError, "0 or 1, got -1"),
    "probabilities": (np.full((2, 4), 0.5), ValueError, "threshold or sample"),
    "NaN": (np.full((2, 4), np.nan), ValueError, "0 or 1, got nan"),
    "text": (np.full((2, 4), "1"), TypeError, "array of bits"),
    "nothing": (None, TypeError, "array of bits"),
}


@pytest.mark.parametrize(("action", "error", "message"), BAD_ACTIONS.values(), ids=BAD_ACTIONS)
def test_a_bad_mask_is_refused_and_the_episode_stays_where_it_was(action, error, message):
    env = BlockSelectionVectorEnv(2, **PROBE)
    env.reset(seed=0)
    with pytest.raises(error, match=message):
        env.step(action)
    assert env.simulator.layer == 0
    env.step(np.ones((2, 4), dtype=bool))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32])
def test_bits_of_any_number_type_are_one_mask(dtype):
    env = BlockSelectionVectorEnv(2, **PROBE)
    env.reset(seed=0)
    bits = np.array([[1, 0, 1, 0], [0, 1, 1, 1]])
    *_, info = env.step(bits.astype(dtype))
    np.testing.assert_array_equal(info["mask"], bits.astype(bool))
    by_column = np.ones((4, 2), dtype=dtype).T
    by_column.flags.writeable = False
    assert env.step(by_column)[4]["mask"].all()


BAD_OPTIONS = {
    "unknown": ({"index": [0]}, "did you mean 'indices'"),
    "too few": ({"indices": [0]}, "one for each input"),
    "outside": ({"indices": [0, 10**6]}, "indices in 0.."),
    "negative": ({"indices": [0, -1]}, "indices in 0.."),
    "fractions": ({"indices": [0.5, 1.0]}, "whole numbers"),
}


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_reset_options_are_refused(options, message):
    env = BlockSelectionVectorEnv(2, **PROBE)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize("view", [BlockSelectionEnv, BlockSelectionVectorEnv])
def test_nothing_goes_on_before_reset_or_after_close(view):
    env = view(**PROBE)
    action = env.action_space.sample()
    with pytest.raises(RuntimeError, match=r"call (begin\(\) or )?reset\(\)"):
        env.step(action)
    env.reset(seed=0)
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(action)
    with pytest.raises(RuntimeError, match="closed"):
        env.reset()


def test_closing_loads_no_drawing_where_no_window_was_open(monkeypatch):
    env = BlockSelectionEnv(**PROBE)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    env.close()
