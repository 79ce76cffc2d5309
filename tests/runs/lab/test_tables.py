"""Laws of recorded tables: all pages show what is recorded, all that is recorded can be shown."""

import json
import re
from pathlib import Path

import pytest

from ccenv.runs.lab import tables

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "runs/results"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_recorded_by_older_versions_stays_readable(path):
    content = json.loads(path.read_text())
    # A comparison on several data sets has a line with their name before each table.
    assert re.search(r"^\|.*\|$", tables.TABLES[content["kind"]](content["rows"]), re.MULTILINE)


def test_tables_of_all_pages_are_those_of_the_recorded_results():
    pages = [ROOT / "README.md", ROOT / "runs/results/README.md", *ROOT.glob("runs/docs/**/*.md")]
    marked = [str(page) for page in pages if "<!-- table:" in page.read_text()]
    assert {Path(page).name for page in marked} > {"README.md", "text.md", "speed.md", "paper.md"}
    assert tables.main([*marked, "--check", "--results-dir", str(ROOT / "runs/results")]) == 0


def test_a_table_without_a_record_says_so(tmp_path, capsys):
    (tmp_path / "README.md").write_text("<!-- table: nothing -->\n<!-- end -->\n")
    arguments = [str(tmp_path / "README.md"), "--results-dir", str(tmp_path)]
    assert tables.main(arguments) == 2
    assert "record it first" in capsys.readouterr().err
