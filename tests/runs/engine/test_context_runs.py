"""Contexts in runs: prices and budgets from the command line, verdicts at a grid of them."""

import json
from pathlib import Path

import pytest

from ccenv.data.toy import PROBE_SETTINGS
from ccenv.runs.commands import train
from ccenv.runs.commands.validate import validate
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.engine.evaluate_contexts import NUM_VALUES, grid
from ccenv.runs.replay.rebuilt import plan_of
from ccenv.simulator.context import read_context

SHORT = {**PROBE_SETTINGS, "images": 2048, "batch_size": 128}


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    monkeypatch.setattr("ccenv.runs.engine.run.latencies", lambda env, agent: [])


def run(tmp_path, capsys, *pairs, agent="reinforce", images=2048):
    short = [f"{k}={v}".replace(" ", "") for k, v in {**SHORT, "images": images}.items()]
    code = train.main([agent, *short, *pairs, f"log_dir={tmp_path}", "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if code == 0 else shown.err


def test_a_context_of_the_command_line_is_in_the_plan_and_tells_runs_apart():
    given = parse_pairs(["context.cost_weight=[0.05,5]", "context.distribution=uniform"])
    plan = make_plan("reinforce", given)
    expected = {"cost_weight": [0.05, 5], "distribution": "uniform"}
    assert plan.config()["environment"]["context"] == expected
    other = make_plan("reinforce", {"context": {"cost_weight": [0.05, 4]}})
    assert plan.key() != other.key()


def test_a_run_without_a_context_is_the_same_run_as_before_there_were_any():
    plain = make_plan("reinforce", {})
    assert "context" not in plain.environment
    assert make_plan("reinforce", {"context": None}).key() == plain.key()
    assert plain.chosen() == {}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["context.price=[1,2]"], "price"),
        (["context.cost_weight=[5,0.05]"], "cost_weight in context to be a number or"),
        (["context.budget=[0.1,1.5]"], r"budget in \(0, 1\]"),
        (["context=0.5"], "context to be a dict, got 0.5"),
        (["context.distribution=uniform"], "expected cost_weight or budget in context"),
        (["contxt.cost_weight=1"], "did you mean 'context'"),
    ],
)
def test_a_wrong_context_is_refused_before_anything_is_built(pairs, message):
    with pytest.raises(ValueError, match=message):
        make_plan("reinforce", parse_pairs(pairs))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["context.cost_weight=[0.1,1]", "reward=negative_nll"], "a reward with a term 'cost'"),
        (
            ["context.cost_weight=[0.1,1]", "reward_kwargs.cost_weight=0.5"],
            "cost_weight in context or in reward_kwargs, got both",
        ),
    ],
)
def test_a_context_that_the_reward_cannot_follow_leaves_nothing(tmp_path, capsys, pairs, message):
    code, error = run(tmp_path, capsys, *pairs)
    assert code == 2
    assert message in error
    assert not list(tmp_path.rglob("*.json"))


def test_a_run_is_judged_at_a_grid_of_prices_and_may_spend_less_the_more_it_costs(tmp_path, capsys):
    pairs = ("context.cost_weight=[0.05,5]", "learning_rate=0.03")
    code, result = run(tmp_path, capsys, *pairs, images=60_000)
    assert code == 0
    verdicts = result["context"]["cost_weight"]
    ranges = read_context({"cost_weight": (0.05, 5)})
    assert [at["value"] for at in verdicts] == grid(ranges["cost_weight"])
    assert len(verdicts) == NUM_VALUES
    assert {at["split"] for at in verdicts} == {"test"}
    assert verdicts[-1]["compute_cost"] < verdicts[0]["compute_cost"]
    assert verdicts[0]["error"] < verdicts[-1]["error"]


def test_a_budget_is_kept_at_every_point_of_the_grid(tmp_path, capsys):
    code, result = run(tmp_path, capsys, "context.budget=[0.2,0.8]", agent="sb3_ppo")
    assert code == 0
    for at in result["context"]["budget"]:
        assert at["compute_cost"] <= at["value"]


def test_without_a_context_there_are_no_such_verdicts(tmp_path, capsys):
    assert "context" not in run(tmp_path, capsys)[1]


def test_the_summary_has_a_line_for_each_price(tmp_path, capsys):
    _, result = run(tmp_path, capsys, "context.cost_weight=[0.05,5]")
    lines = train.summary(result).splitlines()
    assert len(lines) == 3 + NUM_VALUES
    assert lines[2].startswith("cost_weight 0.05: test error ")


def test_a_run_with_a_context_is_rebuilt_and_validated(tmp_path, capsys):
    _, result = run(tmp_path, capsys, "context.cost_weight=[0.05,5]")
    plan = plan_of(result["settings"])
    assert plan.environment["context"] == {"cost_weight": [0.05, 5]}
    verdicts = validate(Path(result["folder"]))
    assert [v.problems for v in verdicts] == [(), ()]


def test_a_value_that_is_not_drawn_is_judged_once():
    assert grid(read_context({"budget": 0.3})["budget"]) == [0.3]
