"""Laws of timing two checkouts: each process runs its own ccenv, and both the same cases."""

import json
import sys
from pathlib import Path

import pytest

from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks.checkouts import Worker, row_of

ROOT = Path(__file__).parents[4]
CASE = "forward, batch 1, density 0.05"


def test_a_checkout_beside_itself_is_timed_recorded_and_shown(tmp_path, capsys):
    words = ["--rounds", "2", "--cases", CASE, "--record", "--results-dir", str(tmp_path)]
    assert main(["checkouts", str(ROOT), *words]) == 0
    shown = capsys.readouterr().out
    rows = json.loads((tmp_path / "checkouts.json").read_text())["rows"]
    assert [row["case"] for row in rows] == [CASE]
    assert min(rows[0]["gain"], rows[0]["before"], rows[0]["now"]) > 0
    made = tables.render("<!-- table: checkouts -->\n<!-- end -->", tmp_path)
    assert made.split("\n")[1] in shown


def test_a_worker_runs_the_ccenv_of_its_folder(tmp_path):
    package = tmp_path / "ccenv"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit(3)")
    with Worker(tmp_path) as worker, pytest.raises(ValueError, match="a process that ended"):
        worker.ask(case=CASE)
    assert "ccenv" in sys.modules


def test_a_ratio_compares_timings_of_one_round():
    times = {"before": [[2.0, 8.0], [4.0, 16.0]], "now": [[1.0, 8.0], [2.0, 16.0]]}
    row = row_of("x", times)
    assert row["gain"] == row["gain_low"] == row["gain_high"] == 2.0
    assert (row["before"], row["now"]) == (4.0, 8.0)
    assert "before" not in row_of("x", {name: [one[:1] for one in times[name]] for name in times})


@pytest.mark.parametrize(
    ("folder", "words", "said"),
    [
        (ROOT, ["--cases", "nothing"], "expected parts of"),
        (ROOT, ["--rounds", "1"], "two rounds"),
        (ROOT / "runs", [], "expected a checkout of ccenv, got"),
    ],
)
def test_what_cannot_be_timed_is_refused(folder, words, said, capsys):
    assert main(["checkouts", str(folder), *words]) == 2
    assert said in capsys.readouterr().err
