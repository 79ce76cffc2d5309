"""Laws of settings of agents: frozen records, given by keywords; a base class for short agents."""

import dataclasses
import inspect

import pytest

from ccenv.agents import AGENTS, PolicyGradient
from ccenv.agents.rloo import Rloo
from ccenv.base.registry import resolve
from ccenv.runs.config.agent_settings import (
    agent_parameters,
    explained_of_class,
    find_agent,
    settings_help,
)
from ccenv.runs.config.settings import make_plan
from tests.agents.probes import make_agent, share_of_optimal_masks


class AboveMedian(PolicyGradient):
    """An agent of five lines."""

    def advantages(self, rollout):
        return rollout.returns - rollout.returns.median(dim=1, keepdim=True).values


class WithOwn(Rloo):
    """One that adds a keyword to an agent's record."""

    def __init__(self, env, *, seed=0, mine=1, **settings):
        super().__init__(env, seed=seed, **settings)
        self.mine = mine


@pytest.mark.parametrize("name", AGENTS)
def test_a_constructor_has_at_most_eight_arguments_and_every_setting_says_what_it_is(name):
    found = find_agent(name)
    assert len(inspect.signature(found).parameters) <= 8
    if name.startswith("sb3"):
        return
    own, takes_more = agent_parameters(found)
    assert not takes_more
    assert own.keys() <= explained_of_class(found).keys()
    listed = [line.strip().partition("=")[0] for line in settings_help(name)]
    assert listed[-len(own) :] == list(own) or not own


@pytest.mark.parametrize("name", ["reinforce", "rloo", "topk", "condnet", "wta_retrieval"])
def test_a_record_is_frozen_and_holds_what_was_given_by_keyword(name):
    kind = resolve(name, AGENTS, "agent").settings_class
    record = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.learning_rate = 1.0
    with pytest.raises(TypeError, match="nothing_like_it"):
        kind(nothing_like_it=1)


def test_an_agent_of_five_lines_learns_the_probe_and_takes_the_settings_of_its_base_class():
    agent = make_agent(f"{__name__}:AboveMedian", seed=0, learning_rate=0.03)
    agent.learn(64_000)
    assert share_of_optimal_masks(agent) >= 0.95
    assert make_plan(f"{__name__}:AboveMedian", {"num_kept": 2}).agent_settings["num_kept"] == 2


def test_a_keyword_of_a_subclass_stands_beside_the_record_and_a_wrong_name_beside_neither():
    path = f"{__name__}:WithOwn"
    plan = make_plan(path, {"mine": 3, "num_kept": 1})
    assert plan.chosen()["mine"] == 3
    assert plan.chosen()["num_kept"] == 1
    for agent, wrong in ((path, "minee"), ("rloo", "num_keept"), ("condnet", "hidden_units")):
        with pytest.raises(ValueError, match="unknown setting"):
            make_plan(agent, {wrong: 1})
    with pytest.raises(ValueError, match="num_kept"):
        make_plan("rloo", {"num_keept": 1})
