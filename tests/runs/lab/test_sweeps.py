"""What recorded sweeps hold: choices that validation made, rows that are trained alike."""

import json
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from ccenv.agents import AGENTS
from ccenv.agents.sb3 import A2CAgent
from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS, make_reward
from ccenv.runs.config.settings import make_plan
from ccenv.runs.stats.measures import dataset_of
from ccenv.runs.sweeps import SWEEPS

RECORDED = Path(__file__).parents[3] / "runs/results"
EQUAL_COST = [name for name in SWEEPS if name.startswith("equal-cost-")]
CHOSEN = {"learning_rate", "weight_decay", "teacher_units", "distill_weight", "teacher_temperature"}
"""What validation chooses; a warm start is one of conditional networks."""
SHAPINGS = ["shapings", "shapings-mnist"]


def plans_of(sweep):
    return [make_plan(cell.agent, {**sweep.settings, **cell.settings}) for cell in sweep.cells]


@pytest.mark.parametrize("agent", ["condnet", "sb3_a2c"])
def test_what_digits_uses_has_the_largest_mean_reward_on_validation_inputs(agent):
    rewards = defaultdict(list)
    for cell in json.loads((RECORDED / "digits-settings.json").read_text())["cells"]:
        (judged,) = (e for e in cell["evaluations"] if e["split"] == "validation")
        rewards[cell["label"]].append(judged["mean_return"])
    cells = SWEEPS["digits-settings"].cells
    assert {len(rewards[cell.label]) for cell in cells} == {3}
    candidates = [cell for cell in cells if cell.agent == agent]
    best = max(candidates, key=lambda cell: statistics.mean(rewards[cell.label])).settings
    (used,) = (cell for cell in SWEEPS["digits"].cells if cell.agent == agent)
    if agent == "sb3_a2c":
        assert best["learning_rate"] == A2CAgent.defaults["learning_rate"]
    else:
        assert best == used.settings


@pytest.mark.parametrize("name", EQUAL_COST)
def test_dense_and_conditional_networks_are_trained_alike(name):
    plans = plans_of(SWEEPS[name])
    alike = {
        (
            p.program.images,
            p.program.batch_size,
            dataset_of({"settings": {"environment": p.environment}}),
            p.environment["weights"],
        )
        for p in plans
    }
    assert len(alike) == 1
    first = plans[0].environment["weights_kwargs"]
    for plan in plans:
        own = plan.environment["weights_kwargs"]
        changed = {name for name in own if own[name] != first.get(name)}
        assert changed <= CHOSEN | {"warm_start"}
        assert "warm_start" not in changed or plan.agent != "dense"


@pytest.mark.parametrize("name", EQUAL_COST)
def test_what_is_tried_on_conditional_networks_is_tried_on_dense_ones(name):
    tried = {True: set(), False: set()}
    for plan in plans_of(SWEEPS[name]):
        own = plan.environment
        kwargs = {k: v for k, v in own["weights_kwargs"].items() if k in CHOSEN}
        way = (str(sorted(kwargs.items())), own["network"], own["transforms"])
        tried[plan.agent == "dense"].add(way)
    dropped = {way for way in tried[False] if "dropout" in way[1]}
    starts = {way for way in tried[False] if "teacher_units" in way[0] and "distill" not in way[0]}
    assert tried[False] - dropped - starts <= tried[True]
    assert not dropped or any("dropout" in way[1] for way in tried[True])


@pytest.mark.parametrize("name", SHAPINGS)
def test_agents_learn_under_every_reward_of_one_number_which_has_the_same_arguments(name):
    cells = [cell for cell in SWEEPS[name].cells if "reward" in cell.settings]
    pairs = {(cell.agent, cell.settings["reward"]) for cell in cells}
    # Of problems over time: younger than what is recorded.
    younger = "probability_minus_cost"
    one_number = [r for r in REWARDS if r != younger and not make_reward(r).is_vector]
    agents = {agent for agent, _ in pairs} - {"reinforce_lagrangian"}
    assert {(agent, reward) for agent in agents for reward in one_number} <= pairs
    arguments = defaultdict(list)
    for cell in cells:
        arguments[cell.settings["reward"]].append(cell.settings["reward_kwargs"])
    assert all(given == several[0] for several in arguments.values() for given in several)


def test_agents_that_do_not_read_the_reward_learn_under_none():
    docs = {n: " ".join((resolve(n, AGENTS, "agent").__doc__ or "").split()) for n in AGENTS}
    deaf = {n for n, doc in docs.items() if "whatever the environment's reward" in doc}
    by_slopes = {"topk", "noisy_topk", "straight_through", "gumbel", "dynamic_gate"}
    assert deaf == {"condnet", "act", "pondernet", *by_slopes}
    learning = {cell.agent for cell in SWEEPS["shapings"].cells if "reward" in cell.settings}
    assert not learning & deaf
