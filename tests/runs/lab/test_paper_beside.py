"""Laws of the tables that put the paper beside ours: every row is there, run or not."""

import copy
import json
from pathlib import Path

import pytest
from made_results import table_row

from ccenv.base.files import sealed
from ccenv.runs.lab.paper_beside import NOT_YET, PAPER_TABLES, beside_table

NAMES = sorted(PAPER_TABLES)
RECORDED = json.loads((Path(__file__).parents[3] / "runs/results/mnist-rloo.json").read_text())
assert RECORDED["cells"][0]["agent"] == "rloo"


def row(label, error, macs):
    more = {"macs": macs, "total_cost": 0.25, "dropout_error": 0.5}
    spreads = {name: {"mean": x, "sd": 0.0, "low": x, "high": x} for name, x in more.items()}
    speeds = {"density": [0.2, 0.4], "speedup": {"1": 2.0, "256": 3.0}}
    return table_row(label, error, None, half=0.0, seeds=2) | spreads | speeds


def cell(label, validation, macs, seed=0):
    one = copy.deepcopy(RECORDED["cells"][0])
    cost = macs / one["dense_macs"]
    for verdict in one["evaluations"]:
        costs = {"macs": macs, "total_cost": cost, "compute_cost": cost, "policy_cost": 0.0}
        verdict |= {"error": validation, **costs}
    return one | {"label": label, "seed": seed, "latency": []}


def record(folder, name, rows, cells=()):
    content = {**RECORDED, "rows": rows, "cells": [sealed(cell) for cell in cells]}
    (folder / f"{name}.json").write_text(json.dumps(content))


def lines_of(text):
    found = [line for line in text.splitlines() if line.startswith("|")]
    return [[part.strip() for part in line.strip("|").split("|")] for line in found[2:]]


@pytest.mark.parametrize("name", NAMES)
def test_what_has_not_been_run_is_said_so(name, tmp_path):
    lines = lines_of(beside_table(name, tmp_path))
    papers = [line for line in lines if line[1].startswith("paper")]
    errors = [f"{100 * row['error']:.1f}" for row in PAPER_TABLES[name]["rows"]]
    assert [line[3] for line in papers] == errors
    assert all(line[3] == NOT_YET for line in lines if line[1].startswith("ours"))


def test_a_sweep_that_has_half_come_shows_its_half(tmp_path):
    record(tmp_path, "paper-mnist", [row("condnet, code", 0.03, 50_000)])
    lines = lines_of(beside_table("mnist", tmp_path))
    (code,) = [line for line in lines if line[1] == "ours, authors' code"]
    assert code[2:6] == ["2", "3.00 [3.00, 3.00]", "0.30", "50,000"]
    assert code[6:] == ["0.250", "2.00 / 3.00", "50.00 [50.00, 50.00]"]
    assert [line[3] for line in lines if line[1] == "ours, text"] == [NOT_YET]


def test_the_improved_row_costs_no_more_and_was_chosen_by_validation(tmp_path):
    record(tmp_path, "paper-mnist", [row("condnet, code", 0.03, 50_000)])
    others = {"worse": (0.04, 9_000), "best": (0.02, 40_000), "too dear": (0.01, 60_000)}
    # A row that fewer seeds have finished does not take part.
    others["lucky"] = (0.001, 30_000)
    # Test errors in the rows are in the opposite order: they must not matter.
    rows = [row(label, 0.1 - error, macs) for label, (error, macs) in others.items()]
    cells = [
        cell(label, error, macs, seed)
        for label, (error, macs) in others.items()
        for seed in range(1 if label == "lucky" else 2)
    ]
    record(tmp_path, "equal-cost-mnist", rows, cells)
    lines = lines_of(beside_table("mnist", tmp_path))
    assert [line[1] for line in lines if "improved" in line[1]] == ["ours, improved: best"]
