"""The sweeps of the paper and of equal cost: what they hold, and that a miniature of each runs."""

import dataclasses
import functools

import pytest
from made_results import runs, whole_result

from ccenv.runs.commands import compare
from ccenv.runs.config import sweep as cells
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.jobs import Comparison, Finished, make_jobs
from ccenv.runs.stats.measures import dataset_of
from ccenv.runs.studies import STUDIES
from ccenv.runs.studies.paper.figures import density_of
from ccenv.runs.studies.paper.numbers import digitised, trend
from ccenv.runs.sweeps import SWEEPS, Cell, Sweep

PREFIXES = ("paper-", "equal-cost-", "low-density-", "rloo-why")
OWN = [name for name in SWEEPS if name.startswith(PREFIXES)]
EQUAL_COST = [name for name in OWN if name.startswith("equal-cost-")]
CHOSEN = {"learning_rate", "weight_decay", "teacher_units", "distill_weight", "teacher_temperature"}
"""What validation chooses; a warm start is one of conditional networks."""


@functools.cache
def in_miniature():
    """Each sweep's miniature, without rows of a kind that an earlier one has; one row at least."""
    seen, found = set(), {}
    for name in OWN:
        small = SWEEPS[name].miniature()
        kinds = [
            cells.row_kind(Cell("", cell.agent, {**small.settings, **cell.settings}))
            for cell in small.cells
        ]
        rows = [c for c, kind in zip(small.cells, kinds, strict=True) if kind not in seen]
        seen |= set(kinds)
        found[name] = dataclasses.replace(small, cells=tuple(rows) or small.cells[:1])
    return found


IN_THE_SUITE = ("paper-mnist-density",)
"""The others take minutes together, and their rows are of the same kinds."""


@pytest.mark.parametrize(
    "name", [n if n in IN_THE_SUITE else pytest.param(n, marks=pytest.mark.slow) for n in OWN]
)
def test_a_miniature_of_every_sweep_runs(name, tmp_path, capsys):
    folders = [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]
    options = compare.make_parser().parse_args([name, "--jobs", "1", *folders])
    options.sweep = in_miniature()[name]
    assert compare.compared(options) == 0
    shown = capsys.readouterr().out
    for cell in options.sweep.cells:
        assert cell.label in shown


@pytest.mark.parametrize("name", OWN)
def test_a_miniature_has_a_row_of_every_kind_and_one_seed(name):
    sweep = SWEEPS[name]
    small = sweep.miniature()
    assert {(c.agent, c.label) for c in small.cells} <= {(c.agent, c.label) for c in sweep.cells}
    settings = [{**c.settings, **cells.MINIATURE, **sweep.mini} for c in sweep.cells]
    kinds = {
        cells.row_kind(Cell(cell.label, cell.agent, own))
        for cell, own in zip(sweep.cells, settings, strict=True)
    }
    assert [cells.row_kind(cell) for cell in small.cells] == list(
        dict.fromkeys(cells.row_kind(cell) for cell in small.cells)
    )
    assert {cells.row_kind(cell) for cell in small.cells} == kinds
    for job in make_jobs(small, "unused"):
        assert job.plan.program.images <= 512
        assert job.plan.environment["dataset"] == "synthetic"
    assert len(small.seeds) == 1


def test_what_a_miniature_has_for_itself_makes_no_other_kind():
    rows = tuple(Cell(name, "dense", {"dataset": name}) for name in ("mnist", "svhn"))
    assert len(Sweep("s", "d", rows, 1.0).miniature().cells) == 1


def test_a_miniature_says_what_fits_a_sweep_better():
    sweep = Sweep("s", "d", (Cell("a", "dense", {"images": 9}),), 1.0, mini={"images": 7})
    assert sweep.miniature().cells[0].settings["images"] == 7
    assert sweep.miniature().name == "s-miniature"


@pytest.mark.parametrize("name", OWN)
def test_sweeps_have_seeds_enough_for_intervals(name):
    large = ("cifar10", "paper-svhn", "lambda")
    once = ("paper-front", "equal-cost-mnist-shifted")
    expected = 1 if name in once else 3 if any(word in name for word in large) else 5
    assert len(SWEEPS[name].seeds) == expected


def whole(plan):
    """The data set of a plan, of whole images where it has halves."""
    return dataset_of({"settings": {"environment": plan.environment}})


@pytest.mark.parametrize("name", EQUAL_COST)
def test_dense_and_conditional_networks_are_trained_alike(name):
    sweep = SWEEPS[name]
    plans = [make_plan(cell.agent, {**sweep.settings, **cell.settings}) for cell in sweep.cells]
    alike = [
        (p.program.images, p.program.batch_size, whole(p), p.environment["weights"]) for p in plans
    ]
    assert len(set(alike)) == 1
    first = plans[0].environment["weights_kwargs"]
    for plan in plans:
        own = plan.environment["weights_kwargs"]
        changed = {name for name in own if own[name] != first.get(name)}
        assert changed <= CHOSEN | {"warm_start"}
        assert "warm_start" not in changed or plan.agent != "dense"


@pytest.mark.parametrize("name", EQUAL_COST)
def test_what_is_tried_on_conditional_networks_is_tried_on_dense_ones(name):
    sweep = SWEEPS[name]
    tried = {True: set(), False: set()}
    for cell in sweep.cells:
        own = make_plan(cell.agent, {**sweep.settings, **cell.settings}).environment
        kwargs = {k: v for k, v in own["weights_kwargs"].items() if k in CHOSEN}
        way = (str(sorted(kwargs.items())), own["network"], own["transforms"])
        tried[cell.agent == "dense"].add(way)
    dropped = {way for way in tried[False] if "dropout" in way[1]}
    starts = {way for way in tried[False] if "teacher_units" in way[0] and "distill" not in way[0]}
    assert tried[False] - dropped - starts <= tried[True]
    assert not dropped or any("dropout" in way[1] for way in tried[True])


FIGURES = {
    "paper-lambda-s": ("fig5a",),
    "paper-lambda-v": ("fig5b",),
    "paper-mnist-density": ("fig5.7",),
    "paper-front": ("fig3", "fig5.16"),
    "paper-mnist": ("fig1",),
}


def test_the_papers_trends_are_those_that_it_describes():
    errors = [y for _, y in trend(digitised("fig5a-error")["condnet"])]
    seconds = [y for _, y in trend(digitised("fig5a-seconds")["condnet"])]
    assert errors == sorted(errors)
    assert seconds == sorted(seconds, reverse=True)
    curves = digitised("fig5b")
    assert all(
        low[1] > high[1]
        for low, high in zip(curves["lowest lambda_v"], curves["highest lambda_v"], strict=True)
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_sweep_of_a_figure_leaves_that_figure(name, tmp_path):
    sweep = SWEEPS[name]
    rows = (dataclasses.replace(sweep.cells[i], seeds=None) for i in (0, -1))
    small = Sweep(name, "d", tuple(rows), 1.0, sweep.settings, (0,))
    done = tuple(Finished(job.label, whole_result(job)) for job in make_jobs(small, "unused"))
    (section,) = (one for one in STUDIES[name].sections if one.name == "paper")
    part = section.make(Comparison(small, done, (), "sampled"), tmp_path / "none")
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
    assert density_of(found) == pytest.approx(0.1)
