"""A cost limit of a reward or an agent: what is refused, and who meets it."""

import pytest

from ccenv import BlockSelectionVectorEnv
from ccenv.agents import AGENTS
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import parse_pairs
from ccenv.simulator.evaluate import evaluate


def test_a_limit_reaches_the_agent_that_takes_one_and_leaves_its_reward_alone():
    plan = make_plan("reinforce_lagrangian", {"cost_limit": 0.3})
    assert plan.agent_settings["cost_limit"] == 0.3
    assert plan.environment["reward"] == "nll_minus_cost"
    assert plan.environment["reward_kwargs"] == {"cost_weight": 0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["cost_limit=0.3"], "did you mean 'reward_kwargs.cost_limit'"),
        (["reward=lagrangian", "reward_kwargs.cost_limit=0"], r"cost_limit in \(0, 1\].*got 0"),
        (["reward=lagrangian", "reward_kwargs.cost_limit=2"], r"cost_limit in \(0, 1\].*got 2"),
        (["reward=lagrangian", "reward_kwargs.cost_limit=nan"], "cost_limit"),
        (["reward=lagrangian", "reward_kwargs.cost_limit=much"], "cost_limit"),
        (["reward=vector"], "one number for agents, got 'vector'"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_before_anything_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        # An agent without a limit of its own.
        make_plan("condnet", parse_pairs(settings))


def test_a_controlled_price_ends_at_the_limit_on_the_probe():
    # Less than the 0.17 that right answers cost: the price must hold the policy back.
    priced = {"reward": "pid_lagrangian", "reward_kwargs": {"cost_limit": 0.12}}
    priced["reward_kwargs"]["update_every"] = 128
    env = BlockSelectionVectorEnv(128, **PROBE_SETTINGS | priced)
    env.reset(seed=0)
    agent, heard = AGENTS["reinforce"](env, learning_rate=0.03), []
    agent.learn(64_000, lambda images, scalars: heard.append(scalars))
    # It comes from above, and is some 2 % above by now.
    tail = [scalars["episode/compute_cost"] for scalars in heard[-100:]]
    assert sum(tail) / 100 == pytest.approx(0.12, rel=0.04)
    # The price swings with each batch's cost, and the last policy with it.
    final = [evaluate(env, agent, split="train", seed=k).compute_cost for k in range(3)]
    assert sum(final) / 3 == pytest.approx(0.12, rel=0.2)
    assert heard[-1]["reward/price"] > 0
