"""`auto` beside dense on layers that nothing was fitted to, and a machine's own figures."""

import dataclasses
import json

import pytest

from ccenv.runs.commands import benchmark, calibrate
from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks import auto, auto_elsewhere, routes
from ccenv.sparse import calibration, machine_prices
from ccenv.sparse.cost_model import Factors, costs
from ccenv.sparse.layer_costs import Layer


def test_the_grid_covers_all_rows_and_densities_and_nothing_that_prices_were_fitted_to():
    cells = list(auto.grid())
    for name, values in (("batch", auto.BATCHES), ("density", auto.DENSITIES)):
        assert {getattr(cell, name) for cell in cells} == set(values)
    assert {(cell.training, cell.layout) for cell in cells} == {
        (training, layout) for training in (False, True) for layout in auto.LAYOUTS
    }
    assert not {cell.block_size for cell in cells} & {
        *routes.BLOCK_SIZES,
        *(probe.layer.in_size for probe in calibration.probes()),
    }
    assert not {cell.density for cell in cells} & set(routes.DENSITIES)
    assert not {(cell.in_features, cell.out_features) for cell in cells} & set(routes.SHAPES)


def test_a_cell_is_below_by_its_time_and_no_way_can_where_the_better_one_is_slower():
    row = {"dense_seconds": 1.0, "kernels_seconds": 2.0, "masked_dense_seconds": 1.2}
    found = auto.standing(
        [row | {"shipped_seconds": 2.0}, row | {"shipped_seconds": 1.0}], "shipped"
    )
    assert (found["below"], found["none_can"], found["worst"]) == (0.5, 1.0, 0.5)
    assert found["regret"] == pytest.approx((2.0 / 1.2 + 1.0 / 1.2) / 2)


def test_elsewhere_kernels_take_longer_and_what_is_measured_there_is_gone_by():
    layer = Layer(1024, 16, 32, 16, 32)
    seconds = {"dense": 1.0, "masked_dense": 1.1, "kernels": 0.8}
    slow = costs().on((Factors(*[100.0] * 5), Factors()))
    found = auto_elsewhere.times(
        auto_elsewhere.Elsewhere(1.0, 2.0, slow),
        layer,
        0.3 * layer.all_pairs,
        seconds,
        training=False,
    )
    assert found["kernels_seconds"] == pytest.approx(1.6)
    assert (found["shipped_seconds"], found["measured_seconds"]) == (found["kernels_seconds"], 1.1)


@pytest.mark.parametrize("what", ["auto", "machine"])
def test_a_quick_benchmark_is_shown_recorded_and_names_the_processor_in_its_table(
    what, tmp_path, capsys
):
    folders = ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert main([what, "--quick", "--repeats", "2", "--record", *folders]) == 0
    shown = capsys.readouterr().out
    (path,) = tmp_path.glob("*.json")
    recorded = json.loads(path.read_text())
    assert recorded["machine"]["prices"] == "shipped"
    made = tables.render(f"<!-- table: {path.stem} -->\n<!-- end -->", tmp_path)
    assert f"Measured on: {recorded['machine']['cpu']}" in made
    assert made.split("\n")[1] in shown


def test_the_first_benchmark_is_the_machine_s_own_figures(monkeypatch, capsys):
    asked = []
    row = {"what": "x", "asked": 0.1, "epyc": 1.0, "cascade_lake": 0.5, "batch": 1, "speedup": 2.0}
    row |= dict.fromkeys(("speedup_low", "speedup_high", "milliseconds", "dense_gflops"), 1.0)

    def measured(options):
        asked.append(options.quick)
        yield row | {"gflops": 1.0}

    wanted = dataclasses.replace(benchmark.EXPERIMENTS["machine"], measured=measured)
    monkeypatch.setitem(benchmark.EXPERIMENTS, "machine", wanted)
    assert benchmark.main([]) == 0
    assert benchmark.main(["--quick"]) == 0
    assert asked == [False, False]
    assert "Cascade Lake" in capsys.readouterr().out


def test_calibrate_says_what_it_found_and_refuses_where_it_may_not(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    machine_prices.forget_prices()
    assert calibrate.main([]) == 2
    assert "CCENV_CALIBRATE" in capsys.readouterr().err
    monkeypatch.delenv("CCENV_CALIBRATE")
    found = iter([2.5, 3.5])
    monkeypatch.setattr(
        machine_prices, "measured_apart", lambda _: (Factors(few=next(found)), Factors())
    )
    machine_prices.forget_prices()
    try:
        for arguments, wanted in (([], "2.50"), ([], "2.50"), (["--again"], "3.50")):
            assert calibrate.main(arguments) == 0
            assert wanted in capsys.readouterr().out
    finally:
        machine_prices.forget_prices()
