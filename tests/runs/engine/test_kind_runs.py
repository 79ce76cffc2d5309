"""Extensions of the environment as settings of runs: trained, judged and validated."""

import json
from pathlib import Path

import pytest

from ccenv.runs.analysis.leaks import leaks_of_run
from ccenv.runs.commands import train
from ccenv.runs.commands.validate import validate
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.store.identity import whole_config

SHORT = ["dataset=digits", "num_blocks=4,4", "block_size=4"]


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    monkeypatch.setattr("ccenv.runs.engine.run.latencies", lambda env, agent: ["timed"])


def run(tmp_path, capsys, agent, *pairs, images=512, batch_size=64):
    sizes = [f"images={images}", f"batch_size={batch_size}", f"log_dir={tmp_path}"]
    code = train.main([agent, *SHORT, *pairs, *sizes, "--json"])
    shown = capsys.readouterr()
    return json.loads(shown.out) if code == 0 else shown.err


@pytest.mark.parametrize(("name", "value"), [("concurrent", "unsafe"), ("oblivious", [1, 2])])
def test_a_kind_is_in_the_plan_and_tells_runs_apart_and_none_is_the_run_of_before(name, value):
    plan, plain = make_plan("reinforce", {name: value}), make_plan("reinforce", {name: None})
    assert plan.environment[name] == value
    assert plain.key() == make_plan("reinforce", {}).key() != plan.key()
    assert name not in plain.environment
    assert whole_config("reinforce", plan.chosen(), 0)["environment"][name] == value


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["concurrent=inactiv"], "did you mean 'inactive'"),
        (["concurrent=2"], "kind of concurrent updates"),
        (["oblivious=some"], "oblivious to be 'all', or blocks in slots"),
        (["oblivious=0"], "got 0"),
        (["oblivious=2", "concurrent=inactive"], "tells inputs apart, got concurrent"),
        (["oblivious=2", "context.budget=0.5"], "tells inputs apart, got context"),
        (["oblivous=2"], "did you mean 'oblivious'"),
    ],
)
def test_a_wrong_kind_is_refused_before_anything_is_built(pairs, message):
    with pytest.raises(ValueError, match=message):
        make_plan("reinforce", parse_pairs(pairs))


def test_what_the_network_cannot_do_is_told_in_a_line_and_nothing_is_written(tmp_path, capsys):
    for pairs, message in [
        (["concurrent=inactive"], "expected weights='cotrain' beside concurrent"),
        (["oblivious=5", "weights=cotrain"], "expected slots in 1..num_blocks"),
    ]:
        assert message in run(tmp_path, capsys, "reinforce", *pairs)
    assert not list(tmp_path.iterdir())


def test_a_run_in_which_updates_land_between_gates_learns_and_is_validated(tmp_path, capsys):
    pairs = ["weights=cotrain", "concurrent=unsafe"]
    sizes = {"images": 2560, "batch_size": 16}
    result = run(tmp_path, capsys, "dynamic_gate", "num_kept=2", *pairs, **sizes)
    assert result["settings"]["environment"]["concurrent"] == "unsafe"
    assert result["latency"] == ["timed"]
    assert result["evaluations"][0]["error"] < 0.6
    assert all(not verdict.problems for verdict in validate(Path(result["folder"])))


def test_a_run_may_have_prices_and_a_constant_trace_and_is_validated(tmp_path, capsys):
    pairs = ["weights=cotrain", "oblivious=all", "context.cost_weight=0.1,10"]
    result = run(tmp_path, capsys, "actor_critic", *pairs)
    returns = [at["mean_return"] for at in result["context"]["cost_weight"]]
    assert returns == sorted(returns, reverse=True)
    folder = Path(result["folder"])
    assert all(not verdict.problems for verdict in validate(folder))
    assert all(row.leak.accuracy <= row.leak.chance for row in leaks_of_run(folder))


def test_an_oblivious_run_touches_its_slots_is_not_timed_and_gives_nothing_away(tmp_path, capsys):
    pairs = ["weights=cotrain", "oblivious=3", "--export"]
    result = run(tmp_path, capsys, "reinforce", *pairs)
    assert result["evaluations"][0]["density"] == [0.75, 0.75]
    assert result["latency"] == []
    folder = Path(result["folder"])
    assert not (folder / "checkpoint" / "classifier.safetensors").exists()
    assert all(not verdict.problems for verdict in validate(folder))
    assert all(row.leak.accuracy <= row.leak.chance for row in leaks_of_run(folder, oblivious=True))
    all_blocks = run(tmp_path, capsys, "reinforce", "weights=cotrain", "oblivious=all")
    assert all_blocks["evaluations"][0]["compute_cost"] == 1
