"""Laws of `ccenv search`: one journal, no trial too many, nothing judged on test images."""

import functools
import json
import os
import sys

import pytest

from ccenv.runs.commands import search as program
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.space import (
    OneOf,
    Span,
    check_space,
    read_space,
    usual_space,
    with_values,
)
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.engine import search as engine
from ccenv.runs.engine.search import Tried, front_of
from ccenv.runs.lab.tables import search_table
from ccenv.runs.replay.rebuilt import plan_of

VARIED = ("learning_rate=0.001..0.1", "reward_kwargs.cost_weight=0.1|1.0|2.0", "batch_size=64..256")


def test_ranges_and_choices_are_read_and_put_back_where_they_were():
    kept, space = read_space(parse_pairs(["images=128", "reward_kwargs.a=1", *VARIED]))
    assert kept == {"images": 128, "reward_kwargs": {"a": 1}}
    assert space["learning_rate"] == Span(0.001, 0.1)
    assert space["learning_rate"].is_log
    assert space["batch_size"].is_whole
    assert space["reward_kwargs.cost_weight"] == OneOf(("0.1", "1.0", "2.0"))
    whole = with_values(kept, {"reward_kwargs.cost_weight": "0.5", "batch_size": 64})
    assert whole == {
        "images": 128,
        "reward_kwargs": {"a": 1, "cost_weight": 0.5},
        "batch_size": 64,
    }
    assert kept == {"images": 128, "reward_kwargs": {"a": 1}}
    for bad, told in (("a=2..1", "low below high"), ("a=1|1", "different values")):
        with pytest.raises(ValueError, match=told):
            read_space(parse_pairs([bad]))


def test_impossible_ends_and_unknown_names_are_refused_before_anything_runs():
    for pairs, told in (
        (["learning_rat=0.1..1"], "learning_rate"),
        (["batch_size=-1..64"], "batch_size of at least 1"),
        (["reward=accuracy_minus_cost|nonsense"], "nonsense"),
    ):
        with pytest.raises(ValueError, match=told):
            check_space("reinforce", *read_space(parse_pairs(pairs)))
    usual = usual_space(make_plan("reinforce", {}))
    assert usual["learning_rate"] == Span(0.005, 0.5)
    assert set(usual) == {"learning_rate", "reward_kwargs.cost_weight"}


def test_the_front_holds_whom_no_other_beats():
    points = [(0.1, 0.5), (0.2, 0.3), (0.15, 0.5), (0.2, 0.4), (0.3, 0.1), (0.3, 0.1)]
    found = [Tried(n, *point, values={}, is_usual=False) for n, point in enumerate(points)]
    assert [one.number for one in front_of(found)] == [4, 1, 0]


def objectives(search, values):
    """Verdicts known beforehand, in place of runs."""
    return [values["learning_rate"], 0.3 - values["learning_rate"]]


def one_after_another(tasks, workers, function):
    yield from map(function, tasks)


@pytest.fixture
def quick(monkeypatch):
    pytest.importorskip("optuna", reason="pip install 'ccenv[optuna]'")

    monkeypatch.setattr(engine, "run_all", one_after_another)
    monkeypatch.setattr(engine, "objectives", objectives)


def trials(folder, capsys, number, *pairs, json_only=True):
    arguments = ["reinforce", *(pairs or VARIED), f"--folder={folder}", f"--trials={number}"]
    status = program.main([*arguments, *(["--json"] if json_only else [])])
    out, said = capsys.readouterr()
    return status, (json.loads(out) if json_only and out else out), said


@pytest.mark.usefixtures("quick")
def test_the_first_trial_is_the_defaults_and_another_search_is_refused(tmp_path, capsys):
    status, found, _ = trials(tmp_path, capsys, 2)
    assert status == 0
    assert found[0]["is_usual"]
    assert not found[1]["is_usual"]
    assert found[0]["values"] == {
        "learning_rate": 0.05,
        "reward_kwargs.cost_weight": "1.0",
        "batch_size": 256,
    }
    status, _, said = trials(tmp_path, capsys, 2, "learning_rate=0.001..0.2")
    assert status == 2
    assert "give those, or another --folder" in said


@pytest.mark.usefixtures("quick")
def test_a_search_that_was_killed_tries_the_same_trials_as_one_that_was_not(
    tmp_path, capsys, monkeypatch
):
    # Optuna's first ones are random, those after them follow from what came.
    optuna = pytest.importorskip("optuna")
    sampler = functools.partial(optuna.samplers.TPESampler, n_startup_trials=2)
    monkeypatch.setattr(optuna.samplers, "TPESampler", sampler)
    count = 6
    _, whole, _ = trials(tmp_path / "whole", capsys, count)
    assert len({json.dumps(one["values"]) for one in whole}) == count
    parts = tmp_path / "parts"
    # Before a trial is written down, between that and its lock, and at work.
    for place, calls in (("objectives", 1), ("lock_of", 5), ("proposed", 2), ("objectives", 2)):
        killed_at(place, calls, parts, monkeypatch)
    capsys.readouterr()
    status, found, said = trials(parts, capsys, count)
    assert status == 0
    assert "1 trials that were interrupted go on" in said
    assert found == whole
    assert trials(parts, capsys, count)[:2] == (0, found)
    # What was enough once goes on alike with a larger number, as in one command.
    trials(tmp_path / "more", capsys, 3)
    assert trials(tmp_path / "more", capsys, count)[1] == whole


