"""Rows on images of half size, averages over 2 x 2 pixels, beside rows on whole images."""

import made_results
import pytest

from ccenv.runs.stats.dense_comparison import front_error, make_contests
from ccenv.runs.stats.measures import dataset_of
from ccenv.runs.stats.rows import dropout_curves


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
