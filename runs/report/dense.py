"""Compares conditional with dense networks: the tables of every sweep that has both."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

from ccenv.base.mask_words import BOTH, in_files
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.stats.cost_points import times_in
from ccenv.runs.stats.dense_comparison import (
    Contest,
    EqualError,
    at_equal_error,
    at_equal_macs,
    dense_elsewhere,
    make_contests,
)
from ccenv.runs.stats.measures import BITS, ERROR, OF_SYMBOLS
from ccenv.runs.tables.drawing import file_part
from ccenv.runs.tables.sweep_table import Columns, Table, read_columns

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


def dense_tables(
    contests: Sequence[Contest], deterministic: bool | None, note: str = ""
) -> list[Table]:
    """Two tables for each data set."""
    tables = []
    for contest in contests:
        ending = f"-{file_part(contest.dataset)}" if len(contests) > 1 else ""
        ending += f"-{contest.measure.name}" if contest.measure.name else ""
        ending += "" if deterministic is False else f"-{in_files(deterministic, 'asked')}"
        tables += [equal_macs(contest, ending, note), equal_error(contest, ending, note)]
    return tables


def equal_macs(contest: Contest, ending: str, note: str) -> Table:
    """Conditional rows compared with dense networks of their cost."""
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns: Columns = {
        "row": ("left", lambda one: one.point.label),
        "MACs": ("right ,.0f", lambda one: one.point.macs),
        measure.heading: (spec, lambda one: one.point.interval),
        f"dense of equal MACs{measure.sign}": (spec, lambda one: one.dense),
        "difference": (spec, lambda one: one.difference),
        "against dense": ("left", lambda one: one.verdict or "outside the widths"),
    }
    notes = [MACS_NOTE, note]
    if measure.name:
        columns = {**columns, "kB": ("right ,.0f", lambda one: one.point.kilobytes)}
        notes.insert(1, "kB: network and policy.")
    return Table(
        f"at-equal-macs{ending}",
        f"At equal total MACs, {contest.dataset}",
        *read_columns(columns, at_equal_macs(contest)),
        " ".join(notes).strip(),
    )


def equal_error(contest: Contest, ending: str, note: str) -> Table:
    """Dense networks that no cheaper one beats, and the cheapest conditional row as good."""
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns: Columns = {
        "dense": ("left", lambda one: one.dense.label),
        "MACs": ("right ,.0f", lambda one: one.dense.macs),
        f"its {measure.titled}": (spec, lambda one: one.dense.interval),
        "conditional": ("left", lambda one: one.point.label if one.point else "none as good"),
        "its MACs": ("right ,.0f", lambda one: one.point and one.point.macs),
        measure.titled: (spec, lambda one: one.point and one.point.interval),
        f"test {measure.title}": ("left", lambda one: one.point and one.verdict),
        "MACs ratio": ("right .2f", lambda one: one.macs_ratio),
        **{
            f"time ratio, {n}": ("right .2f", functools.partial(EqualError.time_ratio, images=n))
            for n in contest.batches
        },
    }
    return Table(
        f"at-equal-error{ending}",
        f"At the error of dense networks, {contest.dataset}",
        *read_columns(columns, at_equal_error(contest)),
        f"{ERROR_NOTE} {note}".strip(),
    )


def against_dense(comparison: SweepRuns, results_dir: Path) -> Part:
    """The tables under each kind of masks; of texts in errors and in bits."""
    runs = itertools.chain.from_iterable(comparison.results.values())
    measures = (ERROR, BITS) if all(run.get(OF_SYMBOLS) for run in runs) else (ERROR,)
    times = times_in(results_dir, comparison.name)
    learned = any(row["learns"] for row in comparison.rows)
    usual = comparison.deterministic
    kinds = tuple(dict.fromkeys((usual, *BOTH))) if learned and not usual else (usual,)
    names = (row["dataset"] for row in comparison.rows)
    elsewhere = dense_elsewhere(names, results_dir, comparison.name)
    tables: list[Table] = []
    for measure, deterministic in itertools.product(measures, kinds):
        others = elsewhere if measure is ERROR else {}
        contests = make_contests(
            comparison.results, deterministic, others, times[deterministic], measure
        )
        when = f"masks-{in_files(deterministic, 'asked')}" if len(kinds) > 1 else ""
        when += f" measure-{measure.name or 'error'}" if len(measures) > 1 else ""
        tables += [
            dataclasses.replace(table, when={"": when})
            for table in dense_tables(contests, deterministic, NOTES[deterministic])
        ]
    return Part(tables)


NOTES = {
    None: "The masks that each agent is for.",
    False: "Sampled masks.",
    True: "Greedy masks; validation errors are theirs too where they are known.",
}
AGAINST_DENSE = Section("dense", "Compared with dense networks", against_dense)
