"""Laws of the rows of a table: judged against random masks at their own cost, data sets apart."""

import dataclasses
import itertools
import math

import made_results
import pytest

import ccenv
from ccenv.agents import AGENTS
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.stats.cost_points import make_point
from ccenv.runs.stats.dense_comparison import front_error, make_contests
from ccenv.runs.stats.intervals import Interval, compare_intervals
from ccenv.runs.stats.measures import dataset_of
from ccenv.runs.stats.rows import dropout_curves, error_at, make_rows
from ccenv.runs.sweeps import SWEEPS
from ccenv.runs.tables.sweep_table import table
from ccenv.simulator.simulator import Simulator

NETWORK = {"network": "mlp", "num_blocks": [4], "block_size": 8, "head_units": []}


def result(agent, seed, cost, error, dataset="digits", **network):
    """The part of a result that tables read; each seed has a thousandth more errors."""
    environment = {"dataset": dataset, "activation": "relu", **NETWORK, **network}
    more = {"environment": environment, "cost": cost, "latency": []}
    return made_results.result(agent, seed, 1000 * cost, error, **more)


def test_random_blocks_of_another_network_are_no_floor():
    mine = [result("mine", 0, 0.3, 0.2)]
    wider = [result("block_dropout", 0, cost, 0.5 - cost, block_size=16) for cost in (0.1, 0.9)]
    finer = {"num_blocks": [16], "block_size": 2}
    units = [result("block_dropout", 0, cost, 0.5 - cost, **finer) for cost in (0.1, 0.9)]
    own = [result("block_dropout", 0, 0.1, 0.6)]
    other_end = [result("dense", 0, 1.0, 0.5, num_blocks=[1], block_size=64)]
    end = [result("dense", 0, 1.0, 0.15, num_blocks=[1], block_size=[32])]
    results = {"mine": mine, "wider": wider, "units": units, "other end": other_end}
    assert make_rows(results)[0].verdict == "no block_dropout"
    row = make_rows({**results, "own": own, "end": end})[0]
    share = math.log(0.35 / 0.15) / math.log(1.05 / 0.15)
    assert row.dropout_error.mean == pytest.approx(0.6 - 0.45 * share)
    assert row.above_random.mean == pytest.approx(0.2 - 0.6 + 0.45 * share)


def rows_of(error, seeds=(0, 1, 2)):
    results = {
        "low": [result("block_dropout", s, 0.1, 0.5) for s in seeds],
        "high": [result("block_dropout", s, 0.5, 0.1) for s in seeds],
        "mine": [result("mine", s, 0.3, error) for s in seeds],
        "oracle": [result("oracle", s, 0.05, 0.0) for s in seeds],
    }
    return {row.label: row for row in make_rows(results)}


@pytest.mark.parametrize(("error", "verdict"), [(0.1, "better"), (0.4, "worse")])
def test_an_agent_is_judged_against_random_masks_at_its_own_total_cost(error, verdict):
    row = rows_of(error)["mine"]
    share = math.log(0.35 / 0.15) / math.log(0.55 / 0.15)
    assert row.dropout_error.mean == pytest.approx(0.501 - 0.4 * share)
    assert row.verdict == verdict


def test_what_makes_a_seed_hard_for_both_cancels():
    floors = {s: (0.3, 0.5, 0.7)[s] for s in range(3)}
    results = {
        "low": [result("block_dropout", s, 0.1, error) for s, error in floors.items()],
        "high": [result("block_dropout", s, 0.5, error) for s, error in floors.items()],
        "less": [result("mine", s, 0.3, error - 0.02 - s / 1e3) for s, error in floors.items()],
        "equal": [result("mine", s, 0.3, error + (s - 1) / 1e2) for s, error in floors.items()],
    }
    *_, less, equal = make_rows(results)
    assert (less.verdict, equal.verdict) == ("better", "no difference")
    # Seeds that random masks do not have take nothing away.
    more = {"less": [*results["less"], result("mine", 3, 0.3, 0.9)]}
    assert make_rows(results | more)[2].above_random == less.above_random


def test_beyond_the_rates_there_is_no_verdict():
    assert error_at([(0.1, 0.5), (0.5, 0.1)], 0.05) is None
    assert error_at([(0.1, 0.5), (0.5, 0.1)], 0.6) is None
    assert error_at([(0.1, 0.5), (1.0, 0.1)], 1.1) == 0.1
    results = {"low": [result("block_dropout", 0, 0.1, 0.5)], "dear": [result("mine", 0, 0.3, 0.1)]}
    assert make_rows(results)[1].verdict == "outside its costs"


