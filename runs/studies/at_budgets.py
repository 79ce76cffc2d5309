"""Methods at equal budgets of MACs or of memory: a sweep and budgets -> a table, a line a method.

A cell is the row that validation data selects among a method's rows within the budget. A study
asks for it by `Section`s of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.cost_points import Point, make_point
from ccenv.runs.stats.measures import ERROR, Measure, repeated
from ccenv.runs.stats.verdict import SLACK, Contender, Score, verdict
from ccenv.runs.tables.sweep_table import Table

NOTE = (
    "Of each kind the row of least validation error among those {within} (5 % more are let pass), "
    "the policy's own included; its test error with Student's 95 % interval over seeds, without "
    "one where there is a single seed. Greedy masks; random masks are sampled."
)
Cost = Callable[[Point], float | None]
"""What a budget limits; None of a row of which it is not known, which is never within one."""


def at_budgets(budgets: Sequence[int], measure: Measure = ERROR) -> Section:
    """A section of a study: the rows within so many MACs."""
    note = NOTE.format(within="of at most so many MACs")
    return within("budgets", "MACs", lambda point: point.macs, budgets, measure, note)


def at_memory(budgets: Sequence[int], measure: Measure = ERROR) -> Section:
    """The same within so many kB of network and policy, whatever their MACs."""
    note = NOTE.format(within="of at most so many kB, whatever their MACs")
    return within("memory-budgets", "kB", lambda point: point.kilobytes, budgets, measure, note)


def within(
    name: str, unit: str, cost: Cost, budgets: Sequence[int], measure: Measure, note: str
) -> Section:
    """A section whose table has a column for each budget."""
    heading = "Methods at equal budgets" + (" of memory" if unit == "kB" else "")

    def make(comparison: Comparison, results_dir: Path) -> Part:
        kinds = by_kind(points_of(comparison, measure))
        lines = [[kind, *cells_of(own, budgets, cost)] for kind, own in kinds.items()]
        lines = [line for line in lines if any(cell is not None for cell in line[1:])]
        columns = {"kind": "left", **{f"{n:,} {unit}": f"right {measure.spec}" for n in budgets}}
        tested = "error, %" if measure.unit == "%" else measure.title
        sentences = (
            f"Within {budget:,} {unit}: {sentence_at(kinds, budget, cost, measure)}."
            for budget in budgets
        )
        told = " ".join([note, *sentences])
        return Part(
            [Table(name, f"{heading}: test {tested}", columns, lines, told)] if lines else []
        )

    return Section(name, heading, make)


def sentence_at(
    kinds: Mapping[str, Sequence[Point]], budget: int, cost: Cost, measure: Measure
) -> str:
    """Which method is best within a budget, if one is."""
    rows = {kind: selected(own, budget, cost) for kind, own in kinds.items()}
    contenders = [
        Contender(kind, row.interval, len(row.error)) for kind, row in rows.items() if row
    ]
    score = Score(
        name=f"test {measure.title}",
        more_is_better=False,
        spec=measure.spec,
        ends=measure.ends,
    )
    return verdict(contenders, score).sentence


def points_of(comparison: Comparison, measure: Measure) -> list[Point]:
    """Rows under the masks that are shown; no ceilings, and none that repeats another row."""
    same = repeated(comparison.results)
    return [
        make_point(label, runs, "mode", measure)
        for label, runs in comparison.results.items()
        if runs and not runs[0]["uses_labels"] and label not in same
    ]


def by_kind(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Rows of each method."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.method, []).append(point)
    return found


def selected(points: Sequence[Point], budget: int, cost: Cost) -> Point | None:
    """The row with the least validation error within a budget, None where none is so cheap."""
    costs = [(point, cost(point)) for point in points]
    cheap = [point for point, own in costs if own is not None and own <= SLACK * budget]
    return min(cheap, key=lambda point: point.validation_mean, default=None)


def cells_of(points: Sequence[Point], budgets: Sequence[int], cost: Cost) -> list[object]:
    """The interval of the selected row at each budget.

    None where no row is so cheap, and where the selected row is that of a smaller budget.
    """
    found: list[object] = []
    before: Point | None = None
    for budget in budgets:
        row = selected(points, budget, cost)
        found.append(None if row is None or row is before else row.interval)
        before = row
    return found
