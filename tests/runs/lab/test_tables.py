"""Laws of recorded tables and figures: pages show what is recorded, all of it can be shown."""

import json
import re
from pathlib import Path

import pytest

from ccenv.runs.lab import tables

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "runs/results"
PAGES = [ROOT / "README.md", RESULTS / "README.md", *sorted((ROOT / "runs/docs").rglob("*.md"))]
LINKS = sorted({link for page in PAGES for link in tables.links(page.read_text())})
LINK = "![Errors](runs/results/figures/rloo-why--{}.png)\n"


@pytest.fixture
def folder(tmp_path):
    """Copies of a sweep's result and of recorded speeds, as they are in the repository."""
    for name in ("rloo-why.json", "kernel-speed.json"):
        (tmp_path / name).write_bytes((RESULTS / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_recorded_by_older_versions_stays_readable(path):
    content = json.loads(path.read_text())
    # A comparison on several data sets has a line with their name before each table.
    assert re.search(r"^\|.*\|$", tables.TABLES[content["kind"]](content["rows"]), re.MULTILINE)


def test_tables_of_all_pages_are_those_of_the_recorded_results():
    marked = [str(page) for page in PAGES if "<!-- table:" in page.read_text()]
    assert {Path(page).name for page in marked} > {"README.md", "text.md", "speed.md", "paper.md"}
    assert tables.main([*marked, "--check", "--results-dir", str(RESULTS)]) == 0


def test_a_table_without_a_record_says_so(tmp_path, capsys):
    (tmp_path / "README.md").write_text("<!-- table: nothing -->\n<!-- end -->\n")
    arguments = [str(tmp_path / "README.md"), "--results-dir", str(tmp_path)]
    assert tables.main(arguments) == 2
    assert "record it first" in capsys.readouterr().err


def test_every_linked_figure_is_there_and_every_figure_is_linked():
    for page in PAGES:
        text = page.read_text()
        pictures = re.findall(r"!\[[^]]+\]\(([^)]*figures/[^)]+)\)", text)
        assert len(pictures) == len(tables.links(text))
        assert all((page.parent / picture).is_file() for picture in pictures)
    figures = {RESULTS / "figures" / f"{result}--{name}.png" for result, name in LINKS}
    assert figures == set((RESULTS / "figures").iterdir())
    assert all(figure.read_bytes()[1:4] == b"PNG" for figure in figures)


def test_a_link_is_drawn_into_its_file(folder):
    (folder / "text.md").write_text(2 * LINK.format("ablation") + "![Other](a--b.png)")
    assert tables.main(["--figures", str(folder / "text.md"), "--results-dir", str(folder)]) == 0
    (drawn,) = (folder / "figures").iterdir()
    assert drawn.name == "rloo-why--ablation.png"
    assert drawn.read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINK.format("ablatoin"), "ablation"),
        (LINK.format("x").replace("rloo-why", "front-mnist"), "expected recorded runs"),
        (LINK.format("ablation").replace("rloo-why", "rloo-wy"), "rloo-why"),
        (LINK.format("fig5.2").replace("rloo-why", "kernel-sped"), "kernel-speed"),
    ],
)
def test_a_link_to_nothing_is_told_and_leaves_no_file(folder, text, message, capsys):
    (folder / "text.md").write_text(LINK.format("ablation") + text)
    assert tables.main(["--figures", str(folder / "text.md"), "--results-dir", str(folder)]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "figures").exists()
