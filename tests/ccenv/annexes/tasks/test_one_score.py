"""One environment, one score: what is judged, copied, pickled, or written in a folder twice."""

import copy
import json
import pickle

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO

import ccenv
from ccenv.agents.base import greedy_rewards
from ccenv.agents.reference_policies import BlockDropout, Dense
from ccenv.annexes.tasks.catalogue import SCORE, TASKS
from ccenv.simulator.evaluate import evaluate_context
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.simulator import Simulator
from tests.ccenv.annexes.tasks.played import shortened

EPISODES = 400


def judges_itself(envs):
    ccenv.evaluate(envs, Dense(envs), split="train", batch_size=100)


def judges_at_a_price(envs):
    evaluate_context(envs, Dense(envs), "cost_weight", [2.0], split="train")


def looks_ahead_by_a_split(envs):
    simulator = envs.unwrapped.simulator
    simulator.on_split("train", 2048).begin(torch.arange(2048))


def compares_with_greedy_masks(envs):
    for _ in range(512):
        greedy_rewards(BlockDropout(envs))


@pytest.mark.parametrize(
    ("trick", "name"),
    [
        (judges_itself, "basic-4"),
        (judges_itself, "loads-2"),
        (judges_at_a_price, "price-wide"),
        (looks_ahead_by_a_split, "depth-2"),
        (compares_with_greedy_masks, "basic-4"),
    ],
)
def test_what_is_judged_before_the_budget_is_spent_is_counted_and_earns_nothing(
    trick, name, monkeypatch, tmp_path
):
    task = shortened(monkeypatch, name, EPISODES)
    files = []
    for number in range(2):
        envs = task.make_vec(4, seed=0, score_folder=tmp_path / str(number))
        if number:
            trick(envs)
        mask = np.ones(envs.action_space.shape, np.int8)
        while envs.unwrapped.score.episodes < EPISODES:
            envs.step(mask)
        # Nothing can be gained by it now.
        trick(envs)
        files.append(json.loads((tmp_path / str(number) / SCORE).read_text()))
        assert envs.unwrapped.score.result()["resets"] == files[-1]["resets"]
    honest, tricked = files
    assert (honest["resets"].pop("judged"), tricked["resets"].pop("judged")) == (0, 2048)
    assert {**honest, "sha256": None} == {**tricked, "sha256": None}


def test_what_was_judged_is_stored_and_a_state_of_before_it_was_counted_goes_on(tmp_path):
    envs = [TASKS["basic-4"].make_vec(4, seed=0, score_folder=tmp_path / str(i)) for i in range(3)]
    judges_itself(envs[0])
    tree = simulator_state(envs[0].unwrapped.simulator)
    for other, judged in zip(envs[1:], (2048, 0), strict=True):
        restore_simulator(other.unwrapped.simulator, tree)
        assert other.unwrapped.score.resets["judged"] == judged
        judges_itself(other)
        assert other.unwrapped.score.resets["judged"] == judged + 2048
        tree["extensions"]["task"]["resets"].pop("judged", None)


HOLDERS = {
    "the vector environment": lambda task, at: task.make_vec(2, seed=0, score_folder=at),
    "Gymnasium's": lambda task, at: gym.make(f"ccenv:{task.id}", seed=0, score_folder=at),
    "in wrappers": lambda task, at: TimeLimit(task.make(seed=0, score_folder=at), 100),
    "Stable-Baselines3's": lambda task, at: task.make_sb3(2, seed=0, score_folder=at),
    "an agent": lambda task, at: Dense(task.make_vec(2, seed=0, score_folder=at)),
    "the simulator": lambda task, at: task.make_vec(2, seed=0, score_folder=at).unwrapped.simulator,
    "the score": lambda task, at: task.make_vec(2, seed=0, score_folder=at).unwrapped.score,
    "the order of inputs": lambda task, at: (
        task.make_vec(2, seed=0, score_folder=at).unwrapped.simulator.order
    ),
    "what judges": lambda task, at: task.make_vec(
        2, seed=0, score_folder=at
    ).unwrapped.simulator.on_split("test", 2),
}
"""What holds a score: (task, folder) -> it."""


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_keeps_a_score_is_neither_copied_nor_pickled(holder, copied, tmp_path):
    kept = HOLDERS[holder](TASKS["drift-1"], tmp_path / "score")
    with pytest.raises(TypeError, match="no copy or pickle of an environment that keeps") as told:
        copied(kept)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "score").exists()


