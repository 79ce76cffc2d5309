"""Who is best at a budget: a sweep and some budgets -> a table, a row a kind of network.

Of each kind the row that validation chooses among those that cost no more: what somebody would
take who has so many MACs. A study asks for it by `Section`s of its own.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.show.tables import Table
from ccenv.runs.stats.measures import ERROR, Measure
from ccenv.runs.stats.points import Point, make_point

SLACK = 1.05
"""Of a budget that a row may cost: rows that are meant for one differ by that."""
NOTE = (
    "Of each kind the row of least validation error among those of at most so many MACs (5 % more "
    "are let pass), the policy's own included; its test error with Student's 95 % interval over "
    "seeds, without one where there is a single seed. Most probable masks; random masks are drawn."
)
DRAWN = ("block_dropout",)
"""Agents whose most probable masks say nothing."""


def at_budgets(budgets: Sequence[int], measure: Measure = ERROR) -> Section:
    """A section of a study.

    Args:
        budgets: MACs of an input, ascending.
        measure: by which rows are compared.
    """

    def make(comparison: Comparison, results_dir: Path) -> Part:
        points = points_of(comparison, measure)
        lines = [[kind, *best_of(own, budgets)] for kind, own in by_kind(points).items()]
        lines = [line for line in lines if any(cell is not None for cell in line[1:])]
        columns = {"kind": "left", **{f"{n:,} MACs": f"right {measure.spec}" for n in budgets}}
        unit = "error, %" if measure.unit == "%" else measure.title
        title = f"Who is best at a budget: test {unit}"
        return Part([Table("budgets", title, columns, lines, NOTE)] if lines else [])

    return Section("budgets", "Who is best at a budget", make)


def points_of(comparison: Comparison, measure: Measure) -> list[Point]:
    """Rows with results, ceilings left out, under the masks that are shown of them."""
    return [
        make_point(label, runs, "sampled" if runs[0]["agent"] in DRAWN else "mode", measure)
        for label, runs in comparison.results.items()
        if runs and not runs[0]["uses_labels"]
    ]


def by_kind(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Rows whose labels begin alike."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(kind_of(point.label), []).append(point)
    return found


def kind_of(label: str) -> str:
    """What a label says before its first number, and that it has look-up tables.

    >>> kind_of("rloo in pruned 4 x 16, 1 kept"), kind_of("confidence, exits in 8, 16 / 64")
    ('rloo in pruned', 'confidence, exits')
    >>> kind_of("dense 24, tables hidden,logits")
    'dense with tables'
    """
    words = re.split(r"\d", label, maxsplit=1)[0].strip(" ,")
    return words.removesuffix(" in") + (" with tables" if ", tables " in label else "")


def best_of(points: Sequence[Point], budgets: Sequence[int]) -> list[object]:
    """At each budget the interval of the row that validation chooses, None where none is so cheap.

    A row that was the best at a smaller budget already is not said again.
    """
    found: list[object] = []
    before: Point | None = None
    for budget in budgets:
        cheap = [point for point in points if point.macs <= SLACK * budget]
        best = min(cheap, key=lambda point: point.validation_mean, default=None)
        found.append(None if best is None or best is before else best.interval)
        before = best
    return found
