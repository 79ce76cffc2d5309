"""Figures of a README: drawn from recorded results alone, by the link's name."""

import re
from pathlib import Path

import pytest

from ccenv.runs.lab import tables

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "runs" / "results"
LINK = "![Errors](runs/results/figures/rloo-why--{}.png)\n"


@pytest.fixture
def folder(tmp_path):
    """Copies of a sweep's result and of recorded speeds, as they are in the repository."""
    for name in ("rloo-why.json", "kernel-speed.json"):
        (tmp_path / name).write_bytes((RESULTS / name).read_bytes())
    return tmp_path


PAGES = [ROOT / "README.md", RESULTS / "README.md", *sorted((ROOT / "runs/docs").rglob("*.md"))]


LINKS = sorted({link for page in PAGES for link in tables.links(page.read_text())})


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
