"""The sweeps of reward shapings: who learns under what, and that every combination runs."""

import pytest

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS, make_reward
from ccenv.runs.sweeps import SWEEPS

NAMES = ["shapings", "shapings-mnist"]


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