def test_a_shallow_copy_of_a_simulator_is_refused_and_of_an_environment_is_the_same_one(tmp_path):
    envs = TASKS["depth-2"].make_vec(2, seed=0, score_folder=tmp_path)
    simulator, mask = envs.unwrapped.simulator, np.ones((2, 4), np.int8)
    for act in (lambda one: one.begin(), lambda one: one.step(torch.ones(2, 4, dtype=torch.bool))):
        with pytest.raises(ValueError, match="got a copy of it; use the environment itself"):
            act(copy.copy(simulator))
    with pytest.raises(TypeError, match="no copy or pickle"):
        copy.copy(envs.unwrapped.score)
    # As if nothing had been tried.
    copy.copy(envs).step(mask)
    envs.step(mask)
    assert envs.unwrapped.score.episodes == 2
    assert not any(envs.unwrapped.score.resets.values())


def test_settings_states_and_models_of_a_task_are_copied_and_workers_play_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    task = TASKS["basic-4"]
    env = task.make(seed=0)
    for spec in (copy.deepcopy(env.spec), pickle.loads(pickle.dumps(env.spec))):
        assert gym.make(spec).unwrapped.score.task.name == task.name
    assert copy.deepcopy(task.settings) == pickle.loads(pickle.dumps(task.settings))
    simulator = env.simulator
    copy.deepcopy(simulator_state(simulator))
    pickle.dumps([simulator.network, simulator.data, simulator.asked])
    PPO("MlpPolicy", task.make_sb3(2), n_steps=2, batch_size=4, gamma=1.0).save("model")
    workers = gym.make_vec(f"ccenv:{task.id}", num_envs=2, vectorization_mode="async")
    workers.reset(seed=0)
    assert workers.step(np.ones((2, 4), np.int8))[0].shape[0] == 2
    workers.close()


VIEWS = {
    "scalar": lambda task, at: gym.make(f"ccenv:{task.id}", score_folder=at),
    "vector": lambda task, at: task.make_vec(2, score_folder=at),
    "sb3": lambda task, at: task.make_sb3(2, score_folder=at),
    "tensors": lambda task, at: Simulator(
        2, **task.settings | {"task": {"name": task.name, "folder": str(at)}}
    ),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_folder_with_a_score_is_refused_when_an_environment_is_made(view, tmp_path):
    (tmp_path / SCORE).write_text("the worse one")
    with pytest.raises(ValueError, match="expected a score_folder without a score, got") as told:
        VIEWS[view](TASKS["basic-4"], tmp_path)
    assert "\n" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == [SCORE]
    assert (tmp_path / SCORE).read_text() == "the worse one"


def test_of_two_environments_on_one_folder_the_second_one_writes_nothing(monkeypatch, tmp_path):
    task = shortened(monkeypatch, "basic-4", 100)
    first, second = (task.make_vec(1, seed=0, score_folder=tmp_path) for _ in range(2))
    first.step(np.zeros((1, 4), np.int8))
    stored = (tmp_path / SCORE).read_bytes()
    for _ in range(2):
        with pytest.raises(ValueError, match="expected a score_folder without a score, got"):
            second.step(np.ones((1, 4), np.int8))
        assert (tmp_path / SCORE).read_bytes() == stored
        second.reset()
    first.step(np.zeros((1, 4), np.int8))
    assert json.loads((tmp_path / SCORE).read_text())["episodes"] == 2


def test_the_number_of_episodes_is_that_of_the_returns_and_not_set(monkeypatch, tmp_path):
    task = shortened(monkeypatch, "basic-4", EPISODES)
    envs = task.make_vec(4, seed=0, score_folder=tmp_path)
    envs.step(np.ones((4, 4), np.int8))
    with pytest.raises(AttributeError):
        envs.unwrapped.score.episodes = 0
    assert envs.unwrapped.score.episodes == envs.unwrapped.score.counts.sum() == 4
