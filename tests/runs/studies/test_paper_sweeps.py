"""Sweeps of the paper and of equal cost: each runs in miniature, all networks are trained alike."""

import dataclasses
import json

import pytest
from made_results import compared, runs, whole_result

from ccenv.runs.commands import compare
from ccenv.runs.config.settings import make_plan
from ccenv.runs.stats.measures import dataset_of
from ccenv.runs.studies import STUDIES
from ccenv.runs.studies.paper.figures import drawn_density
from ccenv.runs.sweeps import SWEEPS, Sweep

PREFIXES = ("paper-", "equal-cost-", "low-density-", "rloo-why")
OWN = [name for name in SWEEPS if name.startswith(PREFIXES)]


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_miniature_of_every_sweep_runs(name, tmp_path, capsys):
    folders = [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]
    assert compare.main([name, "--miniature", "--jobs", "1", "--json", *folders]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in rows] == [c.label for c in SWEEPS[name].miniature().cells]


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
    assert drawn_density(found) == pytest.approx(0.1)


EQUAL_COST = [name for name in SWEEPS if name.startswith("equal-cost-")]
CHOSEN = {"learning_rate", "weight_decay", "teacher_units", "distill_weight", "teacher_temperature"}
"""What validation chooses; a warm start is one of conditional networks."""


def plans_of(sweep):
    return [make_plan(cell.agent, {**sweep.settings, **cell.settings}) for cell in sweep.cells]


@pytest.mark.parametrize("name", EQUAL_COST)
def test_dense_and_conditional_networks_are_trained_alike(name):
    plans = plans_of(SWEEPS[name])
    alike = {
        (
            p.program.images,
            p.program.batch_size,
            dataset_of({"settings": {"environment": p.environment}}),
            p.environment["weights"],
        )
        for p in plans
    }
    assert len(alike) == 1
    first = plans[0].environment["weights_kwargs"]
    for plan in plans:
        own = plan.environment["weights_kwargs"]
        changed = {name for name in own if own[name] != first.get(name)}
        assert changed <= CHOSEN | {"warm_start"}
        assert "warm_start" not in changed or plan.agent != "dense"


@pytest.mark.parametrize("name", EQUAL_COST)
def test_what_is_tried_on_conditional_networks_is_tried_on_dense_ones(name):
    tried = {True: set(), False: set()}
    for plan in plans_of(SWEEPS[name]):
        own = plan.environment
        kwargs = {k: v for k, v in own["weights_kwargs"].items() if k in CHOSEN}
        way = (str(sorted(kwargs.items())), own["network"], own["transforms"])
        tried[plan.agent == "dense"].add(way)
    dropped = {way for way in tried[False] if "dropout" in way[1]}
    starts = {way for way in tried[False] if "teacher_units" in way[0] and "distill" not in way[0]}
    assert tried[False] - dropped - starts <= tried[True]
    assert not dropped or any("dropout" in way[1] for way in tried[True])
