"""Laws of `ccenv table judge`: the documentation's entry stands, forged ones are told and fail."""

import json
import re
from pathlib import Path

import numpy as np

from ccenv.base.checked_arrays import write_arrays
from ccenv.mask_table import PRICES, shipped_table, write_entry
from ccenv.mask_table.evaluation.entry import KIND, VERSION
from ccenv.mask_table.shipped import FOLDER, MOST_BYTES
from ccenv.runs.commands import cli

PAGE = (Path(__file__).parents[3] / "runs" / "docs" / "table.md").read_text()


def test_a_strangers_entry_made_from_the_documentation_alone_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (made,) = (block for block in blocks if "write_entry(" in block)
    exec(made, {})
    (command,) = re.findall(r"^ccenv (table judge mine\.safetensors)$", PAGE, flags=re.MULTILINE)
    assert cli.main(command.split()) == 0
    shown = capsys.readouterr().out
    assert "apart | linear, exact gradient | open function" in shown
    assert "best static mask" in shown
    Path("forged.safetensors").write_bytes(Path("mine.safetensors").read_bytes()[:-3])
    assert cli.main([*command.split(), "forged.safetensors", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (mine,) = (row for row in found["standings"] if row["kind"] == "open function")
    assert [at["price"] for at in mine["at"]] == list(PRICES)
    assert all(0 < at["regret"] < 1 for at in mine["at"])
    assert [row["file"] for row in found["refused"]] == ["forged.safetensors"]
    words = [*command.split(), "--choose", str(FOLDER / "resnet20-test.safetensors")]
    assert cli.main(words) == 2
    assert "got those that judge" in capsys.readouterr().err


def test_shipped_tables_are_small_and_of_one_network_and_different_images():
    test, validation = (shipped_table("resnet20", split) for split in ("test", "validation"))
    assert (test.header.split, validation.header.split) == ("test", "validation")
    assert test.header.weights == validation.header.weights
    assert test.header.data != validation.header.data
    assert test.nll is None
    assert all(path.stat().st_size < MOST_BYTES for path in FOLDER.iterdir())


def test_what_somebody_else_wrote_acts_on_no_page_and_no_terminal(tmp_path, capsys):
    weights, coins = shipped_table("resnet20", "test").header.weights, np.full(9, 0.5)
    policies = {price: {"keep": coins} for price in PRICES}
    write_entry(tmp_path / "a", "<img src=x> [a](b) | *c*", weights, policies)
    arrays = {f"keep@{price:g}": coins for price in PRICES} | {"\x1b[2J<b>`x`": coins}
    texts = {"kind": KIND, "version": VERSION, "name": "x", "weights": weights}
    write_arrays(tmp_path / "b", arrays, texts)
    assert cli.main(["table", "judge", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    shown = capsys.readouterr().out
    assert r"&lt;img src=x&gt; \[a\](b) \| \*c\*" in shown
    assert r"\[2J&lt;b&gt;\`x\`" in shown
    assert "\x1b" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown
