"""Tricks of the suite: what would raise a score without acting better, or happens by accident.

Each is played through the public API. Played honestly, the same policy has the same score.
"""

import json
import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO

import ccenv
from ccenv.annexes.simulator.loads import FastMemory
from ccenv.annexes.tasks.catalogue import PARTS, SCORE, TASKS
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.simulator import Simulator
from tests.ccenv.annexes.tasks.played import best_choice, shortened

EPISODES = 400


def resets_until_cheap(envs):
    """Leaves episodes that have not begun, until one is cheap."""
    for _ in range(30):
        if envs.reset()[0][0, 0] < -0.5:
            return


def best_of_a_price(envs, before=lambda envs: None):
    """The best policy at a drawn cost weight, which does something before each episode."""
    choose, simulator = best_choice(TASKS["price-medium"].problem), envs.unwrapped.simulator
    while envs.unwrapped.score.episodes < EPISODES:
        before(envs)
        envs.step(choose(simulator).numpy().astype(np.int8))
    return envs.unwrapped.score


def one_mask(envs, before=lambda envs: None):
    """One mask for all inputs: the first block."""
    mask = np.zeros(envs.action_space.shape, np.int8)
    mask[:, 0] = 1
    while envs.unwrapped.score.episodes < EPISODES:
        before(envs)
        envs.step(mask)
    return envs.unwrapped.score


def leaves_documents(envs):
    """Never comes to a document's last position."""
    for _ in range(3 * EPISODES):
        envs.reset()
        for _ in range(8):
            envs.step(envs.action_space.sample())
    return envs.unwrapped.score


BY_RESETS = {
    "resets until an input is cheap": ("price-medium", best_of_a_price, resets_until_cheap),
    "resets twice": ("price-medium", best_of_a_price, lambda envs: (envs.reset(), envs.reset())),
    "the same seed before each episode": (
        "generalisation-64",
        one_mask,
        lambda envs: envs.reset(seed=3),
    ),
    "the same seed in a task that drifts": ("drift-16", one_mask, lambda envs: envs.reset(seed=3)),
}
"""Trick -> task, who plays it, and what is done before each episode."""


@pytest.mark.parametrize("trick", BY_RESETS)
def test_resets_change_no_score(trick, monkeypatch, tmp_path):
    name, play, before = BY_RESETS[trick]
    task = shortened(monkeypatch, name, EPISODES)
    honest, tricked = (
        play(task.make_vec(1, seed=3, score_folder=tmp_path / str(i)), *how).result()
        for i, how in enumerate(([], [before]))
    )
    assert honest["episodes"] == EPISODES
    assert tricked["returns"] == honest["returns"]
    assert sum(tricked["resets"].values()) > sum(honest["resets"].values())


def chosen_inputs(task, folder):
    envs = task.make_vec(1, seed=0, score_folder=folder)
    envs.reset(options={"indices": [5]})


def weights_in_a_view(task, folder):
    task.make_vec(1, seed=0, score_folder=folder, action="weight")


def weights_in_a_step(task, folder):
    simulator = task.make_vec(1, seed=0, score_folder=folder).unwrapped.simulator
    width = num_blocks_of(simulator.network)[0]
    simulator.step(torch.ones(1, width, dtype=torch.bool), torch.full((1, width), 0.5))


def other_settings(task, folder):
    Simulator(1, **task.settings | {"reward": "probability_minus_cost", "dtype": "bfloat16"})


def more_memory(task, folder):
    simulator = task.make_vec(4, seed=0, score_folder=folder).unwrapped.simulator
    simulator.extended(FastMemory(8))


def back_in_time(task, folder):
    simulator = task.make_vec(1, seed=0, score_folder=folder).unwrapped.simulator
    before = simulator_state(simulator)
    simulator.step(torch.zeros(1, simulator.max_blocks, dtype=torch.bool))
    restore_simulator(simulator, before)


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        (chosen_inputs, "expected no indices in an environment of the suite"),
        (weights_in_a_view, "expected action='mask' in an environment of the suite"),
        (weights_in_a_step, "expected masks alone in an environment of the suite"),
        (other_settings, "expected the settings of the task"),
        (more_memory, "expected"),
        (back_in_time, "expected a task that has not begun"),
    ],
)
@pytest.mark.parametrize("name", ["basic-4", "loads-2", "sharing-16"])
def test_what_is_the_tasks_own_is_refused_in_one_line(trick, said, name, tmp_path):
    with pytest.raises(ValueError, match=re.escape(said)) as told:
        trick(TASKS[name], tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["loads-2", "refresh-8", "updates-16", "depth-4", "sharing-16"])