def killed_at(place, calls, folder, monkeypatch):
    """A search whose process ends at such a call of a function of the engine."""
    usual, left = getattr(engine, place), iter(range(1, calls))

    def dies(*given):
        if next(left, None) is None:
            os._exit(9)
        return usual(*given)

    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(engine, place, dies)
            program.main(["reinforce", *VARIED, f"--folder={folder}", "--trials=6"])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9


def test_a_trial_is_at_work_while_a_process_holds_its_lock(tmp_path):
    search = engine.Search("reinforce", {}, {}, 1, tmp_path, 3)
    assert engine.is_free(engine.lock_of(search, 2))
    with engine.lock_of(search, 2):
        assert not engine.is_free(engine.lock_of(search, 2))
        assert engine.is_free(engine.lock_of(search, 1))
    assert engine.is_free(engine.lock_of(search, 2))


@pytest.mark.usefixtures("quick")
def test_presets_are_the_fronts_settings_in_the_form_of_a_runs_own(tmp_path, capsys):
    _, text, said = trials(tmp_path, capsys, 6, json_only=False)
    assert "Pareto front of error and total cost on validation images" in text
    assert "ccenv train --config" in said
    told = json.loads((tmp_path / "search.json").read_text())
    numbers = [one["number"] for one in told["front"]]
    stored = {path.stem for path in (tmp_path / "presets").iterdir()}
    assert stored == {f"trial-{number}" for number in numbers}
    for one in told["front"]:
        config = json.loads((tmp_path / "presets" / f"trial-{one['number']}.json").read_text())
        values = with_values({}, one["values"])
        assert plan_of(config).key() == make_plan("reinforce", values).key()


@pytest.mark.usefixtures("quick")
def test_a_trial_is_judged_by_its_run_on_validation_images(tmp_path, capsys, monkeypatch):
    def run(plan, reuse):
        verdicts = [("test", 0.0), ("validation", 0.25 + plan.program.seed)]
        return {
            "evaluations": [
                {"split": split, "mode": mode, "error": error, "total_cost": 0.5}
                for split, error in verdicts
                for mode in ("sampled", "mode")
            ]
        }

    monkeypatch.undo()
    monkeypatch.setattr(engine, "run", run)
    monkeypatch.setattr(engine, "run_all", one_after_another)
    arguments = ["reinforce", f"--folder={tmp_path}", "--trials=1", "--seeds=2", "--json"]
    assert program.main(arguments) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["error"], one["total_cost"], one["on_front"]) == (0.75, 0.5, True)
    # What is recorded is judged by seeds that the search has not seen.
    record = tmp_path / "record.json"
    assert program.main([*arguments, f"--record={record}", "--again=3"]) == 0
    told = json.loads(record.read_text())
    (row,) = told["rows"]
    assert (row["anew"], row["is_usual"]) == ([2.25, 3.25, 4.25], True)
    assert "325.00 [" in search_table(told["rows"])


def test_a_search_without_optuna_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, said = trials(tmp_path / "none", capsys, 1)
    assert status == 2
    assert "pip install 'ccenv[optuna]'" in said


@pytest.mark.usefixtures("quick")
def test_a_journal_names_nothing_that_the_command_line_does_not(tmp_path, capsys, monkeypatch):
    mark = tmp_path / "sang"
    (tmp_path / "canary.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    varied = ("reward=accuracy_minus_cost|potential", "learning_rate=0.01..0.1")
    folder = tmp_path / "search"
    assert trials(folder, capsys, 2, *varied)[0] == 0
    sound = (folder / "journal.log").read_text()
    for old, new in (
        ("accuracy_minus_cost", "canary:song"),
        ('"learning_rate"', '"dataset"'),
        ('"reward"', '"network"'),
    ):
        # What was asked for stands in the study's attributes and stays: trials alone are changed.
        lines = sound.splitlines(keepends=True)
        changed = [line if '"user_attr":' in line else line.replace(old, new) for line in lines]
        assert changed != lines
        (folder / "journal.log").write_text("".join(changed))
        status, _, said = trials(folder, capsys, 2, *varied)
        assert status == 2
        assert "expected values of the space that is searched" in said
    assert not mark.exists()
