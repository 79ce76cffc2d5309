"""A comparison in words: who wins or why nobody does, who beats random masks, who collapsed."""

from collections.abc import Sequence

from runs.jobs import Comparison
from runs.page.fronts import ALL, Front, make_fronts, winner
from runs.report import Row, by_dataset

VERDICTS = {
    "better": "less error than random masks of the same compute cost, intervals apart",
    "worse": "more error than random masks of the same compute cost, intervals apart",
    "no difference": "not told from random masks of the same compute cost (intervals overlap)",
}


def findings(comparison: Comparison) -> list[str]:
    """Sentences, each one supported by the tables."""
    fronts = make_fronts(comparison.results, comparison.masks)
    sentences = []
    for dataset in dict.fromkeys(front.dataset for front in fronts):
        where = "All data sets together" if dataset == ALL else f"Front area on {dataset}"
        found = [front for front in fronts if front.dataset == dataset]
        sentences.append(f"{where}: {winner(found)}.")
    for dataset, rows in by_dataset(comparison.rows).items():
        shapings = dict.fromkeys(row["shaping"] for row in rows if row["learns"])
        if len(shapings) < 2:
            sentences += [f"On {dataset}, {text}." for text in clauses(rows, "label")]
            continue
        for shaping in shapings:
            some = [row for row in rows if row["learns"] and row["shaping"] == shaping]
            text = "; ".join([reach(fronts, dataset, some), *clauses(some, "agent")])
            sentences.append(f"On {dataset} under {shaping}: {text}.")
    return sentences


def reach(fronts: Sequence[Front], dataset: str, rows: Sequence[Row]) -> str:
    """Largest and smallest front area of the agents that learned under one shaping."""
    agents = {row["agent"] for row in rows}
    known = [
        (front.mean.mean, front.agent)
        for front in fronts
        if front.by_seed and (front.dataset, front.shaping) == (dataset, rows[0]["shaping"])
        if front.agent in agents
    ]
    if not known:
        return "no front yet"
    (low, _), (high, best) = min(known), max(known)
    return f"front areas {low:.3f} to {high:.3f}, the largest mean that of {best}"


def clauses(rows: Sequence[Row], name: str) -> list[str]:
    """A part of a sentence for each verdict, and for each way in which policies collapsed.

    Args:
        rows: on one data set.
        name: what rows are called by: "label" or "agent".
    """
    found: dict[str, list[str]] = {}
    for verdict, meaning in VERDICTS.items():
        found[meaning] = [row[name] for row in rows if row["verdict"] == verdict]
    for row in rows:
        if row["habit"]:
            found.setdefault(f"ended as {row['habit']}", []).append(row[name])
    return [f"{text}: {', '.join(dict.fromkeys(who))}" for text, who in found.items() if who]
