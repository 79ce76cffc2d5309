"""Laws of the experiment `sizes`: each point is measured once, and drawn as it is recorded."""

import json
from pathlib import Path

import pytest

from ccenv.runs.lab.benchmarks.growth import AXES, GROWTH, Point, growth_figure, measure

RECORDED = Path(__file__).parents[4] / "runs/results/growth.json"


def test_every_point_is_recorded_once_and_drawn():
    rows = json.loads(RECORDED.read_text())["rows"]
    wanted = [(n, axis, v) for n, axes in AXES.items() for axis in axes for v in axes[axis]]
    for way in ("pass", "training step"):
        own = [(r["network"], r["axis"], r["value"]) for r in rows if r["way"] == way]
        assert own == wanted
    assert len(GROWTH.table(rows).splitlines()) == len(rows) + 2
    drawn = growth_figure(rows)
    assert "mlp, width 256 to 16,384" in drawn.alt
    assert len(drawn.figure.axes) == 8


def test_a_point_names_its_network_and_refuses_blocks_that_are_not_equal():
    row = measure(Point("mlp", "width", 32, is_training=True), 2)
    assert row["milliseconds"] > 0
    assert row["weights"] == pytest.approx(4 * (785 * 32 + 33 * 32 + 33 * 10) / 2**20)
    with pytest.raises(ValueError, match="equal blocks"):
        Point("mlp", "blocks", 3, is_training=False).build()
