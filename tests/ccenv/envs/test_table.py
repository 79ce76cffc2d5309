"""Laws of the table as an environment: what is looked up is what the simulated one computes."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import ccenv
from ccenv.envs.tables.views import BlockSelectionTableEnv
from ccenv.mask_table import build
from ccenv.simulator.simulator import Simulator

NAME = "BlockSelectionTable-v0"


@pytest.fixture(scope="module")
def simulator():
    found = Simulator(16, dataset="probe", network="probe-residual", split="test")
    found.seed(0)
    return found


@pytest.fixture(scope="module")
def table(simulator, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "probe.safetensors"
    build(simulator.network, simulator.data, path, limit=64, batch_size=16)
    return str(path)


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_gymnasiums_checker_is_silent(table, mode):
    check_env(gym.make(NAME, table=table, render_mode=mode).unwrapped)


@pytest.mark.parametrize("by_gate", [False, True])
def test_a_picture_shows_the_masks_so_far(table, by_gate):
    env = gym.make(NAME, table=table, by_gate=by_gate, render_mode="ansi")
    env.reset(seed=0)
    rows = [f"layer {gate}  ·" for gate in range(4)]
    assert env.render().splitlines() == [*rows, "started"]
    for gate, bit in enumerate([1, 0, 1, 0]):
        _, _, is_over, _, info = env.step([bit] if by_gate else [1, 0, 1, 0])
        for row in range(gate + 1 if by_gate else 4):
            rows[row] = f"layer {row}  {'■□'[row % 2]}"
        *shown, status = env.render().splitlines()
        assert shown == rows
        assert status.startswith(f"cost {info['compute_cost']:.3f}")
        if is_over:
            break
    assert status.endswith("correct" if info["correct"] else "wrong")
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        BlockSelectionTableEnv(table, render_mode="human")


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_the_vector_checker_is_silent_in_every_autoreset_mode(table, mode):
    ccenv.check_vector_env(gym.make_vec(NAME, num_envs=3, table=table, autoreset_mode=mode))


def test_a_batchs_outcome_is_the_simulated_environments(table, simulator):
    env, generator = gym.make_vec(NAME, num_envs=16, table=table), np.random.default_rng(0)
    for _ in range(20):
        images, masks = generator.integers(64, size=16), generator.random((16, 4)) < 0.5
        looks, _ = env.reset(seed=0, options={"indices": images})
        simulator.begin(torch.from_numpy(images))
        assert np.array_equal(looks, simulator.network.look(0, simulator.state.hidden).numpy())
        total = 0.0
        for bits in torch.from_numpy(masks).split(list(simulator.num_blocks), dim=1):
            step = simulator.step(bits)
            total = total + step.reward
        _, reward, terminated, _, info = env.step(masks)
        np.testing.assert_allclose(reward, total.numpy(), atol=1e-6)
        assert terminated.all()
        assert np.array_equal(info["macs"], step.outcome.macs.numpy())
        assert np.array_equal(info["compute_cost"], step.outcome.compute_cost.numpy())
        assert np.array_equal(info["mask"], masks)
        assert np.array_equal(info["image"], images)


def test_a_row_of_the_batch_is_the_scalar_environment(table):
    batch, one = gym.make_vec(NAME, num_envs=5, table=table), gym.make(NAME, table=table)
    images = np.arange(5)
    looks, _ = batch.reset(seed=1, options={"indices": images})
    actions = batch.action_space.sample()
    _, rewards, _, _, infos = batch.step(actions)
    for row in range(5):
        look, _ = one.reset(seed=1, options={"indices": [row]})
        assert np.array_equal(look, looks[row])
        _, reward, terminated, truncated, info = one.step(actions[row])
        assert (reward, terminated, truncated) == (rewards[row], True, False)
        for name, value in info.items():
            assert np.array_equal(value, infos[name][row]), name


def test_a_pass_shows_every_image_once(table):
    env = gym.make_vec(NAME, num_envs=16, table=table)
    env.reset(seed=3)
    seen = [env.step(env.action_space.sample())[4]["image"] for _ in range(4)]
    assert sorted(np.concatenate(seen)) == list(range(64))


def test_terms_sum_to_the_reward_under_every_score(table):
    for score in ("right", "log_likelihood"):
        env = gym.make(NAME, table=table, score=score, cost_weight=0.5)
        env.reset(seed=0)
        _, reward, _, _, info = env.step(env.action_space.sample())
        assert reward == pytest.approx(info["reward/score"] + info["reward/cost"])
        assert info["reward/cost"] == pytest.approx(-0.5 * info["cost"])


def test_ids_and_settings_survive_json(table):
    spec = gym.make(NAME, table=table, cost_weight=2.0).spec.to_json()
    assert json.loads(spec)["kwargs"]["cost_weight"] == 2.0
    assert gym.make(gym.envs.registration.EnvSpec.from_json(spec)).unwrapped.episodes.num_units == 4


def test_what_is_wrong_is_refused(table, tmp_path):
    with pytest.raises(FileNotFoundError):
        gym.make(NAME, table=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="score"):
        gym.make(NAME, table=table, score="rihgt")
    env = gym.make(NAME, table=table).unwrapped
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(4))
    for indices in ([64], [-1], [0, 1]):
        with pytest.raises(ValueError, match="indices"):
            env.reset(options={"indices": indices})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="0 or 1"):
        env.step(np.full(4, 0.5))
