"""Runs of the simple rivals by the same commands: validated, exported, their memory recorded."""

import json
from pathlib import Path

import pytest
import torch

from ccenv.base.checked_file import read_checked, write_checked
from ccenv.runs.commands import train
from ccenv.runs.replay.verdicts import validate
from ccenv.runs.report.tables import memory_tables
from ccenv.runs.stats.cost_points import RIVALS, make_point
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.store.folder import RESULT
from ccenv.runs.store.seal import sealed

SHORT = ["images=512", "batch_size=64", "progress=false", "dataset=digits"]
COTRAIN = ["weights=cotrain", "weights_kwargs.schedule_updates=run"]
CASES = {
    "pruned": ("dense", ["network_kwargs.units=16", "network_kwargs.macs=200"]),
    "cascade": ("confidence", ["network_kwargs.first=4", "network_kwargs.then=8"]),
    "early_exit": ("confidence", ["network_kwargs.units=8,8,8", "stop_shares=0.5,0.2"]),
}


@pytest.fixture(autouse=True)
def _no_timing(monkeypatch):
    monkeypatch.setattr("ccenv.runs.engine.run.latencies", lambda env, agent: [])


def run(name, tmp_path, capsys):
    agent, words = CASES[name]
    command = [agent, f"network={name}", *words, *COTRAIN, *SHORT, f"log_dir={tmp_path}", "--json"]
    assert train.main(command) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def rewritten(folder, result):
    """Writes a result as its run would have written it."""
    told = {name: value for name, value in result.items() if name not in ("folder", "seal")}
    (folder / RESULT).write_text(json.dumps(sealed(told)))


@pytest.mark.parametrize("name", CASES)
def test_a_rivals_run_stands_when_it_is_asked_again(name, tmp_path, capsys):
    result = run(name, tmp_path, capsys)
    rows = validate(Path(result["folder"]))
    assert [row.problems for row in rows] == [(), ()]
    assert {row.policy for row in rows} == {"replayed"}
    assert rows[0].basis["memory_bytes"] == "recomputed"


def test_memory_is_recorded_checked_and_missing_in_older_results(tmp_path, capsys):
    result = run("pruned", tmp_path, capsys)
    folder = Path(result["folder"])
    assert result["memory_bytes"] < 4 * result["network_parameters"]
    assert make_rows({"pruned": [result]})[0].memory_bytes == result["memory_bytes"]
    chosen = result | {"num_parameters": 10}
    assert make_rows({"rloo": [chosen]})[0].memory_bytes == result["memory_bytes"] + 40
    assert make_point("rloo", [chosen], "sampled").memory == result["memory_bytes"] + 40
    older = {name: value for name, value in result.items() if name != "memory_bytes"}
    rewritten(folder, older)
    assert not validate(folder)[0].problems
    assert make_rows({"pruned": [older, result]})[0].memory_bytes is None
    rewritten(folder, result | {"memory_bytes": 3})
    assert "memory_bytes: claimed 3" in validate(folder)[0].problems[0]


def test_exits_where_all_stop_at_one_place_are_a_kind_of_their_own(tmp_path, capsys):
    result = run("early_exit", tmp_path, capsys)
    for shares, kind in (([0.5, 0.2], "early_exit"), ([0, 1], "one exit"), ([0, 0], "one exit")):
        settings = {**result["settings"], "agent_settings": {"stop_shares": shares}}
        point = make_point("a row", [result | {"settings": settings}], "sampled")
        assert point.agent == kind
        assert point.agent in RIVALS


def test_a_table_shows_the_memory_of_rows_that_have_it():
    error = {"mean": 0.1, "sd": 0.0, "low": None, "high": None}
    row = {"label": "a", "uses_labels": False, "error": error, "macs": {"mean": 5.0}}
    (table,) = memory_tables([row | {"memory_bytes": 2500.0}, row | {"memory_bytes": None}, row])
    assert [line[-1] for line in table.texts] == ["2.5"]
    assert memory_tables([row]) == []


EXPERTS = ["network=experts", "network_kwargs.num_experts=4", "network_kwargs.expert_size=4"]
STEPS = ["network=pondering", "network_kwargs.units=8", "network_kwargs.num_steps=3"]
LOOK = ["observation=layer_input", "weights=cotrain"]


def altered(folder, change):
    """The folder of a run whose gate values were changed by hand, checksum and all."""
    path = folder / "checkpoint" / "masks.safetensors"
    tensors, _, _ = read_checked(path)
    write_checked(path, change(tensors), {})
    return validate(folder)


def others(tensors):
    """Values moved where a block is kept, so that masks stay as they are."""
    return {
        name: torch.where(value > 0, 0.9 * value + 0.05, 0) if "values" in name else value
        for name, value in tensors.items()
    }


@pytest.mark.parametrize(("agent", "words"), [("noisy_topk", EXPERTS), ("act", STEPS)])
def test_runs_of_gate_values_stand_by_them_and_fall_without_them(agent, words, tmp_path, capsys):
    place = [f"log_dir={tmp_path}", "--json"]
    assert train.main([agent, *words, *LOOK, *SHORT, *place]) == 0, capsys.readouterr().err
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    rows = validate(folder)
    assert [row.problems for row in rows] == [(), ()]
    assert {row.policy for row in rows} == {"replayed"}
    path = folder / "checkpoint" / "masks.safetensors"
    kept = path.read_bytes()
    told = " ".join(text for row in altered(folder, others) for text in row.problems)
    assert "other gate values" in told
    path.write_bytes(kept)
    (row,) = altered(folder, lambda found: {n: t for n, t in found.items() if "values" not in n})
    assert "expected gate values of" in row.problems[0]
    path.write_bytes(kept)
    zeros = altered(folder, lambda told: {n: t * ("values" not in n) for n, t in told.items()})
    assert all("other gate values" in " ".join(row.problems) for row in zeros)
