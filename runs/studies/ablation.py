"""What carries a gain: a sweep that changes one thing of its base a row -> table and figure."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.config.sweep import Cell
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.cost_points import Point, make_point
from ccenv.runs.stats.intervals import Interval, paired_difference
from ccenv.runs.stats.measures import MODES
from ccenv.runs.tables.drawing import COLORS, Drawn, Panel, Series, plotted
from ccenv.runs.tables.sweep_table import Columns, Table, read_columns

NOTE = (
    "Difference: the row's error minus the base's on test images, paired by seed, with Student's "
    "95 % interval: it matters where the interval does not hold 0. MACs with the policy's own."
)
NAMES = {"sampled": "sampled masks", "mode": "greedy masks"}
Points = Mapping[str, Mapping[str, Point]]
"""Kind of masks -> label -> its runs as one point."""


def ablation(comparison: Comparison, results_dir: Path) -> Part:
    """Table and figure of a sweep that changes one thing of its first row at a time."""
    results = {label: found for label, found in comparison.results.items() if found}
    cells = [cell for cell in comparison.sweep.cells if cell.label in results]
    if comparison.sweep.cells[0] not in cells or len(cells) < 2:
        return Part()
    points = {
        draw: {cell.label: make_point(cell.label, results[cell.label], draw) for cell in cells}
        for draw in MODES
    }
    title = "One thing changed at a time"
    table = Table(
        "ablation", title, *read_columns(columns_of_changes(cells[0], points), cells), NOTE
    )
    greedy = points["mode"]
    errors = "; ".join(f"{c.label}: {100 * greedy[c.label].interval.mean:.2f} %" for c in cells)
    figure = Drawn(
        functools.partial(drawn_changes, cells, points),
        "ablation",
        "Bars: Student's 95 % intervals over seeds; bands: the base's.",
        f"Test errors, greedy masks: {errors}",
    )
    return Part([table], [figure])


ABLATION = Section("ablation", "One thing changed at a time", ablation)


def columns_of_changes(base: Cell, points: Points) -> Columns:
    """Of all rows, under both kinds of masks."""
    first = points[MODES[0]]

    def error(of: Mapping[str, Point]) -> Callable[[Cell], Interval]:
        return lambda cell: of[cell.label].interval

    def difference(of: Mapping[str, Point]) -> Callable[[Cell], Interval | None]:
        return lambda cell: (
            None if cell is base else paired_difference(of[cell.label].error, of[base.label].error)
        )

    columns: Columns = {
        "changed": ("left", lambda cell: cell.setting or "base"),
        "row": ("left", lambda cell: cell.label),
        "seeds": ("right", lambda cell: len(first[cell.label].error)),
        "MACs": ("right ,.0f", lambda cell: first[cell.label].macs),
    }
    for draw, name in NAMES.items():
        columns = {
            **columns,
            f"{name}: error %": ("right .2%", error(points[draw])),
            f"{name}: difference": ("right .2%", difference(points[draw])),
        }
    return columns


def drawn_changes(cells: Sequence[Cell], points: Points) -> Any:
    """Errors with their intervals, a line a row; the base's interval is a band."""
    places, at = [], 0.0
    for before, cell in zip((None, *cells), cells, strict=False):
        # A gap where another thing is changed.
        at += 1.6 if before is not None and before.setting != cell.setting else 1
        places.append(at)
    series = []
    for index, (draw, name) in enumerate(NAMES.items()):
        errors = [points[draw][cell.label].interval for cell in cells]
        halves = [100 * ((one.high or one.mean) - one.mean) for one in errors]
        style = {"color": COLORS[index], "marker": "os"[index], "markersize": 3.5, "lw": 1}
        style |= {"ls": "", "xerr": halves, "capsize": 1.5}
        shifted = [place + 0.24 * (index - 0.5) for place in places]
        series.append(Series(name, [100 * one.mean for one in errors], shifted, style))

    def bands(axes: Any) -> None:
        axes.set_yticks(places, [cell.label if cell.setting else "base" for cell in cells])
        for color, draw in zip(COLORS, NAMES, strict=False):
            base = points[draw][cells[0].label].interval
            if base.low is not None and base.high is not None:
                axes.axvspan(100 * base.low, 100 * base.high, color=color, alpha=0.12, lw=0)

    settings = {"ylim": (places[-1] + 0.7, places[0] - 0.7), "xlabel": "test error in %"}
    return plotted([Panel(series, settings, bands)], 0.9 + 0.17 * at)
