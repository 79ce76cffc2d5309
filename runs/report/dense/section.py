"""Dense against conditional networks: the section of every report whose sweep has both."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.report.dense.figures import dense_figures
from ccenv.runs.report.dense.tables import dense_tables
from ccenv.runs.report.families import make_families
from ccenv.runs.show.drawing import Drawn
from ccenv.runs.show.tables import Table
from ccenv.runs.stats.bits import OF_SYMBOLS
from ccenv.runs.stats.contests import Contest, make_contests
from ccenv.runs.stats.measures import BITS, ERROR, Measure
from ccenv.runs.stats.points import Point, Times
from ccenv.runs.stats.recorded_dense import borrowed
from ccenv.runs.stats.recorded_times import times_in
from ccenv.runs.stats.results import MODES

DRAWS = {
    "sampled": "Masks as drawn.",
    "mode": "Most probable masks; validation errors are theirs too where they are known.",
}


def against_dense(comparison: Comparison, results_dir: Path, measure: Measure = ERROR) -> Part:
    """Tables and figures under each kind of masks."""
    elsewhere = {}
    if measure is ERROR:
        names = (row["dataset"] for row in comparison.rows)
        elsewhere = borrowed(names, results_dir, comparison.name)
    times = times_in(results_dir, comparison.name)
    contests = contests_of(comparison, elsewhere, times, measure)
    tables: list[Table] = []
    families = make_families(comparison.results)
    of_agents = {r["agent"]: families.style(r["label"]) for r in comparison.rows}
    styles = of_agents | dict(families.styles)
    figures: list[Drawn] = []
    for draw, under_draw in contests.items():
        tables += dense_tables(under_draw, draw, DRAWS[draw])
        figures += dense_figures(under_draw, styles, draw, DRAWS[draw])
    return Part(tables, figures)


def contests_of(
    comparison: Comparison,
    elsewhere: Mapping[str, Sequence[Point]],
    times: Mapping[str, Times | None],
    measure: Measure = ERROR,
) -> dict[str, list[Contest]]:
    """Masks -> dense against conditional networks; most probable too where some are learned."""
    learned = any(row["learns"] for row in comparison.rows)
    shown: Iterable[str] = (comparison.draw,)
    if learned and comparison.draw == "sampled":
        shown = MODES
    return {
        draw: make_contests(comparison.results, draw, elsewhere, times[draw], measure)
        for draw in shown
    }


AGAINST_DENSE = Section("dense", "Against dense networks", against_dense)


def in_bits(comparison: Comparison, results_dir: Path) -> Part:
    """The same of texts in bits a symbol; nothing of other data."""
    runs = itertools.chain.from_iterable(comparison.results.values())
    if not all(run.get(OF_SYMBOLS) for run in runs):
        return Part()
    return against_dense(comparison, results_dir, BITS)


IN_BITS = Section("bits", "Against dense networks, in bits a symbol", in_bits)
