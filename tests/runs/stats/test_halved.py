"""Rows on images of half size, averages over 2 x 2 pixels, beside rows on whole images."""

import made_results
import pytest

from ccenv.runs.lab.benchmarks.front_times import by_size
from ccenv.runs.report.figures import make_looks, named_groups
from ccenv.runs.stats.dense_comparison import front_error, make_contests
from ccenv.runs.stats.measures import dataset_of, has_halves
from ccenv.runs.stats.rows import dropout_curves
from ccenv.runs.sweeps import SWEEPS, Cell


def result(agent, transforms, macs, error):
    """What a run on images that went through transforms leaves."""
    sizes = {"num_blocks": (4,), "block_size": 8, "network": "mlp"}
    sizes |= {"head_units": (), "activation": "relu", "transforms": transforms}
    more = {"environment": sizes, "cost": macs / 1e3, "latency": []}
    return made_results.result(agent, 0, macs, error, **more)


WHOLE, HALVES = (), ["halve"]


def test_rows_on_halves_stand_in_one_contest_with_rows_on_whole_images():
    results = {
        "dense": [result("dense", WHOLE, 200, 0.1)],
        "dense, half size": [result("dense", HALVES, 50, 0.12)],
        "rloo, half size": [result("rloo", HALVES, 100, 0.05)],
    }
    (contest,) = make_contests(results)
    assert contest.dataset == "mnist"
    assert [point.label for point in contest.dense] == ["dense, half size", "dense"]
    assert front_error(contest.compared, 100) == {0: pytest.approx(0.11)}


def test_random_blocks_on_whole_images_are_no_floor_for_rows_on_halves():
    whole, half = (result("block_dropout", name, 100, 0.5) for name in (WHOLE, HALVES))
    assert dropout_curves([whole, half], "sampled", half) == {0: [(0.1 + 0.05, 0.5)]}
    assert dropout_curves([whole], "sampled", half) == {}


def test_rows_on_other_images_stand_in_other_tables_and_older_ones_went_through_nothing():
    moved, plain = (result("dense", names, 9, 0.1) for names in (["shift=2", "standardise"], WHOLE))
    assert dataset_of(moved) == "mnist+shift=2+standardise"
    assert dataset_of(plain) == "mnist"
    del plain["settings"]["environment"]["transforms"]
    assert dataset_of(plain) == "mnist"
    assert not has_halves(plain)


def test_halves_are_timed_apart_from_whole_images_of_the_same_layers():
    whole = SWEEPS["smoke"]
    cell = Cell("dense 8", "dense", {"num_blocks": (1,), "block_size": 8})
    cells = tuple(
        type(cell)(label, "dense", {**cell.settings, "transforms": names})
        for label, names in (("whole", WHOLE), ("half", HALVES))
    )
    sweep = type(whole)("s", "Two sizes.", cells, 1.0)
    assert [one.labels for one in by_size(sweep)] == [["whole"], ["half"]]


def shown_groups(results, folder):
    """Name at the points -> labels of rows, in the first figure."""
    (view, *_), figures = made_results.drawn_views(results, folder)
    groups = named_groups(view, make_looks(results))
    shown = {name: [p.label for _, p in group.pairs] for name, group in groups.items()}
    return shown, groups, figures[view.when]


def test_figures_tell_whole_images_from_halves_only_where_both_are(tmp_path):
    results = {
        "dense 8": [result("dense", WHOLE, 200, 0.1)],
        "dense 16": [result("dense", WHOLE, 300, 0.08)],
        "rloo": [result("rloo", WHOLE, 150, 0.07)],
    }
    shown, *_ = shown_groups(results, tmp_path)
    assert shown == {"rloo": ["rloo"], "dense": ["dense 8", "dense 16"]}
    results["dense, half size"] = [result("dense", HALVES, 50, 0.09)]
    results["rloo, half size"] = [result("rloo", HALVES, 100, 0.05)]
    shown, groups, drawn = shown_groups(results, tmp_path)
    assert shown == {
        "dense, half size": ["dense, half size"],
        "dense, whole images": ["dense 8", "dense 16"],
        "rloo, half size": ["rloo, half size"],
        "rloo, whole images": ["rloo"],
    }
    hollow = {name for name, group in groups.items() if group.style.get("mfc") == "none"}
    assert hollow == {"dense, whole images", "rloo, whole images"}
    for label in results:
        assert label in drawn.svg
