"""The sweeps of reward shapings: who learns under what, and that every combination runs."""

import dataclasses

import pytest

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS, make_reward
from ccenv.runs.commands import compare
from ccenv.runs.sweeps import SWEEPS

NAMES = ["shapings", "shapings-mnist"]


def options_for(sweep, tmp_path):
    folders = [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]
    options = compare.make_parser().parse_args([sweep.name, "--jobs", "1", *folders])
    options.sweep = sweep
    return options


def pairs_of(sweep):
    learning = [cell for cell in sweep.cells if "reward" in cell.settings]
    return {(cell.agent, cell.settings["reward"]) for cell in learning}


@pytest.mark.parametrize("name", NAMES)
def test_six_agents_learn_under_every_reward_of_one_number_with_five_seeds(name):
    # Of mixtures of experts, and younger than what is recorded.
    others = [reward for reward in REWARDS if reward != "balance"]
    one_number = [reward for reward in others if not make_reward(reward).is_vector]
    pairs = pairs_of(SWEEPS[name])
    agents = {agent for agent, _ in pairs} - {"reinforce_lagrangian"}
    assert len(agents) == 6
    assert {(agent, reward) for agent in agents for reward in one_number} <= pairs
    assert len(SWEEPS[name].seeds) == 5


def test_agents_that_do_not_hear_the_reward_are_not_told_one():
    deaf = [n for n in AGENTS if "whatever the environment's reward" in doc_of(n)]
    by_slopes = {"topk", "noisy_topk", "straight_through", "gumbel", "dynamic_gate"}
    assert set(deaf) == {"condnet", "act", "pondernet", *by_slopes}
    assert not {agent for agent, _ in pairs_of(SWEEPS["shapings"])} & set(deaf)


def doc_of(agent):
    return " ".join((resolve(agent, AGENTS, "agent").__doc__ or "").split())


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_has_the_same_arguments_for_every_agent(name):
    arguments = {}
    for cell in SWEEPS[name].cells:
        if "reward" in cell.settings:
            arguments.setdefault(cell.settings["reward"], []).append(cell.settings["reward_kwargs"])
    assert all(given == several[0] for several in arguments.values() for given in several)


@pytest.mark.parametrize("name", NAMES)
def test_no_agent_has_two_prices_that_move(name):
    moving = {("reinforce_lagrangian", reward) for reward in ("lagrangian", "pid_lagrangian")}
    assert not moving & pairs_of(SWEEPS[name])


@pytest.mark.slow
def test_every_agent_and_every_reward_runs(tmp_path, capsys):
    small = SWEEPS["shapings"].miniature()
    learning = [cell for cell in small.cells if "reward" in cell.settings]
    agents = list(dict.fromkeys(cell.agent for cell in learning))[:6]
    rewards = dict.fromkeys(cell.settings["reward"] for cell in learning)
    wanted = {(agents[i % len(agents)], reward) for i, reward in enumerate(rewards)}
    wanted |= {("reinforce_lagrangian", "budget_hinge")}
    some = [c for c in small.cells if (c.agent, c.settings.get("reward")) in wanted]
    assert len(some) == len(wanted)
    sweep = dataclasses.replace(small, cells=tuple(some))
    assert compare.compare(options_for(sweep, tmp_path)) == 0
    shown = capsys.readouterr().out
    assert all(cell.label in shown for cell in some)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_combination_runs(name, tmp_path, capsys):
    sweep = SWEEPS[name].miniature()
    assert pairs_of(sweep) == pairs_of(SWEEPS[name])
    assert compare.compare(options_for(sweep, tmp_path)) == 0
    shown = capsys.readouterr().out
    assert all(cell.label in shown for cell in sweep.cells)
