"""Laws of the suite: optima by brute force, the score that the environment keeps, names and ids."""

import dataclasses
import itertools
import json
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from scipy.optimize import linprog
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.tasks.catalogue import CHOICES, PARTS, SCORE, SKILLS, TASKS, Skill, Task
from ccenv.annexes.tasks.choices import SPREAD, Choices
from ccenv.annexes.tasks.loading import TRIPLES, Loading, qualities, values_of_documents
from ccenv.annexes.tasks.refreshing import NOISE, best_places, posterior, values_of_staleness
from ccenv.annexes.tasks.score import TaskScore
from ccenv.annexes.tasks.updating import UPDATE_PRICE, Updating
from ccenv.base.files import sealed
from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.networks.core.check import bill_of
from ccenv.networks.core.protocol import forward
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.simulator import Simulator
from tests.ccenv.annexes.tasks.played import RULES, played, shortened

SMALL = {
    "basic": Choices(gates=(4,)),
    "scale": Choices(gates=(8,), domains=8),
    "depth": TASKS["depth-2"].problem,
    "together": TASKS["together-2"].problem,
    "exploration": TASKS["exploration-4"].problem,
    "noise": Choices(gates=(4,), flips=0.3, cost_weight=0.1),
    "memory": TASKS["memory-2"].problem,
    "drift": TASKS["drift-1"].problem,
}
"""Skill -> the smallest problem of its family: its smallest level, or less where that is large."""

TOLERANCE = {
    "price": 0.02,
    "budget": 0.05,
    "cotraining": 0.15,
    "loads": 0.03,
    "sharing": 0.03,
    "refresh": 0.03,
    "real": 0.01,
}
"""Of what is drawn, as cost weights, coins and tokens are, and of what has to be learned."""


def values_of_all_masks(problem):
    """What each mask earns each domain: probabilities of right answers, costs [domains, masks]."""
    network, split = problem.network().requires_grad_(False), problem.split("test")
    images = split.images[-problem.domains :]
    blocks = list(problem.gates)
    right, spent = [], []
    for bits in itertools.product([False, True], repeat=sum(blocks)):
        masks = torch.tensor(bits).expand(len(images), -1).split(blocks, dim=1)
        macs = sum(bill_of(network, images, masks)).float()
        answers = forward(network, images, masks).softmax(dim=1)
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


def test_the_optimum_under_drawn_cost_weights_equals_brute_force():
    problem = Choices(gates=(4,), domains=2, sizes=(1, 3), prices=(1.0, 8.0))
    right, spent = values_of_all_masks(problem)
    drawn = np.exp(np.random.default_rng(0).uniform(0, np.log(8), 200_000))
    found = np.mean([(right - price * spent).max(axis=1).mean() for price in drawn[:20_000]])
    assert problem.optimum() == pytest.approx(found, abs=0.005)
    blind = (right.mean(axis=0) - drawn.mean() * spent.mean(axis=0)).max()
    assert problem.reference() == pytest.approx(blind, abs=0.005)


def most_right(right, spent, limit):
    """A linear program over shares of each mask, of each row: the most, and what it spends."""
    rows, masks = right.shape
    found = linprog(
        -right.ravel() / rows,
        A_ub=spent.ravel()[None] / rows,
        b_ub=[limit],
        A_eq=np.kron(np.eye(rows), np.ones(masks)),
        b_eq=np.ones(rows),
    )
    return -found.fun, float(found.x @ spent.ravel()) / rows


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.5])
def test_the_optimum_under_a_limit_equals_a_linear_program_over_all_masks(limit):
    problem = Choices(gates=(4,), domains=2, sizes=(1, 3), cost_limit=limit)
    right, spent = values_of_all_masks(problem)
    assert problem.optimum() == pytest.approx(most_right(right, spent, limit)[0], abs=1e-5)
    alike = [values.mean(axis=0)[None] for values in (right, spent)]
    assert problem.reference() == pytest.approx(most_right(*alike, limit)[0], abs=1e-5)
    # Who spends more than the limit earns less than the optimum, however much that is.
    for cost in (limit + 0.01, 0.7, 1.0):
        assert problem.earned(*most_right(right, spent, cost)) <= problem.optimum()
    # Near the limit as much less as the compute beyond it has brought.
    above = most_right(right, spent, limit + 0.01)
    lost = problem.optimum() - problem.earned(*above)
    assert lost == pytest.approx(above[0] - problem.optimum(), abs=1e-5)