def test_rates_of_the_first_table_lie_close_enough_to_interpolate_between():
    plans = (job.plan for job in make_jobs(SWEEPS["quickstart"], "nowhere"))
    own = [plan.agent_settings for plan in plans if plan.agent == "block_dropout"]
    grid = {settings["keep_probability"] for settings in own}
    simulator = Simulator(500, split="test")

    def point(rate):
        policy = AGENTS["block_dropout"](simulator, keep_probability=rate)
        found = [ccenv.evaluate(simulator, policy, seed=seed) for seed in range(4)]
        return tuple(sum(getattr(f, name) for f in found) / 4 for name in ("total_cost", "error"))

    curve = [point(rate) for rate in sorted(grid)]
    for low, high in itertools.pairwise(sorted(grid)):
        cost, error = point((low + high) / 2)
        # Four times 500 inputs tell a point; a grid of 0.1, 0.2 and 0.4 is wrong by four.
        assert error_at(curve, cost) == pytest.approx(error, abs=0.025)


def test_the_front_leaves_out_ceilings_and_whoever_is_beaten_in_both():
    rows = rows_of(0.4)
    assert (rows["oracle"].on_front, rows["oracle"].verdict) == (False, "")
    assert rows["low"].on_front
    assert rows["high"].on_front
    assert rows["mine"].on_front
    assert not rows_of(0.6)["mine"].on_front
    assert rows_of(0.1, seeds=(0,))["mine"].verdict == "one seed"


def test_rows_of_different_data_sets_are_never_held_against_each_other():
    results = {
        "easy": [result("mine", s, 0.3, 0.1) for s in (0, 1)],
        "hard": [result("mine", s, 0.4, 0.5, dataset="cifar10") for s in (0, 1)],
        "low": [result("block_dropout", s, 0.1, 0.9, dataset="cifar10") for s in (0, 1)],
    }
    rows = {row.label: row for row in make_rows(results)}
    assert list(rows) == ["easy", "hard", "low"]
    assert all(row.on_front for row in rows.values())
    assert rows["easy"].verdict == "no block_dropout"
    shown = table([dataclasses.asdict(row) for row in rows.values()])
    first, second = shown.split("Data set cifar10:")
    assert "easy" in first
    assert "hard" not in first
    assert "low" in second


def test_intervals_that_touch_make_no_difference():
    assert (
        compare_intervals(Interval(0.1, 0.0, 0.0, 0.2), Interval(0.3, 0.0, 0.2, 0.4))
        == "no difference"
    )


def test_random_masks_are_sampled_in_every_table():
    runs = [result("block_dropout", seed, 0.3, 0.2) for seed in range(3)]
    for run in runs:
        run["evaluations"][1] |= {"error": 0.9, "macs": 0.0}
    sampled, greedy = (make_rows({"random": runs}, kind)[0] for kind in (False, True))
    assert greedy == sampled
    assert greedy.masks == "sampled"
    assert make_point("random", runs, True) == make_point("random", runs, False)


def through(agent, transforms, macs, error):
    """What a run on images that went through transforms leaves."""
    sizes = {"num_blocks": (4,), "block_size": 8, "network": "mlp"}
    sizes |= {"head_units": (), "activation": "relu", "transforms": transforms}
    more = {"environment": sizes, "cost": macs / 1e3, "latency": []}
    return made_results.result(agent, 0, macs, error, **more)


WHOLE, HALVES = (), ["halve"]


def test_rows_on_halves_stand_in_one_contest_with_rows_on_whole_images():
    results = {
        "dense": [through("dense", WHOLE, 200, 0.1)],
        "dense, half size": [through("dense", HALVES, 50, 0.12)],
        "rloo, half size": [through("rloo", HALVES, 100, 0.05)],
    }
    (contest,) = make_contests(results)
    assert contest.dataset == "mnist"
    assert [point.label for point in contest.dense] == ["dense, half size", "dense"]
    assert front_error(contest.dense, 100) == {0: pytest.approx(0.11)}


def test_random_blocks_on_whole_images_are_no_floor_for_rows_on_halves():
    whole, half = (through("block_dropout", name, 100, 0.5) for name in (WHOLE, HALVES))
    assert dropout_curves([whole, half], False, half) == {0: [(0.1 + 0.05, 0.5)]}
    assert dropout_curves([whole], False, half) == {}


def test_rows_on_other_images_stand_in_other_tables_and_older_ones_went_through_nothing():
    moved, plain = (
        through("dense", names, 9, 0.1) for names in (["shift=2", "standardise"], WHOLE)
    )
    assert dataset_of(moved) == "mnist+shift=2+standardise"
    assert dataset_of(plain) == "mnist"
    del plain["settings"]["environment"]["transforms"]
    assert dataset_of(plain) == "mnist"


def test_a_row_that_repeats_another_says_in_how_many_seeds():
    rows = {
        "rule": [result("hash", seed, 0.1, 0.2) for seed in range(4)],
        "policy": [result("rloo", seed, 0.1, 0.2) for seed in range(3)],
    }
    assert [row.same_as for row in make_rows(rows)] == ["", "rule in 3 of 4 seeds"]
