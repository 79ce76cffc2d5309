"""Systems compared: the runs of `systems` -> a table and a figure of each place.

The sweep says of each place its title, the system at whose costs all are compared, and the simple
baseline that choosing must beat.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.base.mask_words import BOTH, deterministic_of, kind_in_words
from ccenv.runs.config.sweep import Cell
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.stats.cost_points import make_point
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.verdict import Contender, Score, verdict
from ccenv.runs.tables.drawing import COLORS, Panel, Picture, Series, legend_height, plotted
from ccenv.runs.tables.sweep_table import Columns, Table, read_columns

NOTE = (
    "Test error (%) at total costs, the policy's own included, of the MACs of the network with "
    "everything kept: between a row's own costs linear, "
    "above them that of its dearest, empty below them. Interval: Student's, 95 %, over seeds; of "
    "differences over pairs of the same seed. "
    "Sampled or greedy masks, whichever validation prefers. Seeds: at each of the own costs. "
    "Seconds: of training, one thread, next to other work on the same core: orders of magnitude."
)
ERROR_SCORE = Score("test error", more_is_better=False, spec=".2%")
PERCENTS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
"""Ticks of errors."""


@dataclass(frozen=True)
class Line:
    """A system at one place, at the setting that was chosen."""

    name: str
    """its label."""
    setting: str
    """what was chosen, empty where nothing was."""
    deterministic: bool
    """True for greedy masks, False for sampled ones."""
    points: tuple[tuple[float, tuple[float, ...]], ...]
    """total cost, of the place's network with everything kept, and test errors by seed; for each
    budget that has runs, by cost."""
    seconds: float
    """of training at the middle budget, median over seeds."""


def systems(comparison: SweepRuns, results_dir: Path) -> Part:
    """A table and a figure of each place that has runs."""
    places: dict[str, dict[str, list[Cell]]] = {}
    for row in comparison.sweep.cells:
        places.setdefault(row.place, {}).setdefault(row.method or row.agent, []).append(row)
    tables, figures = [], []
    for place, rows in places.items():
        # The place's network with everything kept: a static one may be as small as what it keeps.
        results = [
            r for group in rows.values() for row in group for r in comparison.results[row.label]
        ]
        macs = max((float(result["dense_macs"]) for result in results), default=float("nan"))
        lines = [line for group in rows.values() if (line := system_line(comparison, group, macs))]
        if lines:
            about = comparison.sweep.places[place]
            first = next((line for line in lines if line.name == about["reference"]), lines[0])
            # All are compared at the costs of the place's reference at its budgets.
            costs = list({f"{cost:.3f}": cost for cost, _ in first.points}.values())
            tables.append(table_at(place, about, lines, costs))
            figures.append(figure_at(place, about, lines, costs))
    return Part(tables, figures)


COMPARED = Section("systems", "Systems at equal cost", systems)


def system_line(comparison: SweepRuns, rows: Sequence[Cell], whole: float) -> Line | None:
    """A system's runs at its chosen setting; None before there are any of the middle budget.

    Args:
        comparison: with its results.
        rows: of the system at one place. The chosen setting alone stands at several budgets; the
            first of them is the one at which settings were tried.
        whole: MACs of the place's network with everything kept.
    """
    settings: dict[str, list[Cell]] = {}
    for row in rows:
        settings.setdefault(row.setting, []).append(row)
    chosen = next((runs for runs in settings.values() if len(runs) > 1), [])
    results = {row.label: comparison.results[row.label] for row in chosen}
    if not chosen or not results[chosen[0].label]:
        return None
    by_masks = {
        greedy: [make_point(label, runs, greedy) for label, runs in results.items() if runs]
        for greedy in BOTH
    }
    first = chosen[0]
    best = min(BOTH, key=lambda greedy: by_masks[greedy][0].validation_mean)
    chosen_masks = bool(deterministic_of(first.masks)) if first.masks else best
    points = sorted((one.macs / whole, tuple(one.error.values())) for one in by_masks[chosen_masks])
    seconds = float(np.median([result["seconds"] for result in results[first.label]]))
    return Line(first.method or first.agent, first.setting, chosen_masks, tuple(points), seconds)


def errors_at(line: Line, cost: float) -> tuple[float, ...]:
    """A line's errors by seed where it spends so much at most, none where it always spends more.

    >>> line = Line("a", "", True, ((0.1, (0.4,)), (0.3, (0.2,))), 1.0)
    >>> [round(e, 3) for e in errors_at(line, 0.2)], errors_at(line, 0.5), errors_at(line, 0.05)
    ([0.3], (0.2,), ())
    """
    costs = [point for point, _ in line.points]
    # A hundredth more is the same cost: a price or a target hits its budget no better.
    if cost < 0.99 * costs[0]:
        return ()
    nearest, errors = min(line.points, key=lambda point: abs(cost - point[0]))
    if abs(cost - nearest) <= 0.01 * nearest:
        return errors
    by_seed = zip(*(errors for _, errors in line.points), strict=False)
    if cost > costs[-1]:
        return line.points[-1][1]
    return tuple(float(np.interp(cost, costs, errors)) for errors in by_seed)


def at_cost(line: Line, cost: float, baseline: Line | None = None) -> Interval | None:
    """Mean and interval of `errors_at`, or of what they are above a baseline's.

    Seed by seed: a seed draws the same weights and images for both.
    """
    errors = errors_at(line, cost)
    if baseline is not None:
        pairs = zip(errors, errors_at(baseline, cost), strict=False)
        errors = tuple(ours - theirs for ours, theirs in pairs)
    return mean_interval(errors) if errors and line is not baseline else None


def table_at(
    place: str, about: Mapping[str, str], lines: Sequence[Line], costs: Sequence[float]
) -> Table:
    """By error at the middle cost."""
    middle = costs[len(costs) // 2]
    baseline = next((line for line in lines if line.name == about["baseline"]), None)
    columns: Columns = {
        "agent": ("left", lambda line: line.name),
        "setting": ("left", lambda line: line.setting),
        "masks": ("left", lambda line: kind_in_words(line.deterministic)),
        "seeds": ("left", lambda line: ", ".join(str(len(e)) for _, e in line.points)),
        **{f"at {c:.3f}": ("right .2%", functools.partial(at_cost, cost=c)) for c in costs},
    }
    if baseline is not None:
        less = functools.partial(at_cost, cost=middle, baseline=baseline)
        columns = {**columns, f"less {baseline.name} at {middle:.3f}": ("right .2%", less)}
    columns = {
        **columns,
        "own costs": ("left", lambda line: ", ".join(f"{cost:.2f}" for cost, _ in line.points)),
        "seconds": ("right .0f", lambda line: line.seconds),
    }
    errors = {line.name: at_cost(line, middle) for line in lines}
    compared = [
        Contender(line.name, error, len(errors_at(line, middle)))
        for line in lines
        if (error := errors[line.name])
    ]
    ordered = sorted(lines, key=lambda line: one.mean if (one := errors[line.name]) else 1.0)
    note = f"{NOTE} At {middle:.3f}: {verdict(compared, ERROR_SCORE)}."
    return Table(f"{place}-at-equal-cost", about["title"], *read_columns(columns, ordered), note)


def figure_at(
    place: str, about: Mapping[str, str], lines: Sequence[Line], ticks: Sequence[float]
) -> Picture:
    """Error over total cost, a line a system."""
    series, words = [], []
    # The first 90 differ.
    looks = zip(itertools.cycle(COLORS), itertools.cycle("os^DvP<>X"), strict=False)
    for line, (color, marker) in zip(lines, looks, strict=False):
        costs = [cost for cost, _ in line.points]
        means = [float(np.mean(errors)) for _, errors in line.points]
        style = {"color": color, "marker": marker, "ms": 3, "lw": 1}
        series.append(Series(line.name, costs, [100 * mean for mean in means], style))
        percentages = [f"{mean:.1%} at {cost:.2f}" for cost, mean in zip(costs, means, strict=True)]
        words.append(f"{line.name}: {', '.join(percentages)}")

    def few_ticks(axes: Any) -> None:
        axes.set_xticks(ticks, [f"{tick:.2f}" for tick in ticks])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        percents = [tick for tick in PERCENTS if low <= tick <= high]
        axes.set_yticks(percents, [str(tick) for tick in percents])

    settings = {"xscale": "log", "yscale": "log", "xlabel": "total cost", "ylabel": "test error %"}
    height = 2.6 + legend_height([line.name for line in lines])
    draw = functools.partial(plotted, [Panel(series, settings, few_ticks)], height)
    return Picture(draw, place, f"{about['title']}: error over total cost.", "; ".join(words))
