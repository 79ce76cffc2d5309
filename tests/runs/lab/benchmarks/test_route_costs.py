"""The rule of `auto` is what is fitted to recorded times, and the fit finds what it was given."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks import route_rule, routes
from ccenv.runs.lab.benchmarks.layer_costs import REGIMES


@pytest.fixture(scope="module")
def cases():
    return route_rule.recorded_cases()


def test_the_rule_is_within_its_bounds_on_the_recorded_times(cases):
    over = route_rule.over_best(cases, route_rule.shipped())
    assert over.mean() <= 1.06
    assert over[cases.is_recorded].mean() <= 1.04
    assert over[cases.is_recorded & cases.is_small].mean() <= 1.06


def test_the_shares_of_the_rule_are_the_recorded_fit(cases):
    assert route_rule.fitted(cases) == route_rule.shipped()


def test_the_fit_finds_shares_by_which_times_were_made(cases):
    truth = {"FORWARD": 1.2, "FEW_TRAINING": 0.5, "TRAINING": 0.8}
    shares = np.array(list(truth.values()))[cases.part]
    made = replace(cases, kernels=cases.counted(), dense=shares)
    assert route_rule.fitted(made) == truth
    assert route_rule.over_best(made, truth).mean() == 1


def shapes(count):
    """Layers as the grid has them, without times."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        in_blocks, out_blocks = generator.integers(1, 40, 2)
        in_size, out_size = generator.choice([1, 2, 4, 7, 8, 12, 16, 24, 32, 64], 2)
        batch = int(generator.integers(1, generator.choice([32, 2000])))
        density = generator.uniform(0, 1)
        pairs = density * batch * in_blocks * out_blocks
        yield {
            "batch": batch,
            "in_blocks": int(in_blocks),
            "out_blocks": int(out_blocks),
            "in_features": int(in_blocks * in_size),
            "out_features": int(out_blocks * out_size),
            "pairs": pairs,
            "macs": float(pairs * in_size * out_size),
            "training": bool(generator.integers(2)),
            "output_major": bool(generator.integers(2)),
        }


PRICES = st.floats(0.1, 10.0)


@given(st.lists(PRICES, min_size=12, max_size=12), st.lists(PRICES, min_size=4, max_size=4))
@settings(max_examples=10, deadline=None)
def test_the_fit_finds_prices_that_explain_the_times(kernel_prices, dense_prices):
    rows = list(shapes(1500))
    for row in rows:
        kernel, dense = (found[0] for found in routes.counts([row]))
        row["kernel_seconds"] = float(np.dot(kernel, kernel_prices))
        row["masked_dense_seconds"] = float(np.dot(dense, dense_prices))
        row["dense_seconds"] = row["masked_dense_seconds"]
    found = routes.fit(rows)
    assert [part["part"] for part in found] == list(REGIMES)
    for part in found:
        assert np.allclose(list(part["kernels"].values()), kernel_prices, rtol=1e-3)
        assert np.allclose(list(part["dense"].values()), dense_prices, rtol=1e-3)
        # Where both ways take the same to a thousandth either may be chosen.
        assert part["wrong"] <= 0.02
        assert part["mean_regret"] == pytest.approx(1.0, abs=1e-3)


def test_the_grid_of_routes_covers_every_batch_shape_size_density_and_side():
    points = list(routes.grid())
    assert len(set(points)) == len(points)
    assert {p.batch for p in points} == set(routes.BATCHES)
    shapes = {(p.in_features, p.out_features) for p in points}
    assert shapes == set(routes.SHAPES)
    small = [p for p in points if p.batch == 1]
    for name, values in (
        ("block_size", routes.BLOCK_SIZES),
        ("asked_density", routes.DENSITIES),
        ("sides", routes.SIDES),
    ):
        assert {getattr(p, name) for p in small} == set(values)
    assert {p.training for p in points} == {False, True}


@pytest.mark.parametrize("sides", routes.SIDES)
@pytest.mark.parametrize("training", [False, True])
def test_a_routes_line_says_what_was_kept(sides, training):
    point = routes.Point(8, 64, 32, 8, 1.0, sides, training)
    found = routes.time_routes(point, rounds=2)
    assert found["macs"] == 8 * 64 * 32
    assert found["pairs"] == 8 * found["in_blocks"] * found["out_blocks"]
    assert found["in_blocks"] == (1 if sides == "out" else 8)
    assert found["out_blocks"] == (1 if sides == "in" else 4)
    assert min(found[f"{way}_seconds"] for way in ("kernel", "masked_dense", "dense")) > 0
    half = routes.time_routes(routes.Point(8, 64, 32, 8, 0.5, sides, training), rounds=2)
    assert (half["in_density"] < 1, half["out_density"] < 1) == (sides != "out", sides != "in")
    assert 0 < half["macs"] < found["macs"]


def test_what_is_fitted_to_a_grid_is_recorded_and_its_times_are_printed(tmp_path, capsys):
    given = ["routes", "--quick", "--record", "--results-dir", str(tmp_path)]
    assert main([*given, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    points = list(routes.quick_grid())
    assert [row["sides"] for row in printed["rows"]] == [point.sides for point in points]
    (written,) = tmp_path.glob("route-costs*.json")
    recorded = json.loads(written.read_text())
    assert recorded["kind"] == "route-costs"
    assert {row["part"]: row["cases"] for row in recorded["rows"]} == {
        "forward": 3,
        "training_few": 3,
    }
    assert routes.table(recorded["rows"]).count("\n") == 3
