"""Laws of the comparison with dense networks: validation chooses, the test only judges."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import SEEDS, drawn_views, result, runs

from ccenv.runs.report.dense import dense_tables
from ccenv.runs.stats.cost_points import Point
from ccenv.runs.stats.dense_comparison import (
    at_equal_error,
    at_equal_macs,
    chosen_variants,
    front_error,
    make_contests,
    undominated,
)
from ccenv.runs.stats.measures import BITS, repeated
from ccenv.runs.studies.sections import best_within


def point(label="a", agent="rloo", macs=100.0, error=0.1, validation=None, seeds=SEEDS):
    known = error if validation is None else validation
    return Point(
        label,
        agent,
        macs,
        {seed: error + 0.001 * seed for seed in seeds},
        {seed: known + 0.001 * seed for seed in seeds},
        {1: dict.fromkeys(seeds, macs / 1000)},
    )


DENSE = {"dense 8": runs("dense", 100, 0.2), "dense 16": runs("dense", 200, 0.1)}


def contest(**rows):
    (found,) = make_contests({**DENSE, **rows})
    return found


def test_most_probable_masks_are_chosen_by_their_own_validation_error_where_it_is_known():
    def with_mode(value):
        rows = runs("rloo", 150, 0.1, 0.2)
        for row in rows:
            of_mode = {"mode": "mode", "error": value + 0.001 * row["seed"]}
            row["evaluations"].append(row["evaluations"][-1] | of_mode)
        return rows

    (known,) = contest(a=with_mode(0.15)).conditional
    assert known.validation_mean == pytest.approx(0.201)
    (known,) = make_contests({**DENSE, "a": with_mode(0.15)}, True)[0].conditional
    assert known.validation_mean == pytest.approx(0.151)
    some = with_mode(0.15)[:2] + runs("rloo", 150, 0.1, 0.2)[2:]
    (known,) = make_contests({**DENSE, "a": some}, True)[0].conditional
    assert known.validation_mean == pytest.approx(0.201)


def test_a_row_that_repeats_another_in_all_common_seeds_takes_no_part():
    rows = {"policy": runs("rloo", 150, 0.1), "rule": runs("hash", 150, 0.1)}
    rows["rule"] += [result("hash", 3, 150, 0.3)]
    rows |= {"other": runs("rloo", 160, 0.1), "missing": []}
    assert repeated(DENSE | rows) == {"policy": "rule"}
    assert [one.label for one in contest(**rows).conditional] == ["rule", "other"]
    rows["policy"][2]["evaluations"][1]["nll"] = 1.1
    assert not repeated(DENSE | rows)
    again = {"twice": runs("rloo", 150, 0.1)[:2], "once": runs("rloo", 150, 0.1)[:1]}
    rows["rule"][2:] = []
    assert repeated(again | rows) == {"rule": "policy", "twice": "policy", "once": "policy"}


def test_texts_are_compared_in_bits(tmp_path):
    def in_bits(agent, macs, bits, error, method=""):
        rows = runs(agent, macs, error, method=method)
        for row in rows:
            row |= {"memory_bytes": 1000 * macs, "num_parameters": 0}
            row["settings"] = {"environment": {}, "agent_settings": {}}
            row["settings"]["environment"]["dataset"] = "python_text"
            for verdict in row["evaluations"]:
                verdict["nll"] = (bits + 0.001 * row["seed"]) * math.log(2)
        return rows

    results = {
        "dense 8": in_bits("dense", 100, 3.0, 0.1),
        "dense 16": in_bits("dense", 400, 2.0, 0.2),
        "rloo": in_bits("rloo", 50, 2.0, 0.9),
        "counts": in_bits("dense", 1, 2.5, 0.5, "ngram"),
        "dropout": in_bits("block_dropout", 20, 4.0, 0.9),
    }
    (found,) = make_contests(results, measure=BITS)
    assert front_error(found.dense, 200)[0] == pytest.approx(2.5)
    assert [p.method for p in found.conditional] == ["ngram", "block_dropout", "rloo"]
    tables = {table.name: table for table in dense_tables([found], True)}
    beside = [line[0] for line in tables["at-equal-macs-bits-mode"].texts]
    assert beside == ["counts", "dropout", "rloo"]
    lines = tables["at-equal-error-bits-mode"].texts
    # Counting is cheaper, and chooses nothing.
    assert [(line[0], line[3], line[-3]) for line in lines] == [
        ("dense 8", "rloo", "0.50"),
        ("dense 16", "rloo", "0.12"),
    ]
    assert lines[0][2].startswith("3.001 [")
    for row in (row for rows in results.values() for row in rows):
        row["of_symbols"] = True
    views, figures = drawn_views(results, tmp_path)
    (over_macs,) = (view for view in views if figures[view.when].name == "equal-macs-bits-mode")
    assert figures[over_macs.when].titles["row-2"].startswith("rloo: test bits a symbol 2.001 [")
    # Cheapest and best by MACs; by memory that is all the same here.
    assert [point.label for point in over_macs.front] == ["counts", "rloo"]


def test_a_budget_of_memory_lets_rows_of_any_macs_pass_and_none_of_unknown_memory():
    rows = [
        dataclasses.replace(point("small", macs=900.0, error=0.2), memory=1000.0),
        dataclasses.replace(point("large", macs=10.0, error=0.1), memory=2000.0),
        point("unknown", macs=10.0, error=0.01),
    ]
    within = [best_within(rows, budget, lambda row: row.kilobytes) for budget in (0.5, 1, 2)]
    assert within == [None, rows[0], rows[1]]
    assert best_within(rows, 900, lambda row: row.macs) is rows[2]


def test_of_texts_rows_of_another_memory_are_no_variants():
    points = [
        dataclasses.replace(point(label, error=error), memory=memory)
        for label, error, memory in (("a", 0.3, 1000.0), ("b", 0.2, 1090.0), ("c", 0.1, 5000.0))
    ]
    assert [p.label for p in chosen_variants(points, by_memory=True)] == ["b", "c"]
    assert [p.label for p in chosen_variants(points)] == ["c"]


def test_at_a_width_that_was_run_nothing_is_interpolated_and_beyond_all_nothing_is_said():
    dense = [point(macs=100.0, error=0.2), point(macs=400.0, error=0.1)]
    assert front_error(dense, 400.0) == dense[1].error
    assert front_error(dense, 200.0)[0] == pytest.approx(0.15)
    assert front_error(dense, 99.0) is None
    assert front_error(dense, 401.0) is None
    assert front_error([], 100.0) is None


def test_beyond_the_fronts_dearest_network_it_is_that_one_as_far_as_networks_were_run():
    dense = [
        point(macs=100.0, error=0.2),
        point(macs=200.0, error=0.1),
        point(macs=400.0, error=0.15),
    ]
    assert front_error(dense, 100.0) == dense[0].error
    assert front_error(dense, 300.0) == front_error(dense, 400.0) == dense[1].error
    assert front_error(dense, 401.0) is None
    assert front_error(dense, 99.0) is None
    assert front_error([], 100.0) is None


POINTS = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from((0.1, 0.2, 0.3)), st.integers(1, 3)), max_size=8
).map(
    lambda drawn: [
        point(f"{index}", macs=float(macs), error=0.5, validation=validation, seeds=SEEDS[:seeds])
        for index, (macs, validation, seeds) in enumerate(drawn)
    ]
)


@given(points=POINTS)
def test_the_front_holds_what_no_cheaper_point_beats_on_validation_images(points):
    front = undominated(points)
    assert front == sorted(front, key=lambda p: p.macs)
    for one in points:
        beaten = any(
            p.macs <= one.macs
            and p.validation_mean <= one.validation_mean
            and len(p.error) >= len(one.error)
            for p in front
            if p is not one
        )
        assert beaten or one in front
    best = min((p.validation_mean for p in points if len(p.error) == 3), default=None)
    assert best is None or best in [p.validation_mean for p in front]


def test_a_dense_network_that_a_cheaper_one_beats_is_not_compared_at_equal_macs():
    head = {"dense 8, then 64": runs("dense", 140, 0.09)}
    ours = {"ours": runs("rloo", 180, 0.05)}
    (alone,) = at_equal_macs(contest(**ours))
    assert 0.1 < alone.dense.mean < 0.13
    rows = {"dense 8, then 64": head["dense 8, then 64"], "dense 32": runs("dense", 400, 0.08)}
    found = contest(**rows, **ours)
    (beside,) = at_equal_macs(found)
    assert 0.081 < beside.dense.mean < 0.091


def test_less_error_at_equal_macs_is_better_only_with_intervals_apart():
    found = contest(far=runs("rloo", 150, 0.05), near=runs("topk", 150, 0.1415))
    verdicts = {one.point.label: one.verdict for one in at_equal_macs(found)}
    assert verdicts == {"far": "better", "near": "no difference"}


def test_the_cheapest_row_that_validation_finds_as_good_stands_beside_a_dense_network():
    found = contest(
        cheap=runs("rloo", 50, 0.02, validation=0.3),
        right=runs("rloo", 80, 0.3, validation=0.1),
        dear=runs("rloo", 120, 0.02),
    )
    first, second = at_equal_error(found)
    assert first.point.label == second.point.label == "right"
    # The test may contradict the choice, and then it is said.
    assert first.verdict == second.verdict == "worse"
    assert first.macs_ratio == pytest.approx(0.8)
    assert first.time_ratio(256) == pytest.approx(0.8)


def test_one_seed_does_not_stand_beside_several():
    lucky = [result("rloo", 0, 50, 0.02, 0.1)]
    found = contest(lucky=lucky, sound=runs("rloo", 80, 0.1))
    assert [one.point.label for one in at_equal_error(found)] == ["sound", "sound"]
    (alone,) = make_contests({k: v[:1] for k, v in DENSE.items()} | {"lucky": lucky})
    assert [one.point.label for one in at_equal_error(alone)] == ["lucky", "lucky"]


def test_a_single_dense_width_makes_no_front():
    assert make_contests({"dense 8": DENSE["dense 8"], "a": runs("rloo", 100, 0.1)}) == []
    alone = {"mnist": [point("dense 8", "dense")]}
    assert make_contests({"a": runs("rloo", 100, 0.1)}, elsewhere=alone) == []


def test_dense_networks_of_another_sweep_stand_in_where_there_are_none():
    other = [point("dense 8", "dense", 100.0, 0.2), point("dense 16", "dense", 200.0, 0.1)]
    (found,) = make_contests({"a": runs("rloo", 150, 0.05)}, elsewhere={"mnist": other})
    assert [one.verdict for one in at_equal_macs(found)] == ["better"]


def test_masks_that_keep_nothing_have_no_place_on_a_logarithmic_axis(tmp_path):
    nothing = runs("silent", 0, 0.9)
    for row in nothing:
        # A call takes its time, whatever is skipped.
        row["latency"] = [{"batch_size": n, "milliseconds": 0.01} for n in (1, 256)]
    views, figures = drawn_views({"nothing": nothing, "a": runs("rloo", 150, 0.05)}, tmp_path)
    assert {view.cost.key for view in views} == {"macs", "time-1", "time-256"}
    for view in views:
        assert [point.label for point in view.placed] == ["a"]
        assert "silent" not in figures[view.when].alt


def test_times_in_turns_stand_in_place_of_the_runs_own():
    results = {**DENSE, "c": runs("rloo", 150, 0.1), "d": runs("x", 180, 0.1)}
    times = {"dense 8": {128: {0: 1.0, 1: 0.5}}, "dense 16": {128: {0: 2.0}}, "c": {128: {0: 3.0}}}
    (found,) = make_contests(results, times=times)
    points = {point.label: point for point in (*found.dense, *found.conditional)}
    assert found.batches == (128,)
    assert points["dense 8"].time(128) == pytest.approx(0.5)
    assert points["dense 8"].time(1) is None
    assert points["d"].time(128) is None
