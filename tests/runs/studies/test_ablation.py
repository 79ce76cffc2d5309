"""Laws of an ablation: each row changes one thing, and is held against the base seed by seed."""

import dataclasses
from pathlib import Path

import pytest
from made_results import compared, whole_result

from ccenv.runs.engine.study import Part
from ccenv.runs.studies.sections import ablation
from ccenv.runs.sweeps import SWEEPS, Sweep

WHY = SWEEPS["rloo-why"]
NOWHERE = Path("no results")
WORSE = 0.02
"""What every change costs in these made-up results, whatever the seed."""


def ablated(missing=()):
    rows = tuple(dataclasses.replace(cell, seeds=None) for cell in WHY.cells)
    sweep, base = Sweep("rloo-why", "d", rows, 1.0, WHY.settings, (0, 1, 2)), rows[0].label
    errors = {row.label: 0.1 + WORSE * (row.label != base) for row in rows}
    made = compared(sweep, lambda job: whole_result(job, errors[job.label]), missing)
    return ablation(made, NOWHERE)


def test_differences_are_paired_by_seed():
    part = ablated()
    (table,), (figure,) = part.tables, part.figures
    columns = list(table.columns)
    lines = [dict(zip(columns, line, strict=True)) for line in table.texts]
    assert lines[0]["row"] == WHY.cells[0].label
    assert {line["row"] for line in lines} == {cell.label for cell in WHY.cells}
    assert lines[0]["sampled masks: difference"] == ""
    for line in lines[1:]:
        assert line["sampled masks: difference"] == "2.00 [2.00, 2.00]"
        assert line["sampled masks: error %"].startswith("12.10 [")
    assert "2 masks: 12.10 %" in figure.alt


@pytest.mark.parametrize("cells", [WHY.cells[:1], WHY.cells[1:3]], ids=["base alone", "no base"])
def test_nothing_to_compare_is_no_ablation(cells):
    assert ablated({cell.label for cell in WHY.cells if cell not in cells}) == Part()
