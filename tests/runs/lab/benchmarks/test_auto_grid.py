"""`auto` beside dense on layers that nothing was fitted to, and a machine's own figures."""

import json
from pathlib import Path
from unittest import mock

import pytest

from ccenv.runs.lab.benchmarks import auto
from ccenv.sparse.routes import EDGE

RESULTS = Path(__file__).parents[4] / "runs/results"


def test_the_grid_covers_all_rows_densities_passes_and_layouts():
    cells = list(auto.grid())
    for name, values in (("batch", auto.BATCHES), ("density", auto.DENSITIES)):
        assert {getattr(cell, name) for cell in cells} == set(values)
    assert {(cell.training, cell.layout) for cell in cells} == {
        (training, layout) for training in (False, True) for layout in auto.LAYOUTS
    }
    assert {cell.block_size for cell in auto.small_grid()} == set(auto.SMALL_SIZES)


def test_a_cell_is_below_by_its_time_and_no_way_can_where_the_better_one_is_slower():
    row = {"dense_seconds": 1.0, "kernels_seconds": 2.0, "masked_dense_seconds": 1.2}
    found = auto.standing(
        [row | {"auto_seconds": 2.0}, row | {"auto_seconds": 1.0}], lambda row: row["auto_seconds"]
    )
    assert (found["below"], found["none_can"], found["worst"]) == (0.5, 1.0, 0.5)
    assert found["regret"] == pytest.approx((2.0 / 1.2 + 1.0 / 1.2) / 2)


def test_the_number_is_the_best_for_both_machines_recorded_cells_to_a_hundredth():
    rows = [
        row
        for name in ("auto-cells", "auto-cells-8-lanes")
        for row in json.loads((RESULTS / f"{name}.json").read_text())["rows"]
        if auto.has_choice(row)
    ]
    best = auto.fitted(rows, range(8, 65, 4))

    def over_best(edge):
        with mock.patch.object(auto.routes, "EDGE", edge):
            return auto.standing(rows, auto.chosen_seconds)["regret"]

    assert over_best(EDGE) <= over_best(best) + 0.01


def test_the_fit_finds_the_number_that_times_were_made_by():
    rows = json.loads((RESULTS / "auto-cells.json").read_text())["rows"]
    made = [row for row in rows if auto.has_choice(row)]
    with mock.patch.object(auto.routes, "EDGE", 16):
        for row in made:
            is_kernels = auto.chosen_seconds(
                row | {"kernels_seconds": 0, "masked_dense_seconds": 1}
            )
            row |= {"kernels_seconds": 1 + is_kernels, "masked_dense_seconds": 2 - is_kernels}
    assert auto.fitted(made, (8, 16, 32)) == 16


def test_the_choice_alone_is_the_mean_over_masks_of_the_chosen_ways_time():
    row = vars(auto.Cell(64, 96, 48, 12, 0.5, "both", False, auto.LAYOUTS[0]))
    row |= {"kernels_seconds": 1.0, "masked_dense_seconds": 2.0, "pairs": [-1, 0, 64 * 8 * 4, 40]}
    assert auto.sizes_of(row) == (64, 8, 12, 4, 12)
    assert auto.chosen_seconds(row) == 1.25
