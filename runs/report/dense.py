"""Compares conditional with dense networks: the tables of every sweep that has both."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.cost_points import Point, borrowed, in_kilobytes, times_in
from ccenv.runs.stats.dense_comparison import (
    Contest,
    EqualError,
    EqualMacs,
    at_equal_error,
    at_equal_macs,
    groups_of_one_cost,
    make_contests,
    undominated,
)
from ccenv.runs.stats.intervals import mean_interval
from ccenv.runs.stats.measures import BITS, ERROR, MODES, OF_SYMBOLS, Measure
from ccenv.runs.tables.sweep_table import Table

MACS_NOTE = (
    "Each row compared with a dense network of the same total MACs, its error linear in the "
    "logarithm of MACs between the two nearest ones of the same seed; dense networks that a "
    "cheaper one beats on validation images are left out, and beyond the dearest of the "
    "others it is that one. Variants of one cost were chosen by validation error. Difference: ours "
    "minus dense, paired by seed, with Student's 95 % interval. Better or worse: the two 95 % "
    "intervals over seeds are apart. Rows that compute nothing are left out."
)
ERROR_NOTE = (
    "For each dense width (dropout chosen by validation error) the cheapest conditional row whose "
    "validation error is no larger. Ratios: its total MACs and its measured time over the dense "
    "network's. Times: medians of rounds in turns where those are recorded, "
    "else the least over seeds of runs that were timed one by one, next to others. Test errors: "
    "better or worse where the 95 % intervals are apart. Dense networks that a cheaper one beats "
    "on validation data are left out."
)

VARIANTS_NOTE = (
    "Rows of one agent whose total MACs are the same, trained in several ways; the one with the "
    "least validation error is chosen and stands in the other tables. A row that fewer seeds have "
    "finished than another does not take part yet."
)


def dense_tables(contests: Sequence[Contest], draw: str, note: str = "") -> list[Table]:
    """The tables for each data set."""
    tables = []
    for contest in contests:
        part = f"-{contest.dataset.replace(':', '.')}" if len(contests) > 1 else ""
        part += f"-{contest.measure.name}" if contest.measure.name else ""
        part += "" if draw == "sampled" else f"-{draw}"
        tables += [make(contest, part, note) for make in TABLES]
    return tables


def titled(measure: Measure) -> str:
    """A measure with its unit, where that is no word of it."""
    return measure.title + percent(measure)


def percent(measure: Measure) -> str:
    """The sign behind a column's name, if there is one."""
    return " %" if measure.unit == "%" else ""


def equal_macs_table(contest: Contest, part: str, note: str) -> Table:
    """Conditional rows compared with dense networks of their cost."""
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns = {"row": "left", "MACs": "right ,.0f", measure.heading: spec}
    columns |= {f"dense of equal MACs{percent(measure)}": spec, "difference": spec}
    columns |= {"against dense": "left"}
    pairs = at_equal_macs(contest)
    lines = [equal_macs_line(one) for one in pairs]
    if measure.name:
        columns |= {"kB": "right ,.0f"}
        note = f"kB: network and policy. {note}"
        lines = [[*line, in_kilobytes(one.point)] for line, one in zip(lines, pairs, strict=True)]
    title = f"At equal total MACs, {contest.dataset}"
    return Table(f"at-equal-macs{part}", title, columns, lines, f"{MACS_NOTE} {note}".strip())


def equal_macs_line(pair: EqualMacs) -> list[Any]:
    """One row of the table."""
    point = pair.point
    verdict = pair.verdict or "outside the widths"
    return [point.label, point.macs, point.interval, pair.dense, pair.difference, verdict]


def equal_error_table(contest: Contest, part: str, note: str) -> Table:
    """Dense networks that no cheaper one beats, and the cheapest conditional row as good."""
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns = {"dense": "left", "MACs": "right ,.0f", f"its {titled(measure)}": spec}
    columns |= {"conditional": "left", "its MACs": "right ,.0f", titled(measure): spec}
    columns |= {f"test {measure.title}": "left", "MACs ratio": "right .2f"}
    columns |= {f"time ratio, {n}": "right .2f" for n in contest.batches}
    pairs = at_equal_error(contest, undominated(contest.compared))
    lines = [equal_error_line(one, contest.batches) for one in pairs]
    title = f"At the error of dense networks, {contest.dataset}"
    return Table(f"at-equal-error{part}", title, columns, lines, f"{ERROR_NOTE} {note}".strip())


def equal_error_line(pair: EqualError, batches: Sequence[int]) -> list[Any]:
    """One row of the table."""
    start = [pair.dense.label, pair.dense.macs, pair.dense.interval]
    if pair.point is None:
        return [*start, "none as good", *[None] * (4 + len(batches))]
    ratios = [pair.macs_ratio, *(pair.time_ratio(images) for images in batches)]
    return [*start, pair.point.label, pair.point.macs, pair.point.interval, pair.verdict, *ratios]


def variants_table(contest: Contest, part: str, note: str) -> Table:
    """What was tried at equal cost, best first."""
    columns = {"row": "left", "MACs": "right ,.0f", "seeds": "right"}
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns |= {f"validation {titled(measure)}": spec, measure.heading: spec}
    columns |= {"chosen": "left"}
    chosen = {point.label for point in (*contest.dense, *contest.conditional)}
    points = [*contest.dense, *contest.conditional, *contest.others]
    lines = [
        variant_line(point, point.label in chosen)
        for group in groups_of_one_cost(points, by_memory=bool(measure.name))
        if len(group) > 1
        for point in sorted(group, key=lambda point: point.validation_mean)
    ]
    title = f"Variants of one cost, {contest.dataset}"
    return Table(f"variants{part}", title, columns, lines, f"{VARIANTS_NOTE} {note}".strip())


def variant_line(point: Point, is_chosen: bool) -> list[Any]:
    """One row of the table."""
    validation = mean_interval(list(point.validation.values())) if point.validation else None
    start = [point.label, point.macs, len(point.error)]
    return [*start, validation, point.interval, "*" if is_chosen else None]


TABLES = (equal_macs_table, equal_error_table, variants_table)


def against_dense(comparison: Comparison, results_dir: Path) -> Part:
    """The tables under each kind of masks; of texts in errors and in bits."""
    runs = itertools.chain.from_iterable(comparison.results.values())
    measures = (ERROR, BITS) if all(run.get(OF_SYMBOLS) for run in runs) else (ERROR,)
    times = times_in(results_dir, comparison.name)
    learned = any(row["learns"] for row in comparison.rows)
    draws = MODES if learned and comparison.draw == "sampled" else (comparison.draw,)
    tables: list[Table] = []
    for measure, draw in itertools.product(measures, draws):
        elsewhere = {}
        if measure is ERROR:
            names = (row["dataset"] for row in comparison.rows)
            elsewhere = borrowed(names, results_dir, comparison.name)
        contests = make_contests(comparison.results, draw, elsewhere, times[draw], measure)
        when = f"masks-{draw}" if len(draws) > 1 else ""
        when += f" measure-{measure.name or 'error'}" if len(measures) > 1 else ""
        tables += [
            dataclasses.replace(table, when={"": when})
            for table in dense_tables(contests, draw, NOTES[draw])
        ]
    return Part(tables)


NOTES = {
    "sampled": "Sampled masks.",
    "mode": "Greedy masks; validation errors are theirs too where they are known.",
}
AGAINST_DENSE = Section("dense", "Compared with dense networks", against_dense)
