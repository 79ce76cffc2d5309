"""Laws of `ccenv benchmark`: the table is of what was executed, and a wrong option is refused."""

import json

import pytest

from ccenv.runs.commands import benchmark

SMALL = ["--width", "16", "--blocks", "4", "--rounds", "2"]


def test_rows_hold_the_density_and_its_limit_for_every_batch(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "BATCHES", (1, 32))
    monkeypatch.setattr(benchmark, "DENSITIES", (0.5, 1.0))
    assert benchmark.main([*SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in found["rows"]] == [1, 1, 32, 32]
    assert [row["limit"] for row in found["rows"][1::2]] == [1, 1]
    half = found["rows"][2]
    assert half["limit"] == pytest.approx(4, rel=0.2)
    assert half["density"] == pytest.approx(0.5, abs=0.05)
    assert all(row["low"] <= row["speedup"] <= row["high"] for row in found["rows"])
    assert {"cpu", "threads"} <= set(found["machine"])
