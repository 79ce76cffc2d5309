"""Laws of the suite: optima by brute force, the score that the environment keeps, names and ids."""

import itertools
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from played import RULES, played, shortened

import ccenv
from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.simulator import Simulator
from ccenv.tasks.catalogue import SKILLS, TASKS
from ccenv.tasks.choices import Choices
from ccenv.tasks.score import FILE, Score

SMALL = {
    "basic": Choices(gates=(4,)),
    "scale": Choices(gates=(8,), domains=8),
    "depth": TASKS["depth-2"].problem,
    "together": TASKS["together-2"].problem,
    "exploration": TASKS["exploration-4"].problem,
}
"""Skill -> the smallest problem of its family: its smallest level, or less where that is large."""


def values_of_all_masks(problem):
    """What each mask earns each domain: probabilities of right answers, costs [domains, masks]."""
    network, split = problem.network().requires_grad_(False), problem.split("test")
    images = split.images[: problem.domains]
    blocks = list(problem.gates)
    right, spent = [], []
    for bits in itertools.product([False, True], repeat=sum(blocks)):
        masks = torch.tensor(bits).expand(len(images), -1).split(blocks, dim=1)
        hidden, macs = network.start(images), torch.zeros(len(images))
        for gate, mask in enumerate(masks):
            macs += network.macs(gate, hidden, mask)
            hidden = network.step(gate, hidden, mask)
        answers = network.logits(hidden).softmax(dim=1)
        label = images[:, -1:].long()
        # A label is wrong with some probability, and then the other one is right.
        own, other = answers.gather(1, label)[:, 0], answers.gather(1, 1 - label)[:, 0]
        right.append((1 - problem.flips) * own + problem.flips * other)
        spent.append(macs / network.dense_macs)
    return torch.stack(right, 1).double().numpy(), torch.stack(spent, 1).double().numpy()


