"""Systems compared: the runs of `systems` -> a table and a figure of each place."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import MODES, Result, evaluation
from ccenv.runs.stats.verdict import Contender, Score, verdict
from ccenv.runs.tables.drawing import Drawn, legend_below, legend_height, look, new_figure
from ccenv.runs.tables.sweep_table import Table

NOTE = (
    "Test error (%) at total costs, the policy's own included, of the MACs of the network with "
    "everything kept: between a row's own costs linear, "
    "above them that of its dearest, empty below them. Interval: Student's, 95 %, over seeds; of "
    "differences over pairs of the same seed. "
    "Sampled or greedy masks, whichever validation prefers. Seeds: at each of the own costs. "
    "Seconds: of training, one thread, next to other work on the same core: orders of magnitude."
)
TITLES = {
    "mlp": "MNIST, two layers of 16 blocks of 16 units, learning along",
    "exits": "MNIST, two convolutions and a layer with exits between them, learning along",
    "experts": "MNIST, 32 experts of 16 units, learning along",
    "strips": "MNIST in 14 strips, seven to a patch, answered behind each, learning along",
    "cifar10": "CIFAR-10, 32 experts as they are shipped",
    "resnet": "CIFAR-10 at half its size, a residual network of six units, learning along",
}
"""Place -> what it is, in tables."""
DRAWN = ("pondernet",)
"""Systems whose paper samples its masks; of others validation says which masks are judged."""
REFERENCE = {"exits": "confidence", "strips": "entropy_threshold", "resnet": "static"}
"""Place -> the system at whose costs all are compared, `rloo` elsewhere."""
RIVAL = {"exits": "confidence", "strips": "block_dropout"}
"""Place -> the simple baseline that choosing must beat, `static` elsewhere."""
ERROR_SCORE = Score("test error", more_is_better=False, spec=".2%")
WORDS = {"sampled": "drawn", "mode": "likely"}


@dataclass(frozen=True)
class Line:
    """A system at one place, at the setting that was chosen."""

    name: str
    """its label."""
    setting: str
    """what was chosen, empty where nothing was."""
    draw: str
    """"sampled" or "mode"."""
    points: tuple[tuple[float, tuple[float, ...]], ...]
    """total cost, of the place's network with everything kept, and test errors by seed; for each
    budget that has runs, by cost."""
    seconds: float
    """of training at the middle budget, median over seeds."""


def rows_by_system(sweep: Sweep) -> dict[str, dict[str, list[Cell]]]:
    """Place -> system -> its rows, in the sweep's order."""
    places: dict[str, dict[str, list[Cell]]] = {}
    for row in sweep.cells:
        places.setdefault(row.place, {}).setdefault(row.method or row.agent, []).append(row)
    return places


def chosen_rows(rows: Sequence[Cell]) -> list[Cell]:
    """The rows of the setting that was chosen: it alone stands at several budgets.

    The first of them is that of the budget at which settings were tried.
    """
    budgets: dict[str, list[Cell]] = {}
    for row in rows:
        budgets.setdefault(row.setting, []).append(row)
    several = [found for found in budgets.values() if len(found) > 1]
    return several[0] if several else []


def systems(comparison: Comparison, results_dir: Path) -> Part:
    """A table and a figure of each place that has runs."""
    tables, figures = [], []
    for place, rows in rows_by_system(comparison.sweep).items():
        whole = dense_macs(comparison, rows)
        found = [line for own in rows.values() if (line := line_of(comparison, own, whole))]
        if found:
            tables.append(table_of(place, found))
            figures.append(figure_of(place, found))
    return Part(tables, figures)


COMPARED = Section("systems", "Systems at equal cost", systems)


def line_of(comparison: Comparison, rows: Sequence[Cell], whole: float) -> Line | None:
    """A system's runs at its chosen setting; None before there are any of the middle budget."""
    chosen = chosen_rows(rows)
    results = [comparison.results[row.label] for row in chosen]
    if not chosen or not results[0]:
        return None
    middle, system = results[0], chosen[0].method or chosen[0].agent
    draw = (
        "sampled"
        if system in DRAWN
        else min(MODES, key=lambda mode: mean_of(middle, mode, "error", "validation"))
    )
    points = sorted(
        (mean_of(some, draw, "macs") / whole, tuple(evaluation(r, draw)["error"] for r in some))
        for some in results
        if some
    )
    seconds = float(np.median([result["seconds"] for result in middle]))
    return Line(system, chosen[0].setting, draw, tuple(points), seconds)


def dense_macs(comparison: Comparison, rows: Mapping[str, Sequence[Cell]]) -> float:
    """MACs of a place's network with everything kept: those of any system's but the static one.

    That may be a network of its own, which is as large as what it keeps. Not a number before there
    are runs.
    """
    found = (
        float(result["dense_macs"])
        for system, own in rows.items()
        if system != "static"
        for row in own
        for result in comparison.results[row.label]
    )
    return next(found, float("nan"))


