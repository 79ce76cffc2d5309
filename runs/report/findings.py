"""A comparison in a few sentences: verdict, Pareto front, random masks, cost limits."""

from collections import Counter

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.report.limits import kept_limits
from ccenv.runs.show.tables import Row, by_dataset, name_of
from ccenv.runs.stats.fronts import ALL, AREA, front_verdict, make_fronts
from ccenv.runs.stats.verdict import first_names

VERDICTS = {
    "better": "with less error",
    "worse": "with more error",
    "no difference": "not significantly different",
}
"""Verdict of a row against random masks -> words for it."""


def findings(comparison: Comparison) -> list[str]:
    """Sentences, each one supported by the tables."""
    fronts = make_fronts(comparison.results, comparison.draw)
    sentences = []
    for dataset in dict.fromkeys(front.dataset for front in fronts):
        where = f"{AREA.name.capitalize()} on {dataset}"
        if dataset == ALL:
            where = f"{AREA.name.capitalize()}, methods with results on all data sets"
        found = front_verdict([front for front in fronts if front.dataset == dataset])
        sentences.append(f"{where}: {found.sentence}.")
    for dataset, rows in by_dataset(comparison.rows).items():
        front = [f"{name_of(row)} ({seeds_of(row)})" for row in rows if row["on_front"]]
        sentences.append(f"Pareto front of mean error and MACs on {dataset}: {first_names(front)}.")
        counts = Counter(row["verdict"] for row in rows if row["verdict"])
        if parts := [f"{counts[v]} {text}" for v, text in VERDICTS.items() if counts[v]]:
            if without := sum(n for v, n in counts.items() if v not in VERDICTS):
                parts.append(f"{without} without a verdict (see the table)")
            sentences.append(
                f"Rows compared with random masks of the same cost on {dataset}: "
                f"{', '.join(parts)}."
            )
    if limits := kept_limits(comparison.results):
        num_met = sum(run.is_met for run in limits)
        sentences.append(f"{num_met} of {len(limits)} runs under a cost limit met it.")
    return sentences


def seeds_of(row: Row) -> str:
    """How many seeds a row has."""
    number = len(row["seeds"])
    return "1 seed" if number == 1 else f"{number} seeds"
