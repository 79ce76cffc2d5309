"""Laws of recorded tables: all pages show what is recorded, all that is recorded can be shown."""

import itertools
import json
import re
from pathlib import Path

import pytest

from ccenv.runs.lab import tables
from ccenv.runs.stats.dense_comparison import make_contests
from ccenv.runs.stats.measures import ERROR
from ccenv.runs.stats.verdict import baseline_sentences
from ccenv.runs.studies import STUDIES, find_study
from ccenv.runs.studies.sections import judged_points

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


def equal_rows(path):
    """Pairs of labels whose recorded nll are equal in all common seeds, whatever the masks."""
    rows = {}
    for cell in json.loads(path.read_text()).get("cells", []):
        numbers = {(e["split"], e["mode"]): e["nll"] for e in cell["evaluations"]}
        rows.setdefault(cell["label"], {})[cell["seed"]] = numbers
    for one, other in itertools.combinations(rows, 2):
        common = rows[one].keys() & rows[other].keys()
        if common and all(rows[one][seed] == rows[other][seed] for seed in common):
            yield one, other


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_rows_of_equal_nll_in_all_common_seeds_are_one(path):
    pairs = list(equal_rows(path)) if path.stem in STUDIES else []
    if not pairs:
        return
    comparison = tables.recorded_comparison(find_study(path.stem).sweep, RESULTS)
    contests = make_contests(comparison.results, "mode")
    parts = [{point.label for point in judged_points(comparison, ERROR)}]
    parts += [{point.label for point in (*one.dense, *one.conditional)} for one in contests]
    same = {row["label"]: row["same_as"] for row in comparison.rows}
    said = " ".join(baseline_sentences(comparison.rows))
    for one, other in pairs:
        assert not any({one, other} <= labels for labels in parts)
        assert same[one] == other or same[other] == one or same[one] == same[other] != ""
        assert f"{one} = {other}" in said or f"{other} = {one}" in said


def test_a_table_without_a_record_says_so(tmp_path, capsys):
    (tmp_path / "README.md").write_text("<!-- table: nothing -->\n<!-- end -->\n")
    arguments = [str(tmp_path / "README.md"), "--results-dir", str(tmp_path)]
    assert tables.main(arguments) == 2
    assert "record it first" in capsys.readouterr().err