def test_the_optimum_among_distractors_equals_brute_force_by_densities():
    problem = TASKS["generalisation-64"].problem
    images = problem.split("train").images.double().numpy()
    means = problem.signs()[: problem.domains]
    distance = ((images[:, None, :-5] - means) ** 2).sum(axis=2)
    likely = np.exp(-distance / (2 * SPREAD**2))
    likely /= likely.sum(axis=1, keepdims=True)
    masks = np.array([*itertools.product([0, 1], repeat=4)])
    gains = likely @ masks.T - problem.cost_weight * masks.mean(axis=1)
    assert problem.optimum() == pytest.approx(gains.max(axis=1).mean())
    assert problem.reference() == pytest.approx(gains.mean(axis=0).max())


def price_of(task):
    """What the dense network costs at a position; of log-uniform prices their mean."""
    drawn = task.settings.get("context")
    if drawn is None:
        return task.settings["reward_kwargs"].get("cost_weight", 0.0)
    low, high = drawn["cost_weight"]
    return (high - low) / np.log(high / low)


@pytest.mark.parametrize("task", [*ccenv.suite(quick=True)], ids=lambda task: task.name)
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_choosing_is_charged_as_if_every_block_had_cost_so_much_more(task, share):
    problem, simulator = task.problem, task.make_vec(64, seed=0).unwrapped.simulator
    earned, cost, is_over = np.zeros(2), 0.0, False
    draws = torch.Generator().manual_seed(0)
    simulator.begin()
    while not is_over:
        step = simulator.step(torch.rand(64, simulator.max_blocks, generator=draws) < 0.2)
        one, is_over = step.outcome, step.is_over
        more = one.layer_cost + share / simulator.num_layers
        pair = one, dataclasses.replace(one, layer_cost=more)
        earned += [float(problem.value(each, price_of(task)).mean()) for each in pair]
        cost += float(one.layer_cost.mean()) / simulator.positions
    lost = problem.earned(earned[0], cost) - problem.earned(earned[1], cost + share)
    assert problem.charge(share, cost) == pytest.approx(lost, abs=1e-5)
    # Where loads alone cost nothing is charged, nor below a limit.
    free = task.skill in ("loads", "sharing") or (task.skill == "budget" and share < 0.1)
    assert (lost == 0) == free


def best_by_search(size, price, kinds, left, memory=()):
    """What is earned at best of so many tokens, by trying everything."""
    if not left:
        return 0.0
    found = []
    for kind in kinds:
        tried = []
        for expert in range(8):
            after = [*(one for one in memory if one != expert), expert][-size:]
            now = qualities()[kind, expert] - price * (expert not in memory)
            tried.append(now + best_by_search(size, price, kinds, left - 1, tuple(after)))
        found.append(max(tried))
    return float(np.mean(found))


@pytest.mark.parametrize(("size", "price"), [(1, 0.6), (2, 0.6), (8, 0.225)])
def test_the_optimum_of_loading_equals_a_search_of_everything(size, price):
    for kinds in (TRIPLES[0], TRIPLES[100]):
        found = values_of_documents(size, price, 3, kinds)[-1][0]
        assert found == pytest.approx(best_by_search(size, price, kinds, 3))
    for experts in itertools.product(range(8), repeat=2):
        problem = Loading(memory=size, load_price=price, tokens=2)
        each = problem.kinds()[:, 3:]
        earned = sum(qualities()[each[:, place], one].mean() for place, one in enumerate(experts))
        # Tokens of the data differ a little from place to place, for which no rule is chosen.
        assert earned - price * len(set(experts)) <= problem.reference() + 0.02


def lost_by_search(left, belief=0.0):
    """What is lost at least of so many places: every refresh tried, signals by quadrature."""
    if not left:
        return 0.0
    nodes, shares = np.polynomial.hermite_e.hermegauss(13)
    prior, total = belief + 0.3 * (1 - belief), 0.0
    for stale, likely in ((0, 1 - prior), (1, prior)):
        for node, share in zip(nodes, shares / shares.sum(), strict=True):
            now = posterior(prior, stale + NOISE * node)
            tried = 0.9 + lost_by_search(left - 1), 0.45 * now + lost_by_search(left - 1, now)
            total += likely * share * min(tried)
    return total


