"""Laws of what a sweep leaves for TensorBoard."""

import dataclasses

import numpy as np
import pytest
from made_results import charts_of, compared, server_context, whole_result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext

from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine import sweep_runs
from ccenv.runs.report import over_seeds
from ccenv.runs.stats.intervals import mean_interval
from ccenv.runs.tensorboard.charts import MEASURES, tags_over_seeds

END = 120_000
CELLS = (
    Cell("dense", "dense"),
    Cell("half of all", "block_dropout", {"keep_probability": 0.5}),
    Cell("reinforce", "reinforce"),
)
SWEEP = Sweep("toy", "Two rules and a learner.", CELLS, 1.0, {"dataset": "probe"}, (0, 1, 2))


@pytest.fixture(scope="module")
def comparison():
    """The sweep with every run finished; rules are validated once."""

    def result_of(job):
        # So few errors that an interval would reach below none.
        one = whole_result(job, error=0.0005, cost=1.0 if job.label == "dense" else 0.2)
        return one | {"curve": one["curve"][: None if one["learns"] else 1]}

    return compared(SWEEP, result_of)


@pytest.fixture(scope="module")
def board(comparison, tmp_path_factory):
    """The folder for TensorBoard, of a log folder that holds no run."""
    place = over_seeds.write_sweep(comparison, str(tmp_path_factory.mktemp("empty")))
    assert place.name == "tbm"
    return place


def scalars(folder, tag):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(point.step, point.value) for point in events.Scalars(tag)]


def test_each_label_is_a_run_whose_curves_are_means_over_seeds(comparison, board):
    assert {p.name for p in board.iterdir() if p.is_dir()} == {
        "dense, toy",
        "half of all, toy",
        "reinforce, toy",
        "table, toy",
    }
    for label, folder in (("reinforce", "reinforce, toy"), ("dense", "dense, toy")):
        results = comparison.results[label]
        for images_seen, mean in scalars(board / folder, tags_over_seeds("error")[0])[:1]:
            at_once = [r["curve"][0]["error"] for r in results]
            assert images_seen == 0
            assert mean == pytest.approx(np.mean(at_once), abs=1e-6)
    last = [r["evaluations"][2] for r in comparison.results["reinforce"]]
    for name, field in {
        "error": "error",
        "total_cost": "total_cost",
        "reward": "mean_return",
    }.items():
        step, value = scalars(board / "reinforce, toy", tags_over_seeds(name)[0])[-1]
        assert step == END
        assert value == pytest.approx(np.mean([v[field] for v in last]), abs=1e-6)


def test_intervals_are_those_of_the_table_within_what_is_possible(comparison, board):
    _, low, high = tags_over_seeds("error")
    last = [r["evaluations"][2]["error"] for r in comparison.results["reinforce"]]
    found = mean_interval(last)
    assert scalars(board / "reinforce, toy", low)[-1][1] == pytest.approx(
        max(found.low, 0), abs=1e-6
    )
    assert scalars(board / "reinforce, toy", high)[-1][1] == pytest.approx(
        min(found.high, 1), abs=1e-6
    )


def test_a_rule_is_a_level_line_to_the_end(board):
    (begin, first), (end, last) = scalars(board / "dense, toy", tags_over_seeds("density")[0])
    assert (begin, end) == (0, END)
    assert first == last == 1


def test_margin_charts_find_their_three_curves_in_every_label(board):
    context = server_context(board)
    drawn = charts_of(context)
    assert [chart["title"] for chart in drawn] == list(MEASURES.values())[::-1]
    listed = context.data_provider.list_scalars(
        RequestContext(), experiment_id="0", plugin_name="scalars"
    )
    for chart in drawn:
        (series,) = chart["margin"]["series"]
        for label in ("dense", "half of all", "reinforce"):
            tags = set(listed[f"{label}, toy"])
            assert {series["value"], series["lower"], series["upper"]} <= tags


def test_no_chart_is_empty_where_recorded_results_keep_no_reward(comparison, tmp_path):
    def bare(one):
        curve = [{k: v for k, v in p.items() if k != "mean_return"} for p in one.result["curve"]]
        return sweep_runs.Finished(one.label, one.result | {"curve": curve})

    finished = tuple(map(bare, comparison.finished))
    place = over_seeds.write_sweep(sweep_runs.SweepRuns(SWEEP, finished, ()), str(tmp_path))
    titles = {chart["title"] for chart in charts_of(server_context(place))}
    assert titles == {MEASURES[name] for name in ("error", "total_cost", "density")}


def test_a_sweep_is_written_anew_as_it_is(comparison, tmp_path):
    place = over_seeds.write_sweep(comparison, str(tmp_path))
    other = dataclasses.replace(SWEEP, name="other-toy")
    over_seeds.write_sweep(sweep_runs.SweepRuns(other, comparison.finished, ()), str(tmp_path))
    fewer = sweep_runs.SweepRuns(SWEEP, comparison.finished[3:], ())
    over_seeds.write_sweep(fewer, str(tmp_path))
    assert not (place / "dense, toy").exists()
    assert len(list((place / "reinforce, toy").iterdir())) == 1
    assert (place / "dense, other-toy").exists()


def test_a_network_of_its_own_sizes_has_a_density_too():
    point = {"images_seen": 1, "error": 0.5, "total_cost": 1.0, "density": [1.0, 0.5, 0.0]}
    environment = {"num_blocks": [10, 10], "network_kwargs": {"depth": 8}}
    recorded = {"seed": 0, "settings": {"environment": environment}, "curve": [point]}
    assert over_seeds.make_curves([recorded])["density"][1].mean == 0.5
    used = {"block_use": [[[1]], [[1]], [[1, 1]]]}
    assert over_seeds.make_curves([recorded | used])["density"][1].mean == 0.375
