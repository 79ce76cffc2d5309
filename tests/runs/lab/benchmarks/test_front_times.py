"""Laws of times in turns: rows of one size are timed once, and reports read what was recorded."""

import dataclasses
import json

from ccenv.data import load_split
from ccenv.runs.engine.study import Study
from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.stats.cost_points import times_in, times_path
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


def test_every_row_has_a_time_of_every_round_under_either_masks(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(STUDIES, "times", Study(SWEEP))
    assert len(load_split("synthetic", "test")) < 2000, "more images than the test split has"
    given = ["times", "--batches", "1", "2000", "--rounds", "2", "--seconds", "0.0001"]
    assert main(["front-times", *given, "--record", "--results-dir", str(tmp_path)]) == 0
    path = times_path(tmp_path, "times")
    recorded = json.loads(path.read_text())
    assert (recorded["kind"], recorded["images"]) == ("front-times", "as stored")
    for greedy in (False, True):
        found = times_in(tmp_path, "times")[greedy]
        assert set(found) == {cell.label for cell in CELLS[:5]}
        for batches in found.values():
            assert set(batches) == {1, 2000}
            assert all(rounds[0] > 0 for rounds in batches.values())
    assert all(len(row["milliseconds"]) == 2 for row in json.loads(path.read_text())["rows"])
    shown = tables.TABLES["front-times"](json.loads(path.read_text())["rows"])
    shown_labels = [line.split("|")[1].strip() for line in shown.splitlines()[2:]]
    assert sorted(shown_labels) == sorted(2 * [cell.label for cell in CELLS[:5]])
    assert f"recorded in {path}" in capsys.readouterr().err


def test_a_sweep_of_which_nothing_can_be_timed_says_what_to_give(tmp_path, monkeypatch, capsys):
    none = dataclasses.replace(SWEEP, cells=CELLS[6:])
    monkeypatch.setitem(STUDIES, "times", Study(none))
    assert main(["front-times", "times", "--results-dir", str(tmp_path)]) == 2
    assert "give the --log-dir of finished runs" in capsys.readouterr().err
    given = ["times", "--log-dir", str(tmp_path / "none"), "--results-dir", str(tmp_path)]
    assert main(["front-times", *given]) == 2
    assert f"that training changes in {tmp_path / 'none'}, got none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
