"""A comparison in at most three sentences a data set: front areas, random masks, cost limits."""

from collections import Counter
from collections.abc import Sequence

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.report.limits import kept_limits
from ccenv.runs.show.tables import Row, by_dataset
from ccenv.runs.stats.fronts import ALL, Front, make_fronts, winner

VERDICTS = {
    "better": "less error (intervals apart)",
    "worse": "more error (intervals apart)",
    "no difference": "no difference (intervals overlap)",
}


def findings(comparison: Comparison) -> list[str]:
    """Sentences, each one supported by the tables."""
    fronts = make_fronts(comparison.results, comparison.draw)
    sentences = []
    for dataset in dict.fromkeys(front.dataset for front in fronts):
        where = "All data sets together" if dataset == ALL else f"Front area on {dataset}"
        sentences.append(f"{where}: {winner(rivals(fronts, dataset, comparison.rows))}.")
    for dataset, rows in by_dataset(comparison.rows).items():
        counts = Counter(row["verdict"] for row in rows)
        if parts := [f"{counts[v]} with {text}" for v, text in VERDICTS.items() if counts[v]]:
            sentences.append(
                f"Beside random masks of the same cost on {dataset}: {', '.join(parts)}."
            )
    if limits := kept_limits(comparison.results):
        num_met = sum(run.is_met for run in limits)
        sentences.append(f"{num_met} of {len(limits)} runs under a cost limit met it.")
    return sentences


def rivals(fronts: Sequence[Front], dataset: str, rows: Sequence[Row]) -> list[Front]:
    """Fronts of a data set that are compared with each other.

    Where agents learned under several shapings only theirs are: each shaping is one point of many,
    and a rule with a front of several rates would be judged by all of them.
    """
    here = [front for front in fronts if front.dataset == dataset]
    learners = {row["agent"] for row in rows if row["learns"]}
    learned = [front for front in here if front.agent in learners]
    return learned if len({front.shaping for front in learned}) > 1 else here
