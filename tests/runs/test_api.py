"""Laws of the Python API: it does what the commands do, and takes classes as well as names."""

import json
import os
import sys
from pathlib import Path

import pytest

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.runs import api
from ccenv.runs.commands import cli
from ccenv.runs.engine import pool
from ccenv.runs.store import recorded

SMALL = {"dataset": "probe", "images": 256, "batch_size": 64, "latency": False}


class Greedy(Reinforce):
    """An agent of the user's."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where runs go; agents of this file can be imported by their module's name."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_trained_once_and_loaded_as_it_was(place, capsys):
    run = ccenv.train("reinforce", **SMALL)
    assert "finished already" not in capsys.readouterr().err
    again = ccenv.train("reinforce", export=True, **SMALL)
    assert "finished already" in capsys.readouterr().err
    assert again.result == run.result
    assert (run.folder / "checkpoint" / "classifier.safetensors").exists()
    assert ccenv.load(run.folder).result == run.result
    assert ccenv.train("reinforce", anew=True, **SMALL).result["seconds"] != run.result["seconds"]
    assert 0 <= run.error <= 1
    assert repr(run).startswith("Run(reinforce, seed 0: test error ")
    assert run._repr_html_() == f"<pre>{run.summary}</pre>"


def test_seeds_make_runs_with_a_mean_and_its_interval(place):
    runs = ccenv.train(Greedy, seeds=3, **SMALL)
    assert [run.seed for run in runs] == [0, 1, 2]
    assert runs.error.mean == pytest.approx(sum(run.error for run in runs) / 3)
    assert len(ccenv.load(place)) == 3
    assert len(runs[1:]) == 2
    assert "3 runs: test error" in repr(runs)
    assert runs.table.count("Greedy") == 3


def stored(agent, seed, error, **environment):
    """A run of a file that names a reward of another person's module, or one of ccenv's."""
    judged = {"split": "test", "mode": "sampled", "error": error, "total_cost": 0.25}
    settings = {"environment": environment, "agent_settings": {f"of_{agent}": seed // 10}}
    return api.Run(
        {"agent": agent, "seed": seed, "settings": settings, "folder": "x", "evaluations": [judged]}
    )


def test_a_table_of_runs_tells_them_apart_by_reward_cost_weight_and_what_differs(monkeypatch):
    own = {"reward": "not_there:mine", "reward_kwargs": {"cost_weight": 2}, "dataset": "digits"}
    usual = {"reward": "nll_minus_cost", "reward_kwargs": {}, "dataset": "digits"}
    runs = api.Runs(
        [stored("rloo", 0, 0.5, **own), stored("rloo", 1, 0.25, **usual, transforms=["<b>"])]
    )
    assert [list(one.values()) for one in runs.settings] == [
        ["not_there:mine", 2, None],
        ["nll_minus_cost", 1.0, ["<b>"]],
    ]
    assert list(runs.settings[0]) == ["reward", "reward_kwargs.cost_weight", "transforms"]
    for part in (*runs.settings[0], "not_there:mine", "50.00"):
        assert part in runs.table
    monkeypatch.setattr(api, "frame", list)
    for row, one in zip(runs.to_pandas(), runs.settings, strict=True):
        assert row.items() >= one.items()
    assert "&lt;b&gt;" in runs._repr_html_()
    assert "<b>" not in runs._repr_html_()


def test_runs_of_several_agents_have_no_mean_over_all_of_them():
    usual = {"reward": "nll_minus_cost", "reward_kwargs": {}}
    one = [stored("rloo", seed, 0.5, **usual) for seed in (0, 1)]
    runs = api.Runs([*one, stored("dense", 0, 0.25, **usual)])
    assert "%" not in repr(runs)
    assert "2 agents and settings" in repr(runs)
    assert list(runs.by_row) == ["dense", "rloo"]
    assert runs.summary.splitlines()[1] == f"rloo: {api.Runs(one).summary}"
    assert "2 runs: test error in %" in repr(runs[:2])
    # What other agents do not have is no difference.
    assert list(runs.settings[0]) == ["reward", "reward_kwargs.cost_weight"]


@pytest.mark.parametrize(
    ("agent", "settings", "words"),
    [
        ("rloo", {"num_keptt": 1}, "did you mean 'num_kept'"),
        (3, {}, "expected an agent as a name"),
        (lambda env: None, {}, "expected an agent as a name"),
        ("dense", {"seeds": []}, "expected one seed at least"),
        (dict, {}, "to be a subclass of ccenv.agents.base.Agent"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(agent, settings, words, place):
    with pytest.raises(ValueError, match=words):
        ccenv.train(agent, **SMALL | settings)
    assert not list(place.iterdir())


SWEEP = """
description = "Two rows."
minutes = 0.1
seeds = [0, 1, 2]
[settings]
dataset = "probe"
images = 256
batch_size = 64
latency = false
[[rows]]
agent = "dense"
[[rows]]
agent = "reinforce"
"""


def test_an_agent_of_a_script_is_compared_with_the_rows_of_a_sweep(place, monkeypatch):
    (place / "two.toml").write_text(SWEEP)
    monkeypatch.setattr(Greedy, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Greedy", Greedy, raising=False)
    monkeypatch.setattr(pool, "run_all", lambda tasks, workers: pool.run_here(tasks))
    found = ccenv.compare("two.toml", add=[Greedy, ("rloo", {"num_kept": 1})])
    labels = [row["label"] for row in found.rows]
    assert labels == ["dense", "reinforce", "Greedy (added)", "rloo (added) num_kept=1"]
    assert all(len(row["seeds"]) == 3 for row in found.rows)
    assert found.page.exists()
    # Greedy learns as reinforce does, and counts once.
    assert "counted as one: Greedy (added) = reinforce" in found.verdict
    shown = found._repr_html_()
    assert shown.count("<tr>") == 1 + len(found.rows)
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    assert repr(found) == f"Comparison(two: 4 rows, 12 of 12 runs finished; {found.page})"
    assert found.plot().axes


@pytest.mark.parametrize(
    ("add", "words"),
    [(dict, "to be a subclass"), ("rlo", "did you mean 'rloo'"), (("rloo", {"k": 1}), "'k'")],
)
def test_what_is_no_agent_is_not_added(add, words, place):
    (place / "two.toml").write_text(SWEEP)
    with pytest.raises(ValueError, match=words):
        ccenv.compare("two.toml", add=add)
    assert [path.name for path in place.iterdir()] == ["two.toml"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (ccenv.compare, r"agent=\('rloo', \{'images': 3\}\)"),
        (ccenv.load, "keyword argument 'images'"),
    ],
)
def test_an_unknown_argument_is_one_error_that_hides_no_other(function, words, place):
    with pytest.raises(TypeError, match=words) as caught:
        function(images=3)
    assert caught.value.__context__ is None


def test_recorded_results_are_those_of_the_checkout_or_of_the_package(place):
    assert recorded.results_folders(None) == [recorded.WITH_PACKAGE]
    assert recorded.results_folders(None, is_written=True) == [recorded.IN_CHECKOUT]
    assert recorded.results_folders("elsewhere") == [Path("elsewhere")]
    # A checkout is read once, although it is the package too.
    recorded.IN_CHECKOUT.parent.mkdir()
    recorded.IN_CHECKOUT.symlink_to(recorded.WITH_PACKAGE)
    assert recorded.results_folders(None) == [recorded.IN_CHECKOUT]


def test_an_empty_folder_hides_no_recorded_row_and_each_folder_is_named(place):
    def lines():
        found = ccenv.compare("digits", run_missing_ones=False, write_page=False)
        assert len(found.results.finished) == 58
        return next(line for line in found.lines if line.startswith("recorded results"))

    assert f"were read from {recorded.WITH_PACKAGE} (58);" in lines()
    os.makedirs(recorded.IN_CHECKOUT)
    assert f"were read from {recorded.WITH_PACKAGE} (58);" in lines()
    content = json.loads((recorded.WITH_PACKAGE / "digits.json").read_text())
    own = [cell for cell in content.pop("cells") if cell["agent"] == "dense"]
    head = {"kind": "comparison", "rows": []} | content | {"cells": own}
    del head["sha256"]
    (recorded.IN_CHECKOUT / "mine.json").write_text(json.dumps(head))
    assert f"runs/results ({len(own)})" in lines()
    assert f"{recorded.WITH_PACKAGE} ({58 - len(own)})" in lines()


def test_a_comparison_that_runs_nothing_writes_nothing_into_the_logs(place, monkeypatch, capsys):
    monkeypatch.setattr("ccenv.runs.report.publish.publish", lambda *given: "")
    assert cli.main(["compare", "digits", "--no-run"]) == 0
    assert "\npage: " not in capsys.readouterr().err
    assert not list(place.iterdir())
    assert cli.main(["compare", "digits", "--no-run", "--page"]) == 0
    assert "page: " in capsys.readouterr().err
    ccenv.compare("digits", run_missing_ones=False)
    assert not (place / "runs" / "logs").exists()


def test_without_pandas_it_says_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        api.frame([])