def test_an_episode_that_is_left_counts_as_at_worst(name, monkeypatch, tmp_path):
    task = shortened(monkeypatch, name, EPISODES)
    envs = task.make_vec(4, seed=0, score_folder=tmp_path)
    steps = envs.unwrapped.simulator.num_steps - 1
    for episode in range(10):
        for _ in range(steps):
            envs.step(np.zeros(envs.action_space.shape, np.int8))
        envs.reset()
        assert envs.unwrapped.score.episodes == 4 * (episode + 1)
    worst = task.problem.worst(task.settings["reward_kwargs"]["cost_weight"])
    assert envs.unwrapped.score.result()["returns"][:10] == [pytest.approx(worst)] * 10
    assert envs.unwrapped.score.score() < 0


def test_a_document_is_not_stored_in_its_middle(tmp_path):
    envs = TASKS["loads-1"].make_vec(1, seed=0, score_folder=tmp_path)
    envs.step(np.zeros(envs.action_space.shape, np.int8))
    with pytest.raises(RuntimeError, match="between episodes, got one behind 1 gates"):
        simulator_state(envs.unwrapped.simulator)


@pytest.mark.parametrize("name", [one.name for one in ccenv.suite(quick=True)])
def test_nothing_earns_less_than_the_worst(name, monkeypatch, tmp_path):
    task = shortened(monkeypatch, name, 600)
    for number, share in enumerate((0.0, 0.5, 1.0)):
        envs = task.make_vec(100, seed=0, score_folder=tmp_path / str(number))
        draws = np.random.default_rng(0)
        shape = envs.action_space.shape
        while (score := envs.unwrapped.score).episodes < task.episodes:
            envs.step((draws.random(shape) < share).astype(np.int8))
        # Of drawn cost weights the dearest.
        price = task.settings.get("context", {}).get("cost_weight", [0, 0])[1]
        price = price or task.settings.get("reward_kwargs", {}).get("cost_weight", 1.0)
        worst = task.problem.worst(price)
        assert min(score.result()["returns"]) >= task.problem.earned(worst, 1.0) - 1e-6


def test_a_time_limit_and_libraries_that_reset_leave_no_trace_but_a_count(monkeypatch, tmp_path):
    task = shortened(monkeypatch, "updates-16", EPISODES)
    env = TimeLimit(task.make(seed=0, score_folder=tmp_path / "limit"), 5)
    for _ in range(PARTS):
        env.reset()
        while not any(env.step(np.ones(1, np.int8))[2:4]):
            pass
    assert env.unwrapped.score.episodes == PARTS - 1
    assert env.unwrapped.score.result()["resets"]["left"] == PARTS - 1
    assert env.unwrapped.score.score() < 0
    vec_env = task.make_sb3(8, seed=0, score_folder=tmp_path / "library")
    model = PPO("MlpPolicy", vec_env, n_steps=16, batch_size=32, seed=1, gamma=1.0)
    for _ in range(3):
        model.learn(8 * 16)
    assert vec_env.score.episodes == 24
    assert vec_env.score.result()["resets"]["left"] == 0


@pytest.mark.parametrize("name", ["basic-4", "loads-1", "updates-16"])
def test_the_cost_of_an_episode_is_the_mean_over_its_positions(name, monkeypatch, tmp_path):
    task = shortened(monkeypatch, name, 200)
    envs = task.make_vec(100, seed=0, score_folder=tmp_path)
    told, draws = [], np.random.default_rng(0)
    while envs.unwrapped.score.episodes < 200:
        mask = (draws.random(envs.action_space.shape) < 0.5).astype(np.int8)
        told.append(envs.step(mask)[-1]["layer_cost"])
    positions = envs.unwrapped.simulator.positions
    cost = np.array(told).reshape(2, -1, 100).sum(axis=1) / positions
    stored = json.loads((tmp_path / SCORE).read_text())["cost"]
    assert stored == pytest.approx(cost.reshape(PARTS, 2).mean(axis=1))
    assert 0.3 < np.mean(stored) < 0.7


def test_a_task_cannot_be_started_over_and_says_so_to_checkers():
    assert gym.spec("suite/basic-4-v0").nondeterministic
    assert TASKS["basic-4"].make_vec(2).spec.nondeterministic