def test_the_optimum_of_refreshing_equals_a_search_of_everything():
    assert -values_of_staleness(3)[-1][0] == pytest.approx(lost_by_search(3), abs=2e-3)
    for patch in (2, 5, 8):
        lost = []
        for kept in itertools.product([0, 1], repeat=patch):
            stale, total = 0.0, 0.0
            for refresh in kept:
                stale = 0 if refresh else stale + 0.3 * (1 - stale)
                total += 0.9 * refresh + 0.45 * stale
            lost.append(total)
        assert best_places(patch)[0] == pytest.approx(min(lost))


@pytest.mark.parametrize("positions", [8, 16])
def test_the_optimum_of_updating_equals_a_search_of_everything(positions):
    problem = Updating(positions=positions)
    updates = np.array([*itertools.product([0, 1], repeat=positions)])
    halves = updates.reshape(-1, 2, positions // 2).mean(axis=2)
    cost = UPDATE_PRICE * updates.sum(axis=1)
    assert problem.reference() == pytest.approx((halves.prod(axis=1) - cost).max())
    seen = updates[:, 1] * updates[:, positions - 2] - cost
    assert problem.optimum() == pytest.approx(seen.max())


SLOW = ("loads-4", "scale-512", "sharing-64", "sharing-16", "cotraining-8", "cotraining-16")
SLOW += ("real-resnet20", "real-efficientnet")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in TASKS]
)
def test_the_best_rule_scores_one_and_the_best_blind_rule_zero(name, monkeypatch, tmp_path):
    settings, is_exact = TASKS[name].settings, TASKS[name].exact
    task = shortened(monkeypatch, name, 2048 if "episode" in settings else 40_960)
    for rule, expected in zip(RULES[type(task.problem)], (1.0, 0.0), strict=True):
        # What learns along has to be learned first.
        rows, last = (1024, 1.0) if is_exact else (128, 0.5)
        score = played(task, rule(task.problem), tmp_path / str(expected), rows)
        tolerance = TOLERANCE.get(task.skill, 1e-3)
        assert score.score(last) == pytest.approx(expected, abs=tolerance)
        stored = json.loads((tmp_path / str(expected) / SCORE).read_text())
        assert stored == sealed(score.result())
        assert stored["episodes"] == stored["budget"]
        assert None not in stored["returns"]


def test_one_level_of_each_skill_is_quick_and_every_budget_has_a_mean_of_each_part():
    assert [task.skill for task in ccenv.suite(quick=True)] == list(SKILLS)
    for task in ccenv.suite():
        assert task.episodes >= 10 * PARTS
        assert json.loads(json.dumps(task.settings)) == task.settings


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: list(ccenv.suite("dept")), "unknown skill 'dept': did you mean 'depth'"),
        (lambda: ccenv.suite["dept-8"], "unknown task 'dept-8': did you mean 'depth-8'"),
        (lambda: Simulator(1, **TASKS["depth-2"].settings | {"task": "deth-2"}), "'depth-2'"),
        (lambda: Simulator(1, **TASKS["depth-2"].settings | {"task": {"nam": 1}}), "'name'"),
        (lambda: TASKS["depth-2"].make_vec(2, reward="blockdrop"), "open setting of a task"),
        (lambda: TASKS["depth-2"].make_vec(2, group_sice=1), "'group_size'"),
        (lambda: Simulator(1, dataset="digits", task="basic-4"), "settings of"),
        (lambda: load_split("ccenv.annexes.tasks.inputs:dept-8", "train"), "no attribute 'dept-8'"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(ask, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")) as told:
        ask()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gates": 4}, r"expected gates as \(blocks, ...\), got 4"),
        ({"gates": (4,), "domains": 5}, "a block for each of 5 domains at every gate"),
        ({"gates": (4,), "inputs": 1022}, "inputs as a multiple of 4 domains, got 1022"),
        ({"gates": (8, 8), "sizes": (1, 2, 3, 4)}, "sizes for each of 4 domains at one gate"),
        ({"gate": (4,)}, "unknown argument of mine-a 'gate': did you mean 'gates'"),
        ({"gates": (1,), "domains": 1}, "mine-a to have an optimum above its reference"),
    ],
)
def test_a_task_that_is_none_is_refused_in_words(arguments, said):
    task = Task("mine", "a", 1000, CHOICES, arguments)
    with pytest.raises(ValueError, match=said):
        assert task.problem is None or task.reference is None


