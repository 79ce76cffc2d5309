"""The sweep of cost limits, the end of training that results tell of, and how limits are judged."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.runs.engine.listener import Tail
from ccenv.runs.report.tables import limit_table


def fed(tail, costs, size=10, first=0):
    for number, cost in enumerate(costs[first:], first + 1):
        tail.add(number * size, {"episode/compute_cost": cost, "reward/price": number / 10})
    return tail


@given(st.lists(st.floats(0, 1), min_size=20, max_size=20), st.integers(1, 19))
def test_the_tail_is_the_mean_of_the_last_tenth_however_often_a_run_is_stopped(costs, stop):
    whole = fed(Tail(200), costs)
    assert whole.numbers()["compute_cost"] == pytest.approx(sum(costs[-2:]) / 2)
    assert whole.numbers()["price"] == 2.0
    half = fed(Tail(200), costs[:stop])
    resumed = fed(Tail(**json.loads(json.dumps(asdict(half)))), costs, first=stop)
    assert resumed.numbers() == whole.numbers()


def test_updates_count_by_their_images():
    tail = Tail(100)
    tail.add(92, {"episode/compute_cost": 0.5})
    tail.add(100, {"episode/compute_cost": 1.0})
    assert tail.numbers() == {"compute_cost": pytest.approx(0.54), "price": None}


@pytest.mark.parametrize(
    ("agent", "settings", "price"),
    [
        ("reinforce", {"reward": "lagrangian", "reward_kwargs": {"cost_limit": 0.2}}, True),
        ("reinforce_lagrangian", {"cost_limit": 0.2}, True),
        ("sb3_a2c", {}, False),
    ],
)
def test_a_result_tells_what_training_cost_at_last_and_its_price(agent, settings, price, tmp_path):
    short = {**PROBE_SETTINGS, "images": 1024, "batch_size": 64, "log_dir": str(tmp_path)}
    found = ccenv.train(agent, **short, **settings).result["last_tenth"]
    assert 0 < found["compute_cost"] < 1
    assert (found["price"] is not None) == price


def result(limit, cost, price, seed=0, agent="reinforce", last=True):
    settings = {"agent_settings": {}, "environment": {"reward_kwargs": {"cost_limit": limit}}}
    found = {"seed": seed, "settings": settings, "agent": agent}
    return found | ({"last_tenth": {"compute_cost": cost, "price": price}} if last else {})


def test_a_limit_is_met_within_two_per_cent_or_below_it_for_nothing():
    known = {(0.2, 0.2035, 1.0): True, (0.2, 0.2045, 1.0): False, (0.2, 0.195, 1.0): False}
    known |= {(1.0, 0.6, 0.0): True, (1.0, 0.6, 0.01): False}
    for numbers, expected in known.items():
        ((*_, met, _),) = limit_table({"a": [result(*numbers)]}).texts
        assert met == f"{expected:d} of 1"


def test_only_runs_whose_price_moved_are_judged():
    results = {"a": [result(0.2, 0.2, None)], "old": [result(0.2, 0.2, 1.0, last=False)]}
    assert limit_table(results).lines == []


def test_the_table_counts_who_met_a_limit():
    results = {"a": [result(0.2, 0.2, 1.0), result(0.2, 0.21, 2.0, seed=1)]}
    assert limit_table(results).texts == [
        ["a", "0.2", "0.2050", "+0.00 to +5.00", "1 of 2", "1 to 2"]
    ]