@pytest.mark.parametrize("skill", SMALL)
def test_an_optimum_and_a_reference_equal_brute_force(skill):
    problem = SMALL[skill]
    right, spent = values_of_all_masks(problem)
    gains = right - problem.cost_weight * spent
    assert problem.optimum() == pytest.approx(gains.max(axis=1).mean(), abs=1e-5)
    assert problem.reference() == pytest.approx(gains.mean(axis=0).max(), abs=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_the_best_rule_scores_one_and_the_best_blind_rule_zero(name, monkeypatch, tmp_path):
    task = shortened(monkeypatch, name)
    for rule, expected in zip(RULES[type(task.problem)], (1.0, 0.0), strict=True):
        score = played(task, rule(task.problem), tmp_path / str(expected))
        assert score.score() == pytest.approx(expected, abs=0.01)
        stored = json.loads((tmp_path / str(expected) / FILE).read_text())
        assert stored == score.result()
        assert stored["episodes"] == stored["budget"]
        assert None not in stored["returns"]


def test_there_are_three_levels_a_skill_and_one_of_them_is_quick():
    for skill in SKILLS:
        assert len(list(ccenv.suite(skill))) == 3
    assert [task.skill for task in ccenv.suite(quick=True)] == list(SKILLS)
    for task in ccenv.suite():
        assert task.optimum > task.reference
        assert json.loads(json.dumps(task.settings)) == task.settings


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: list(ccenv.suite("dept")), "unknown skill 'dept': did you mean 'depth'"),
        (lambda: ccenv.suite["dept-8"], "unknown task 'dept-8': did you mean 'depth-8'"),
        (lambda: Simulator(1, **TASKS["depth-2"].settings | {"task": "deth-2"}), "'depth-2'"),
        (lambda: Simulator(1, **TASKS["depth-2"].settings | {"task": {"nam": 1}}), "'name'"),
        (lambda: TASKS["depth-2"].make_vec(2, reward="blockdrop"), "setting of a task"),
        (lambda: TASKS["depth-2"].make_vec(2, group_sice=1), "'group_size'"),
        (lambda: Simulator(1, dataset="digits", task="basic-4"), "settings of"),
        (lambda: load_split("ccenv.tasks.inputs:dept-8", "train"), "no attribute 'dept-8'"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(ask, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")) as told:
        ask()
    assert "\n" not in str(told.value)


class Every:
    """Keeps everything, on any view."""

    def __init__(self, env):
        self.env = env

    def __call__(self, episodes):
        width = self.env.action_space.shape[-1]
        for _ in range(episodes):
            self.env.step(np.ones((self.env.num_envs, width), np.int8))


@pytest.mark.parametrize("view", ["scalar", "vector", "sb3"])
def test_every_view_is_scored_and_a_policy_sees_nothing_of_it(view, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    task = shortened(monkeypatch, "basic-4", 200)
    if view == "scalar":
        env = gym.make("ccenv:suite/basic-4-v0")
        for _ in range(200):
            _, info = env.reset()
            _, _, _, _, told = env.step(np.ones(4, np.int8))
    elif view == "vector":
        env = gym.make_vec("ccenv:suite/basic-4-v0", num_envs=8)
        _, info = env.reset(seed=1)
        for _ in range(25):
            _, _, _, _, told = env.step(np.ones((8, 4), np.int8))
    else:
        env = task.make_sb3(8)
        env.reset()
        info = env.reset_infos[0]
        for _ in range(25):
            _, _, _, infos = env.step(np.ones((8, 4), np.int8))
        told = infos[0]
    assert not {"score", "task", "regret", "optimum"} & {*info, *told}
    score = env.score if view == "sb3" else env.unwrapped.score
    assert score.score() == pytest.approx(0)
    stored = json.loads(Path("runs/suite/basic-4/0", FILE).read_text())
    assert stored["episodes"] == 200
    assert stored["cost"] == [1.0] * 100


def test_nothing_is_written_before_episodes_end_and_others_are_not_overwritten(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    task = shortened(monkeypatch, "basic-4", 100)
    for number in range(2):
        envs = task.make_vec(1)
        envs.reset(seed=0)
        assert not Path("runs/suite/basic-4", str(number)).exists()
        envs.step(np.ones((1, 4), np.int8))
        stored = json.loads(Path("runs/suite/basic-4", str(number), FILE).read_text())
        assert stored["episodes"] == 1
        assert stored["returns"][1:] == [None] * 99


def learned(task, folder, batch=64, seed=3):
    """What an agent's run leaves behind."""
    envs = task.make_vec(batch, seed=seed, score_folder=folder, agent="reinforce")
    agent = resolve("reinforce", AGENTS, "agent")(envs, seed=seed)
    agent.learn(task.episodes)
    return agent, (Path(folder) / FILE).read_bytes()


def test_a_seed_gives_the_same_score_bit_for_bit_and_judging_does_not_count(monkeypatch, tmp_path):
    task = shortened(monkeypatch, "depth-2", 512)
    agent, first = learned(task, tmp_path / "first")
    assert first == learned(task, tmp_path / "second")[1]
    assert json.loads(first)["agent"] == "reinforce"
    assert json.loads(first)["seed"] == 3
    before = agent.env.unwrapped.score.result()
    ccenv.evaluate(agent.env, agent)
    agent.learn(64)
    assert agent.env.unwrapped.score.result() == before


def test_what_stops_goes_on(monkeypatch, tmp_path):
    task = shortened(monkeypatch, "basic-4", 400)
    whole, half = (task.make_vec(100, seed=0, score_folder=tmp_path / f"{i}") for i in range(2))
    for envs in (whole, half):
        for _ in range(2):
            envs.step(np.ones((100, 4), np.int8))
    tree = simulator_state(half.unwrapped.simulator)
    other = task.make_vec(100, seed=0, score_folder=tmp_path / "2").unwrapped
    other.simulator.seed(whole.unwrapped.simulator.images_seed)
    restore_simulator(other.simulator, tree)
    for envs in (whole, other):
        envs.step(np.zeros((100, 4), np.int8))
    assert other.score.result() == whole.unwrapped.score.result()
    assert isinstance(other.score, Score)
