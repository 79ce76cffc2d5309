"""Laws of timing two checkouts: each process runs its own ccenv, and both the same cases."""

import json
from pathlib import Path

import pytest

from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main

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
