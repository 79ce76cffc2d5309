"""A cost limit at the top of the settings: who takes it, who refuses it, and who meets it."""

import pytest

from ccenv import BlockSelectionVectorEnv
from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS
from ccenv.runs.config.settings import make_plan, takes_limit
from ccenv.runs.config.values import parse_pairs
from ccenv.simulator.evaluate import evaluate
from ccenv.tasks.probe import PROBE_SETTINGS

TAKERS = ["budget_hinge", "lagrangian", "pid_lagrangian"]


@pytest.mark.parametrize("reward", TAKERS)
def test_a_limit_reaches_the_reward_that_takes_one(reward):
    plan = make_plan("reinforce", {"reward": reward, "cost_limit": 0.3})
    assert plan.environment["reward_kwargs"] == {"cost_limit": 0.3}
    assert plan.config()["cost_limit"] == 0.3
    assert "cost_limit" not in plan.agent_settings


def test_a_limit_reaches_the_agent_that_takes_one_and_leaves_its_reward_alone():
    plan = make_plan("reinforce_lagrangian", {"cost_limit": 0.3})
    assert plan.agent_settings["cost_limit"] == 0.3
    assert plan.environment["reward"] == "nll_minus_cost"
    assert plan.environment["reward_kwargs"] == {"cost_weight": 0.0}
    other = make_plan("reinforce_lagrangian", {"cost_limit": 0.3, "reward": "negative_nll"})
    assert other.environment["reward_kwargs"] == {}


def test_the_table_of_rewards_knows_who_takes_a_limit():
    found = {name: resolve(name, REWARDS, "reward") for name in REWARDS}
    assert [name for name in REWARDS if takes_limit(found[name])] == TAKERS


def test_a_limit_given_in_either_place_is_the_same_run():
    top = make_plan("reinforce", {"reward": "lagrangian", "cost_limit": 0.3})
    inside = make_plan(
        "reinforce", parse_pairs(["reward=lagrangian", "reward_kwargs.cost_limit=0.3"])
    )
    other = make_plan("reinforce", {"reward": "lagrangian", "cost_limit": 0.2})
    assert top.key() == inside.key() != other.key()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["cost_limit=0"], r"expected cost_limit in \(0, 1\].*got 0"),
        (["cost_limit=1.01"], r"expected cost_limit in \(0, 1\].*got 1.01"),
        (["cost_limit=nan"], "cost_limit"),
        (["cost_limit=-0.1"], r"expected cost_limit in \(0, 1\]"),
        (["cost_limit=much"], "cost_limit to be float or none, got 'much'"),
        (["cost_limit=0.3"], "takes cost_limit, got reward 'accuracy_minus_cost' and agent 'rein"),
        (["reward=lagrangian", "reward_kwargs.cost_limit=2"], r"cost_limit in \(0, 1\].*got 2"),
        (
            ["reward=lagrangian", "reward_kwargs.cost_limit=0.2", "cost_limit=0.3"],
            "expected one cost_limit, got 0.3 and reward_kwargs.cost_limit=0.2",
        ),
        (["reward=vector"], "one number for agents, got 'vector'"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_before_anything_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        make_plan("reinforce", parse_pairs(settings))


def test_a_controlled_price_ends_at_the_limit_on_the_probe():
    # Less than the 0.17 that right answers cost: the price must hold the policy back.
    priced = {"reward": "pid_lagrangian", "reward_kwargs": {"cost_limit": 0.12}}
    priced["reward_kwargs"]["update_every"] = 128
    env = BlockSelectionVectorEnv(128, **PROBE_SETTINGS | priced)
    env.reset(seed=0)
    agent, heard = AGENTS["reinforce"](env, learning_rate=0.03), []
    agent.learn(64_000, lambda images, scalars: heard.append(scalars))
    tail = [scalars["episode/compute_cost"] for scalars in heard[-50:]]
    assert sum(tail) / 50 == pytest.approx(0.12, rel=0.03)
    final = [evaluate(env, agent, split="train", seed=k).compute_cost for k in range(3)]
    assert sum(final) / 3 == pytest.approx(0.12, rel=0.03)
    assert heard[-1]["reward/price"] > 0
