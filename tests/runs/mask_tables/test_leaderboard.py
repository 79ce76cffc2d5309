"""Laws of `ccenv table judge`: the documentation's entry stands, forged ones are told and fail."""

import json
import re
from pathlib import Path

from ccenv.mask_table import PRICES, shipped_table
from ccenv.mask_table.shipped import FOLDER, MOST_BYTES
from ccenv.runs import cli

PAGE = (Path(__file__).parents[3] / "runs" / "docs" / "table.md").read_text()


def test_a_strangers_entry_made_from_the_documentation_alone_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (made,) = (block for block in blocks if "write_entry(" in block)
    exec(made, {})
    (command,) = re.findall(r"^ccenv (table judge mine\.safetensors)$", PAGE, flags=re.MULTILINE)
    assert cli.main(command.split()) == 0
    shown = capsys.readouterr().out
    assert "linear, exact gradient | function" in shown
    assert "best static mask" in shown
    Path("forged.safetensors").write_bytes(Path("mine.safetensors").read_bytes()[:-3])
    assert cli.main([*command.split(), "forged.safetensors", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (mine,) = (row for row in found["standings"] if row["kind"] == "function")
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
