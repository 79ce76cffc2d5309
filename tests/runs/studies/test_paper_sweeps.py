"""The sweeps of the paper and of equal cost: a miniature of each runs, and leaves its figures."""

import dataclasses

import pytest
from made_results import compared, runs, whole_result

from ccenv.runs.commands import compare
from ccenv.runs.stats.rows import mean_over_seeds
from ccenv.runs.studies import STUDIES
from ccenv.runs.sweeps import SWEEPS, Cell, Sweep

PREFIXES = ("paper-", "equal-cost-", "low-density-", "rloo-why")
OWN = [name for name in SWEEPS if name.startswith(PREFIXES)]


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_miniature_of_every_sweep_runs(name, tmp_path, capsys):
    folders = [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]
    assert compare.main([name, "--miniature", "--jobs", "1", *folders]) == 0
    shown = capsys.readouterr().out
    assert all(cell.label in shown for cell in SWEEPS[name].miniature().cells)


def test_a_miniature_says_what_fits_a_sweep_better():
    sweep = Sweep("s", "d", (Cell("a", "dense", {"images": 9}),), 1.0, mini={"images": 7})
    assert sweep.miniature().cells[0].settings["images"] == 7
    assert sweep.miniature().name == "s-miniature"


FIGURES = {
    "paper-lambda-s": ("fig5a",),
    "paper-lambda-v": ("fig5b",),
    "paper-mnist-density": ("fig5.7",),
    "paper-front": ("fig3", "fig5.16"),
    "paper-mnist": ("fig1",),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_sweep_of_a_figure_leaves_that_figure(name, tmp_path):
    sweep = SWEEPS[name]
    rows = (dataclasses.replace(sweep.cells[i], seeds=None) for i in (0, -1))
    small = Sweep(name, "d", tuple(rows), 1.0, sweep.settings, (0,))
    (section,) = (one for one in STUDIES[name].sections if one.name == "paper")
    part = section.make(compared(small, whole_result), tmp_path / "none")
    assert tuple(figure.name for figure in part.figures) == FIGURES[name]
    assert all(len(figure.png) > 1000 for figure in part.figures)
    for table in part.tables:
        assert len(table.texts) == 10
        assert table.texts[0][2:] == ["0.50"] * 16


def test_density_on_the_axis_is_that_of_drawn_masks():
    found = runs("condnet", 100, 0.1)
    for run in found:
        most_probable = {"split": "validation", "mode": "mode", "density": [0.0], "error": 0.9}
        run["evaluations"].append(most_probable)
    assert mean_over_seeds(found, "sampled", "density", "validation") == pytest.approx(0.1)
