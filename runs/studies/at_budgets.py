"""Methods at equal budgets of MACs or of memory, and tuned alike: a line a method.

A cell at a budget is the row that validation data selects among a method's rows within it. A study
asks for these tables by `Section`s of its own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ccenv.base.registry import check_names
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.cost_points import Point, make_point
from ccenv.runs.stats.measures import BITS, MEASURES, Measure, repeated
from ccenv.runs.stats.verdict import SLACK, Contender, Score, verdict
from ccenv.runs.tables.sweep_table import Columns, Table, read_columns

NOTE = (
    "Of each kind the row of least validation error among those of at most so many {unit} "
    "(5 % more are let pass), the policy's own included; its test error with Student's 95 % "
    "interval over seeds, without one where there is a single seed. Greedy masks; random masks are "
    "sampled."
)
Cost = Callable[[Point], float | None]
"""What a budget limits; None of a row of which it is not known, which is never within one."""


def budget_sections(sweep: Sweep) -> tuple[Section, ...]:
    """Tables at the budgets that a sweep names.

    Raises:
        ValueError: if it names an unknown measure.
    """
    check_names([sweep.measure], MEASURES, "measure")
    heading, measure = "Methods at equal budgets", MEASURES[sweep.measure]
    limits: list[tuple[str, str, str, Sequence[int], Cost]] = [
        ("budgets", heading, "MACs", sweep.budgets, lambda point: point.macs),
        (
            "memory-budgets",
            f"{heading} of memory",
            "kB",
            sweep.memory_budgets,
            lambda point: point.kilobytes,
        ),
    ]
    return tuple(
        Section(name, title, partial(budget_part, name, title, unit, budgets, cost, measure))
        for name, title, unit, budgets, cost in limits
        if budgets
    )


def budget_part(
    name: str,
    heading: str,
    unit: str,
    budgets: Sequence[int],
    cost: Cost,
    measure: Measure,
    comparison: Comparison,
    results_dir: Path,
) -> Part:
    """A table with a column for each budget, and which method is best within each, if one is."""
    kinds: dict[str, list[Point]] = {}
    for point in judged_points(comparison, measure):
        kinds.setdefault(point.method, []).append(point)
    lines = [[kind, *budget_cells(own, budgets, cost)] for kind, own in kinds.items()]
    lines = [line for line in lines if any(cell is not None for cell in line[1:])]
    columns = {"kind": "left", **{f"{n:,} {unit}": f"right {measure.spec}" for n in budgets}}
    note = NOTE.format(unit=unit if unit == "MACs" else f"{unit}, whatever their MACs")
    score = Score(f"test {measure.title}", False, measure.spec, measure.ends)
    for budget in budgets:
        rows = {kind: best_within(own, budget, cost) for kind, own in kinds.items()}
        contenders = [Contender(k, row.interval, len(row.error)) for k, row in rows.items() if row]
        note += f" Within {budget:,} {unit}: {verdict(contenders, score).sentence}."
    tested = "error, %" if measure.unit == "%" else measure.title
    table = Table(name, f"{heading}: test {tested}", columns, lines, note)
    return Part([table] if lines else [])


def judged_points(comparison: Comparison, measure: Measure) -> list[Point]:
    """Rows under the masks that are shown; no ceilings, and none that repeats another row."""
    same = repeated(comparison.results)
    return [
        make_point(label, runs, "mode", measure)
        for label, runs in comparison.results.items()
        if runs and not runs[0]["uses_labels"] and label not in same
    ]


def best_within(points: Sequence[Point], budget: int, cost: Cost) -> Point | None:
    """The row with the least validation error within a budget, None where none is so cheap."""
    costs = [(point, cost(point)) for point in points]
    cheap = [point for point, own in costs if own is not None and own <= SLACK * budget]
    return min(cheap, key=lambda point: point.validation_mean, default=None)


def budget_cells(points: Sequence[Point], budgets: Sequence[int], cost: Cost) -> list[object]:
    """The interval of the selected row at each budget.

    None where no row is so cheap, and where the selected row is that of a smaller budget.
    """
    found: list[object] = []
    before: Point | None = None
    for budget in budgets:
        row = best_within(points, budget, cost)
        found.append(None if row is None or row is before else row.interval)
        before = row
    return found


TUNED_COLUMNS: Columns = {
    "agent": ("left", lambda one: one[0].method or one[0].agent),
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


def tuned_alike(comparison: Comparison, results_dir: Path) -> Part:
    """Each method's row with the most seeds, which is that of the chosen setting, by mean bits."""
    sweep = comparison.sweep
    seeds = {c.label: len(sweep.seeds if c.seeds is None else c.seeds) for c in sweep.cells}
    most: dict[str, Cell] = {}
    for cell in sweep.cells:
        before = most.setdefault(cell.method or cell.agent, cell)
        if seeds[cell.label] > seeds[before.label]:
            most[cell.method or cell.agent] = cell
    found = [
        (cell, make_point(cell.label, runs, "mode", BITS))
        for cell in most.values()
        if (runs := comparison.results[cell.label])
    ]
    found.sort(key=lambda one: one[1].interval.mean)
    contenders = [
        Contender(cell.method or cell.agent, point.interval, len(point.error))
        for cell, point in found
    ]
    score = Score("mean bits a symbol", more_is_better=False, ends=BITS.ends)
    note = f"{TUNED_NOTE} Verdict: {verdict(contenders, score).sentence}."
    table = Table("tuned", "Agents tuned alike", *read_columns(TUNED_COLUMNS, found), note)
    return Part([table] if found else [])


TUNED = Section("tuned", "Agents tuned alike", tuned_alike)
