"""Laws of `ccenv challenge`: the page's policy stands, what is wrong is one line."""

import json
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ccenv.mask_table import COST_WEIGHTS, shipped_table, write_entry
from ccenv.mask_table.challenge import Candidate, shipped_tasks, standings, together
from ccenv.mask_table.table import ENTRIES, FOLDER, MOST_BYTES, SHIPPED
from ccenv.runs.commands import cli
from ccenv.runs.commands.challenge import print_standings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "runs" / "docs" / "challenge.md").read_text()
BLOCKS = re.findall(r"^```python\n# (my_\w+)\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RANDOM = """
import numpy as np

class MyPolicy:
    def __init__(self, table, cost_weight):
        self.units = table.header.num_units

    def act(self, look):
        return np.full((len(look), self.units), 0.5)

class Peeks(MyPolicy):
    def act(self, look, label):
        return label
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with modules of the user's, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    for name, text in [*BLOCKS, ("mine", RANDOM)]:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_pages_policy_takes_part_in_at_most_fifteen_lines(folder, capsys):
    ((name, code),) = BLOCKS
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 15
    (command,) = re.findall(rf"^ccenv (challenge {name}:\w+)$", PAGE, flags=re.MULTILINE)
    assert cli.main([*command.split(), "--table", "mlp"]) == 0
    shown = capsys.readouterr().out
    entry = command.split()[1]
    assert re.search(
        rf"^{entry}: rank \d+ of \d+, closes -?[\d.]+ ± [\d.]+ % of the gap$", shown, re.M
    )


def test_standings_fit_the_terminal(monkeypatch, capsys):
    coins = SimpleNamespace(act=lambda look: np.full((len(look), 10), 0.5))
    mine = Candidate("mine:MyPolicy", lambda table, cost_weight: coins)
    # As wide as all tables of the package, for the time of one.
    everything = together([standings(shipped_tasks(["mlp"])[0], [mine])] * len(SHIPPED))
    (rank,) = (one.rank for one in everything if one.kind == "entry")
    for width in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        print_standings("all tables", everything, SHIPPED)
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= width
        for name in ("oracle", "best static mask", "random masks", "dense network"):
            assert name in shown
        assert f"mine:MyPolicy: rank {rank} of {len(everything) - 1}, closes -" in shown


def test_json_says_what_every_policy_reaches_everywhere(folder, capsys):
    assert cli.main(["challenge", "mine:MyPolicy", "--json", "--table", "mlp"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cost_weights"] == list(COST_WEIGHTS)
    (mine,) = (one for one in found["tables"]["mlp"] if one["kind"] == "entry")
    assert [part["cost_weight"] for part in mine["parts"]] == list(COST_WEIGHTS)
    assert all(0 < part["cost"] < 1 for part in mine["parts"])
    assert {one["name"] for one in found["standings"]} >= {"oracle", "mine:MyPolicy"}


def test_a_file_is_judged_on_the_network_that_it_is_for(folder, capsys):
    weights = shipped_table("mlp").header.weights
    policies = {weight: {"keep": np.full(10, 0.5)} for weight in COST_WEIGHTS}
    write_entry(folder / "a", "[bold]x[/bold] <b>", weights, policies)
    assert cli.main(["challenge", str(folder / "a")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("mlp: ")
    assert "[bold]x[/bold] <b>: rank" in shown
    assert "Ranks rest on trust" in " ".join(shown.split())
    assert cli.main(["challenge", str(folder / "a"), "--table", "resnet20"]) == 2
    assert "give --table mlp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mine:Peeks", "--table", "mlp"], "never labels"),
        (["mine:MyPolcy"], "did you mean 'MyPolicy'"),
        (["nowhere:MyPolicy"], "no module named 'nowhere'"),
        (["mine"], "or module:name of a class, got 'mine'"),
        (["--table", "resnet2"], "did you mean 'resnet20'"),
        (["--choose", "x"], "together with a --table of yours"),
        (["--table", str(FOLDER / "mlp-validation.safetensors")], "got those that judge"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(words, said, folder, capsys):
    before = set(folder.iterdir())
    assert cli.main(["challenge", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert {path for path in folder.iterdir() if path.suffix} <= before


def test_a_table_of_yours_judges_what_the_packages_table_taught(folder, capsys):
    own = str(FOLDER / "mlp-test.safetensors")
    assert cli.main(["challenge", "mine:MyPolicy", "--table", own]) == 0
    assert capsys.readouterr().out.startswith("mlp-test: 2,400 held-out inputs judge")


def test_tables_and_recorded_policies_are_small():
    assert all(path.stat().st_size < MOST_BYTES for path in FOLDER.rglob("*.safetensors"))
    assert all(shipped_table(path.name.split("-")[0]) for path in ENTRIES.iterdir())


def test_the_wheel_holds_every_table_and_recorded_policy():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = {
        path
        for pattern in settings["package-data"]["ccenv.mask_table"]
        for path in FOLDER.parent.glob(pattern)
    }
    assert packed == set(FOLDER.rglob("*.safetensors"))