def mean_of(results: Sequence[Result], draw: str, number: str, split: str = "test") -> float:
    """Mean over seeds of a number of their evaluations."""
    found = [
        e[number]
        for result in results
        for e in result["evaluations"]
        if (e["split"], e["mode"]) == (split, draw)
    ]
    return float(np.mean(found))


def reference_costs(place: str, lines: Sequence[Line]) -> list[float]:
    """Total costs at which all are compared: those of `REFERENCE` at its budgets."""
    wanted = REFERENCE.get(place, "rloo")
    line = next((line for line in lines if line.name == wanted), lines[0])
    return list({f"{cost:.3f}": cost for cost, _ in line.points}.values())


def errors_at(line: Line, cost: float) -> tuple[float, ...]:
    """A line's errors by seed where it spends so much at most, none where it always spends more.

    >>> line = Line("a", "", "mode", ((0.1, (0.4,)), (0.3, (0.2,))), 1.0)
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
    if cost > costs[-1]:
        return line.points[-1][1]
    seeds = min(len(errors) for _, errors in line.points)
    return tuple(
        float(np.interp(cost, costs, [errors[seed] for _, errors in line.points]))
        for seed in range(seeds)
    )


def at_cost(line: Line, cost: float) -> Interval | None:
    """Mean and interval of `errors_at`."""
    errors = errors_at(line, cost)
    return mean_interval(errors) if errors else None


def less_than(line: Line, other: Line | None, cost: float) -> Interval | None:
    """Errors less another's, seed by seed: a seed draws the same weights and images for both."""
    if other is None or line is other:
        return None
    pairs = list(zip(errors_at(line, cost), errors_at(other, cost), strict=False))
    return mean_interval([ours - theirs for ours, theirs in pairs]) if pairs else None


def table_of(place: str, lines: Sequence[Line]) -> Table:
    """By error at the middle cost."""
    costs = reference_costs(place, lines)
    middle = costs[len(costs) // 2]
    rival = next((line for line in lines if line.name == RIVAL.get(place, "static")), None)
    columns = {"agent": "left", "setting": "left", "masks": "left", "seeds": "left"}
    columns |= {f"at {cost:.3f}": "right .2%" for cost in costs}
    if rival is not None:
        columns |= {f"less {rival.name} at {middle:.3f}": "right .2%"}
    columns |= {"own costs": "left", "seconds": "right .0f"}
    at_middle = {line.name: at_cost(line, middle) for line in lines}

    def rank(line: Line) -> float:
        error = at_middle[line.name]
        return error.mean if error else 1.0

    body: list[list[Any]] = [
        [
            line.name,
            line.setting,
            WORDS[line.draw],
            ", ".join(str(len(errors)) for _, errors in line.points),
            *(at_cost(line, cost) for cost in costs),
            *([less_than(line, rival, middle)] if rival is not None else []),
            ", ".join(f"{cost:.2f}" for cost, _ in line.points),
            line.seconds,
        ]
        for line in sorted(lines, key=rank)
    ]
    compared = [
        Contender(line.name, error, len(errors_at(line, middle)))
        for line in lines
        if (error := at_middle[line.name])
    ]
    note = f"{NOTE} At {middle:.3f}: {verdict(compared, ERROR_SCORE).sentence}."
    return Table(f"{place}-at-equal-cost", TITLES[place], columns, body, note)


def figure_of(place: str, lines: Sequence[Line]) -> Drawn:
    """Error over total cost, a line a system."""
    words = [
        f"{line.name}: "
        + ", ".join(f"{np.mean(errors):.1%} at {cost:.2f}" for cost, errors in line.points)
        for line in lines
    ]
    caption = f"{TITLES[place]}: error over total cost."
    return Drawn(functools.partial(drawn_lines, place, lines), place, caption, "; ".join(words))


def drawn_lines(place: str, lines: Sequence[Line]) -> Any:
    """The figure itself."""
    names = [line.name for line in lines]
    figure = new_figure(2.6 + legend_height(names))
    axes = figure.subplots()
    drawn = []
    for index, line in enumerate(lines):
        costs = [cost for cost, _ in line.points]
        means = [100 * float(np.mean(errors)) for _, errors in line.points]
        drawn += axes.plot(costs, means, **look(index), ms=3, lw=1)
    axes.set(xscale="log", yscale="log", xlabel="total cost", ylabel="test error %")
    ticks = reference_costs(place, lines)
    axes.set_xticks(ticks, [f"{tick:.2f}" for tick in ticks])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    percents = [tick for tick in (1, 2, 3, 5, 7, 10, 15, 20, 30, 50) if low <= tick <= high]
    axes.set_yticks(percents, [str(tick) for tick in percents])
    legend_below(figure, drawn, names)
    return figure
