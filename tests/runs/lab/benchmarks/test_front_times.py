"""Laws of times in turns: rows of one size are timed once, and reports read what was recorded."""

import dataclasses
import json
import types

import torch
from safetensors.torch import load_file

from ccenv.data import load_split
from ccenv.runs.engine import run
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.engine.study import Study
from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks import front_times
from ccenv.runs.stats.cost_points import recorded_times, times_path
from ccenv.runs.studies import STUDIES
from ccenv.runs.sweeps import Cell, Sweep

SMALL = {"dataset": "synthetic", "weights": "cotrain", "reward": "negative_nll"}
CELLS = (
    Cell("dense 8", "dense", {"num_blocks": (1,), "block_size": 8}),
    Cell("dense 16", "dense", {"num_blocks": (1,), "block_size": 16}),
    Cell(
        "dense 16, dropout",
        "dense",
        {"num_blocks": (1,), "block_size": 16, "network": "mlp-dropout-0.2"},
    ),
    Cell("rloo", "rloo", {"num_blocks": (8,), "block_size": 4, "num_kept": 2}),
    Cell("more masks", "rloo", {"num_blocks": (8,), "block_size": 4, "group_size": 4}),
    Cell("coins", "rloo", {"num_blocks": (8,), "block_size": 4, "sampling": "independent"}),
    Cell("condnet", "condnet", {"num_blocks": (8,), "block_size": 4}),
)
SWEEP = Sweep("times", "d", CELLS, 1.0, SMALL, (0,))


def test_rows_of_one_size_are_one_and_those_that_training_changes_are_none():
    labels = [one.labels for one in front_times.by_size(SWEEP)]
    assert labels == [["dense 8"], ["dense 16", "dense 16, dropout"], ["rloo", "more masks"]]


def test_every_row_has_a_time_of_every_round_under_either_masks(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(STUDIES, "times", Study(SWEEP))
    assert len(load_split("synthetic", "test")) < 2000, "more images than the test split has"
    given = ["times", "--batches", "1", "2000", "--rounds", "2", "--seconds", "0.0001"]
    assert main(["front-times", *given, "--record", "--results-dir", str(tmp_path)]) == 0
    path = times_path(tmp_path, "times")
    recorded = json.loads(path.read_text())
    assert (recorded["kind"], recorded["images"]) == ("front-times", "as stored")
    for masks in ("sampled", "mode"):
        found = recorded_times(path, masks)
        assert set(found) == {cell.label for cell in CELLS[:5]}
        for batches in found.values():
            assert set(batches) == {1, 2000}
            assert all(rounds[0] > 0 for rounds in batches.values())
    assert all(len(row["milliseconds"]) == 2 for row in json.loads(path.read_text())["rows"])
    shown = tables.TABLES["front-times"](json.loads(path.read_text())["rows"])
    shown_labels = [line.split("|")[1].strip() for line in shown.splitlines()[2:]]
    assert sorted(shown_labels) == sorted(2 * [cell.label for cell in CELLS[:5]])
    assert f"recorded in {path}" in capsys.readouterr().err


def test_rows_that_training_changes_are_timed_as_they_were_trained(tmp_path, monkeypatch):
    short = {**SMALL, "images": 64, "batch_size": 32, "eval_every": 64}
    sweep = Sweep("times", "d", CELLS[6:], 1.0, short, (0, 1))
    monkeypatch.setitem(STUDIES, "times", Study(sweep))
    monkeypatch.setattr(run, "latencies", lambda env, agent: [])
    for job in make_jobs(sweep, str(tmp_path / "log")):
        run.run(job.plan)
    given = ["times", "--batches", "3", "--rounds", "2", "--seconds", "0.0001"]
    results = ["--results-dir", str(tmp_path)]
    assert (
        main(["front-times", *given, "--record", "--log-dir", str(tmp_path / "log"), *results]) == 0
    )
    for masks in ("sampled", "mode"):
        found = recorded_times(times_path(tmp_path, "times"), masks)
        assert set(found) == {"condnet"}
        assert set(found["condnet"][3]) == {0, 1}
    for one in front_times.as_trained(sweep, tmp_path / "log"):
        stored = load_file(one.folder / "checkpoint" / "network.safetensors")
        network = front_times.make_agent(one.plan, one.folder).simulator.network
        assert all(torch.equal(network.state_dict()[name], stored[name]) for name in stored)


def test_a_sweep_of_which_nothing_can_be_timed_says_what_to_give(tmp_path, monkeypatch, capsys):
    none = dataclasses.replace(SWEEP, cells=CELLS[6:])
    monkeypatch.setitem(STUDIES, "times", Study(none))
    assert main(["front-times", "times", "--results-dir", str(tmp_path)]) == 2
    assert "give the --log-dir of finished runs" in capsys.readouterr().err
    given = ["times", "--log-dir", str(tmp_path / "none"), "--results-dir", str(tmp_path)]
    assert main(["front-times", *given]) == 2
    assert f"that training changes in {tmp_path / 'none'}, got none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_was_not_timed_is_none_and_a_wrong_name_leaves_nothing(tmp_path, capsys):
    assert recorded_times(tmp_path / "none.json", "mode") is None
    assert main(["front-times", "equal-cost-mnits", "--results-dir", str(tmp_path)]) == 2
    assert "equal-cost-mnist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def stored_bytes(split):
    whole = load_split("synthetic", split)
    return dataclasses.replace(whole, images=whole.images.mul(255).round().to(torch.uint8))


def test_a_pass_begins_with_the_bytes_of_whole_images(monkeypatch):
    names = ("shift=1", "halve", "standardise")
    seen = load_split(stored_bytes, "test", names)
    plan = types.SimpleNamespace(environment={"dataset": stored_bytes, "transforms": names})
    images = front_times.images_of(plan, len(seen) + 3)
    rows = torch.arange(len(seen) + 3) % len(seen)
    assert torch.equal(images(), seen.batch(rows)[0])
    given = []
    through = front_times.through
    monkeypatch.setattr(
        front_times, "through", lambda transforms, x: given.append(x) or through(transforms, x)
    )
    images(), images()
    assert [(x.dtype, x.shape[2:]) for x in given] == 2 * [(torch.uint8, (16, 16))]


def test_images_stored_as_floats_are_made_once():
    plan = types.SimpleNamespace(environment={"dataset": "synthetic", "transforms": ("halve",)})
    images = front_times.images_of(plan, 5)
    assert images() is images()
    assert torch.equal(images(), load_split("synthetic", "test", "halve").images[:5])


def test_dropout_is_timed_as_the_plain_network_that_it_is_at_test():
    sweep = Sweep("s", "d", CELLS[2:3], 1.0, SMALL, (0,))
    (timed,) = front_times.by_size(sweep)
    assert timed.plan.environment["network"] == "mlp"
    logits, *_ = front_times.make_pass(timed, 4, "mode")()
    assert logits.shape == (4, 10)
