"""What reports add: methods at equal budgets, methods tuned alike, one thing changed at a time.

A cell at a budget is the row that validation data selects among a method's rows within it. A study
asks for these tables by `Section`s of its own.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ccenv.base.mask_words import BOTH, kind_in_words
from ccenv.base.registry import check_names
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.stats.cost_points import Point, judged_points, make_point
from ccenv.runs.stats.intervals import Interval, paired_difference
from ccenv.runs.stats.measures import BITS, MEASURES
from ccenv.runs.stats.verdict import SLACK, Contender, Score, verdict
from ccenv.runs.tables.drawing import COLORS, Panel, Picture, Series, plotted
from ccenv.runs.tables.sweep_table import Columns, Table, read_columns

NOTE = (
    "Of each kind the row of least validation error among those of at most so many {unit} "
    "(5 % more are let pass), the policy's own included; its test error with Student's 95 % "
    "interval over seeds, without one where there is a single seed. Greedy masks; random masks are "
    "sampled."
)
Cost = Callable[[Point], float | None]
"""What a budget limits; None of a row of which it is not known, which is never within one."""


LIMITS: dict[str, tuple[str, str, Callable[[Sweep], Sequence[int]], Cost]] = {
    "budgets": (
        "Methods at equal budgets",
        "MACs",
        lambda sweep: sweep.budgets,
        lambda point: point.macs,
    ),
    "memory-budgets": (
        "Methods at equal budgets of memory",
        "kB",
        lambda sweep: sweep.memory_budgets,
        lambda point: point.kilobytes,
    ),
}
"""Name of a section -> its title, the unit of its budgets, where a sweep names them, what of."""


def budget_sections(sweep: Sweep) -> tuple[Section, ...]:
    """Tables at the budgets that a sweep names.

    Raises:
        ValueError: if it names an unknown measure.
    """
    check_names([sweep.measure], MEASURES, "measure")
    return tuple(
        Section(name, title, partial(budget_part, name))
        for name, (title, _, budgets_of, _) in LIMITS.items()
        if budgets_of(sweep)
    )


def budget_part(name: str, comparison: SweepRuns, results_dir: Path) -> Part:
    """A table with a column for each budget, and which method is best within each, if one is.

    A cell is empty where no row is so cheap, or where a smaller budget has the same row.
    """
    title, unit, budgets_of, cost = LIMITS[name]
    budgets, measure = budgets_of(comparison.sweep), MEASURES[comparison.sweep.measure]
    kinds: dict[str, list[Point]] = {}
    for point in itertools.chain(*judged_points(comparison.results, True, measure).values()):
        kinds.setdefault(point.method, []).append(point)
    rows = {
        k: [best_within(points, budget, cost) for budget in budgets] for k, points in kinds.items()
    }
    rows = {kind: best for kind, best in rows.items() if any(best)}
    lines: list[list[object]] = []
    for kind, within in rows.items():
        steps = itertools.pairwise([None, *within])
        lines.append(
            [kind, *(row and row.interval if row is not one else None for one, row in steps)]
        )
    columns = {"kind": "left", **{f"{n:,} {unit}": f"right {measure.spec}" for n in budgets}}
    note = NOTE.format(unit=unit if unit == "MACs" else f"{unit}, whatever their MACs")
    score = Score(f"test {measure.title}", False, measure.spec, measure.ends)
    for index, budget in enumerate(budgets):
        best = {kind: row for kind, within in rows.items() if (row := within[index])}
        contenders = [Contender(k, row.interval, len(row.error)) for k, row in best.items()]
        note += f" Within {budget:,} {unit}: {verdict(contenders, score)}."
    tested = "error, %" if measure.unit == "%" else measure.title
    table = Table(name, f"{title}: test {tested}", columns, lines, note)
    return Part([table] if lines else [])


def best_within(points: Sequence[Point], budget: int, cost: Cost) -> Point | None:
    """The row with the least validation error within a budget, None where none is so cheap."""
    costs = [(point, cost(point)) for point in points]
    cheap = [point for point, cost_of in costs if cost_of is not None and cost_of <= SLACK * budget]
    return min(cheap, key=lambda point: point.validation_mean, default=None)


TUNED_COLUMNS: Columns = {
    "agent": ("left", lambda one: one[1].method),
    "setting": ("left", lambda one: one[0].setting),
    "seeds": ("right", lambda one: len(one[1].error)),
    "MACs": ("right ,.0f", lambda one: one[1].macs),
    "test bits a symbol": ("right .3f", lambda one: one[1].interval),
}
TUNED_NOTE = (
    "Greedy masks; random masks are sampled. Interval: Student's, 95 %, over seeds. The "
    "setting has the least bits of four on validation text; no others were tried. MACs include the "
    "policy's own."
)


def tuned_alike(comparison: SweepRuns, results_dir: Path) -> Part:
    """Each method's row with the most seeds, which is that of the chosen setting, by mean bits."""
    usual = comparison.sweep.seeds
    methods: dict[str, list[Cell]] = {}
    for cell in comparison.sweep.cells:
        methods.setdefault(cell.method or cell.agent, []).append(cell)
    most = [
        max(cells, key=lambda c: len(usual if c.seeds is None else c.seeds))
        for cells in methods.values()
    ]
    rows = [
        (cell, make_point(cell.label, runs, True, BITS))
        for cell in most
        if (runs := comparison.results[cell.label])
    ]
    rows.sort(key=lambda one: one[1].interval.mean)
    contenders = [Contender(point.method, point.interval, len(point.error)) for _, point in rows]
    score = Score("mean bits a symbol", more_is_better=False, ends=BITS.ends)
    note = f"{TUNED_NOTE} Verdict: {verdict(contenders, score)}."
    table = Table("tuned", "Agents tuned alike", *read_columns(TUNED_COLUMNS, rows), note)
    return Part([table] if rows else [])


