"""The cost model is what its benchmark recorded, and the fit finds prices that it was given."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.runs.timing import kernel_routes, route_costs
from ccenv.sparse import cost_model
from ccenv.sparse.cpu.codegen import registers

RESULTS = Path(__file__).parents[3] / "runs/results"


KINDS = {"route-costs-8-lanes": cost_model.EIGHT, "route-costs": cost_model.SIXTEEN}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("part", ["forward", "training"])
def test_the_cost_model_is_the_recorded_fit(name, part):
    kernels, dense = getattr(KINDS[name], part)
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    (recorded,) = (row for row in rows if row["part"] == part)
    assert asdict(kernels) == recorded["kernels"]
    assert asdict(dense) == recorded["dense"]


def test_the_costs_are_those_of_this_machines_registers(monkeypatch):
    for wide, expected in ((True, cost_model.SIXTEEN), (False, cost_model.EIGHT)):
        monkeypatch.setattr(registers, "WIDE", wide)
        assert cost_model.costs.__wrapped__() is expected


def shapes(count):
    """Layers as the grid has them, without times."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        in_blocks, out_blocks = generator.integers(1, 40, 2)
        in_size, out_size = generator.choice([1, 2, 4, 7, 8, 16, 32, 64], 2)
        batch, density = int(generator.integers(1, 2000)), generator.uniform(0, 1)
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
        }


PRICES = st.floats(0.1, 10.0)


@given(st.lists(PRICES, min_size=10, max_size=10), st.lists(PRICES, min_size=4, max_size=4))
@settings(max_examples=10, deadline=None)
def test_the_fit_finds_prices_that_explain_the_times(kernel_prices, dense_prices):
    rows = list(shapes(300))
    for row in rows:
        row["kernel_seconds"] = float(np.dot(route_costs.kernel_counts(row), kernel_prices))
        row["masked_dense_seconds"] = float(np.dot(route_costs.dense_counts(row), dense_prices))
        row["dense_seconds"] = row["masked_dense_seconds"]
    found = route_costs.fit({"name": "kernel-routes", "rows": rows, "machine": {}, "versions": {}})
    assert [part["part"] for part in found["rows"]] == ["forward", "training"]
    for part in found["rows"]:
        assert np.allclose(list(part["kernels"].values()), kernel_prices, rtol=1e-3)
        assert np.allclose(list(part["dense"].values()), dense_prices, rtol=1e-3)
        assert part["wrong"] == 0.0
        assert part["mean_regret"] == pytest.approx(1.0)


def test_the_model_counts_what_the_fit_counts():
    for row in shapes(20):
        layer = cost_model.Layer(
            row["batch"],
            row["in_blocks"],
            row["in_features"] // row["in_blocks"],
            row["out_blocks"],
            row["out_features"] // row["out_blocks"],
        )
        for training, pair in enumerate(cost_model.costs()):
            kernels, dense = (list(asdict(costs).values()) for costs in pair)
            expected = cost_model.kernel_seconds(layer, row["pairs"], is_training=bool(training))
            assert expected == pytest.approx(np.dot(route_costs.kernel_counts(row), kernels))
            expected = cost_model.dense_seconds(layer, is_training=bool(training))
            assert expected == pytest.approx(np.dot(route_costs.dense_counts(row), dense))


def test_a_quick_grid_can_be_fitted():
    rows = [vars(kernel_routes.time_routes(point, 2)) for point in kernel_routes.quick_grid()]
    found = route_costs.fit({"name": "kernel-routes", "rows": rows, "machine": {}, "versions": {}})
    assert found["name"] == "route-costs"
    assert [part["cases"] for part in found["rows"]] == [3, 3]
    assert route_costs.table(found["rows"]).count("\n") == 3