def test_a_skill_names_a_level_of_its_own():
    with pytest.raises(ValueError, match="unknown level 'b'"):
        Skill("mine", 1000, {"a": {"gates": (4,)}}, quick="b")


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
    stored = json.loads(Path("runs/suite/basic-4/0", SCORE).read_text())
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
        stored = json.loads(Path("runs/suite/basic-4", str(number), SCORE).read_text())
        assert stored["episodes"] == 1
        assert stored["returns"][1:] == [None] * 99


def test_every_row_of_a_group_is_an_episode_and_none_behind_the_budget_counts(
    monkeypatch, tmp_path
):
    task = shortened(monkeypatch, "basic-4", 200)
    envs = task.make_vec(48, group_size=8, seed=0, score_folder=tmp_path)
    for number in range(1, 8):
        # What comes behind the budget would lower the mean.
        envs.step(np.full((48, 4), number <= 4, np.int8))
        assert envs.unwrapped.score.episodes == min(200, 48 * number)
    stored = json.loads((tmp_path / SCORE).read_text())
    assert stored["cost"] == [1.0] * 96 + [0.0] * 4
    assert stored["returns"] == [0.5] * 96 + [0.0] * 4


def learned(task, folder, batch=64, seed=3):
    """What an agent's run leaves behind."""
    envs = task.make_vec(batch, seed=seed, score_folder=folder, agent="reinforce")
    agent = resolve("reinforce", AGENTS, "agent")(envs, seed=seed)
    agent.learn(task.episodes)
    return agent, (Path(folder) / SCORE).read_bytes()


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


@pytest.mark.parametrize("name", ["basic-4", "drift-1", "loads-1"])
def test_what_stops_goes_on(name, monkeypatch, tmp_path):
    task = shortened(monkeypatch, name, 400)
    whole, half = (task.make_vec(100, seed=0, score_folder=tmp_path / f"{i}") for i in range(2))

    def play(envs, batches):
        width = envs.single_action_space.shape[0]
        for place in range(batches * envs.unwrapped.simulator.num_steps):
            envs.step(np.tile(np.arange(width) == place % width, (100, 1)))

    play(whole, 3)
    play(half, 3)
    tree = simulator_state(half.unwrapped.simulator)
    other = task.make_vec(100, seed=0, score_folder=tmp_path / "2").unwrapped
    other.simulator.seed(whole.unwrapped.simulator.images_seed)
    restore_simulator(other.simulator, tree)
    play(whole, 1)
    play(other, 1)
    assert isinstance(other.score, TaskScore)
    expected = whole.unwrapped.score.result()
    expected["resets"]["resumed"] = 1
    assert other.score.result() == expected


def test_inputs_of_a_phase_come_for_their_share_of_the_budget(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    task = shortened(monkeypatch, "drift-4", 10_240)
    simulator = Simulator(512, **task.settings)
    simulator.seed(0)
    seen = []
    for _ in range(20):
        simulator.begin()
        seen.append((simulator.indices // 1024).unique().tolist())
        simulator.step(torch.zeros(512, 8, dtype=torch.bool))
    # 2,048 episodes each: every input of a phase twice.
    assert seen == [[place // 4] for place in range(20)]


@pytest.mark.parametrize("name", ["price-wide", "memory-2", "cotraining-4"])
def test_checkers_pass_on_every_kind_of_task(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ccenv.check_vector_env(TASKS[name].make_vec(4))
        check_env(gym.make(f"ccenv:suite/{name}-v0").unwrapped, skip_render_check=True)
        sb3_check_env(gym.make(f"ccenv:suite/{name}-v0"))


@pytest.mark.parametrize(
    "name", ["together-3", "memory-2", "cotraining-4", "loads-1", "updates-16"]
)
def test_networks_of_tasks_keep_the_laws_of_networks(name):
    problem = TASKS[name].problem
    ccenv.check_network(problem.network(), problem.split("test").images[:6])