TUNED = Section("tuned", "Agents tuned alike", tuned_alike)


ABLATION_NOTE = (
    "Difference: the row's error minus the base's on test images, paired by seed, with Student's "
    "95 % interval: it matters where the interval does not hold 0. MACs with the policy's own."
)
NAMES = {greedy: f"{kind_in_words(greedy)} masks" for greedy in BOTH}
Points = Mapping[bool, Mapping[str, Point]]
"""`deterministic` -> label -> its runs as one point."""


def ablation(comparison: SweepRuns, results_dir: Path) -> Part:
    """Table and figure of a sweep that changes one thing of its first row at a time."""
    results = {label: runs for label, runs in comparison.results.items() if runs}
    cells = [cell for cell in comparison.sweep.cells if cell.label in results]
    if comparison.sweep.cells[0] not in cells or len(cells) < 2:
        return Part()
    points = {
        greedy: {cell.label: make_point(cell.label, results[cell.label], greedy) for cell in cells}
        for greedy in BOTH
    }
    base, first = cells[0], points[False]
    columns: Columns = {
        "changed": ("left", lambda cell: cell.setting or "base"),
        "row": ("left", lambda cell: cell.label),
        "seeds": ("right", lambda cell: len(first[cell.label].error)),
        "MACs": ("right ,.0f", lambda cell: first[cell.label].macs),
    }
    for greedy, name in NAMES.items():

        def error(cell: Cell, of: Mapping[str, Point] = points[greedy]) -> Interval:
            return of[cell.label].interval

        def difference(cell: Cell, of: Mapping[str, Point] = points[greedy]) -> Interval | None:
            errors = of[cell.label].error
            return None if cell is base else paired_difference(errors, of[base.label].error)

        columns = {
            **columns,
            f"{name}: error %": ("right .2%", error),
            f"{name}: difference": ("right .2%", difference),
        }
    lines = read_columns(columns, cells)
    table = Table("ablation", "One thing changed at a time", *lines, ABLATION_NOTE)
    errors = "; ".join(
        f"{c.label}: {100 * points[True][c.label].interval.mean:.2f} %" for c in cells
    )
    figure = Picture(
        partial(drawn_changes, cells, points),
        "ablation",
        "Bars: Student's 95 % intervals over seeds; bands: the base's.",
        f"Test errors, greedy masks: {errors}",
    )
    return Part([table], [figure])


ABLATION = Section("ablation", "One thing changed at a time", ablation)


def drawn_changes(cells: Sequence[Cell], points: Points) -> Any:
    """Errors with their intervals, a line a row; the base's interval is a band."""
    places, at = [], 0.0
    for before, cell in zip((None, *cells), cells, strict=False):
        # A gap where another thing is changed.
        at += 1.6 if before is not None and before.setting != cell.setting else 1
        places.append(at)
    series = []
    for index, (greedy, name) in enumerate(NAMES.items()):
        errors = [points[greedy][cell.label].interval for cell in cells]
        halves = [100 * ((one.high or one.mean) - one.mean) for one in errors]
        style = {"color": COLORS[index], "marker": "os"[index], "markersize": 3.5, "lw": 1}
        style |= {"ls": "", "xerr": halves, "capsize": 1.5}
        shifted = [place + 0.24 * (index - 0.5) for place in places]
        series.append(Series(name, [100 * one.mean for one in errors], shifted, style))

    def bands(axes: Any) -> None:
        axes.set_yticks(places, [cell.label if cell.setting else "base" for cell in cells])
        for color, greedy in zip(COLORS, NAMES, strict=False):
            base = points[greedy][cells[0].label].interval
            if base.low is not None and base.high is not None:
                axes.axvspan(100 * base.low, 100 * base.high, color=color, alpha=0.12, lw=0)

    settings = {"ylim": (places[-1] + 0.7, places[0] - 0.7), "xlabel": "test error in %"}
    return plotted([Panel(series, settings, bands)], 0.9 + 0.17 * at)
