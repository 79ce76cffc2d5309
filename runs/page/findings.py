"""A comparison in words: who wins or why nobody does, who beats random masks, who collapsed."""

from collections.abc import Sequence

from runs.jobs import Comparison
from runs.page.fronts import ALL, Front, make_fronts, winner
from runs.page.habits import who_fell
from runs.page.limits import limits_in_words
from runs.page.shapings import Shaping, make_shapings, ranking, shared_agents
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
        sentences.append(f"{where}: {winner(rivals(fronts, dataset, comparison.rows))}.")
    for dataset, rows in by_dataset(comparison.rows).items():
        shapings = make_shapings(rows, fronts)
        if len(shapings) > 1:
            sentences += about_shapings(dataset, rows, shapings, fronts)
        else:
            sentences += [f"On {dataset}, {text}." for text in clauses(rows, "label")]
    return sentences + limits_in_words(comparison.results)


def rivals(fronts: Sequence[Front], dataset: str, rows: Sequence[Row]) -> list[Front]:
    """Fronts of a data set that are held against each other.

    Where agents learned under several shapings only theirs are: each shaping is one point of many,
    and a rule with a front of several rates would be judged by all of them.
    """
    found = [front for front in fronts if front.dataset == dataset]
    learners = {row["agent"] for row in rows if row["learns"]}
    learned = [front for front in found if front.agent in learners]
    return learned if len({front.shaping for front in learned}) > 1 else found


def about_shapings(
    dataset: str, rows: Sequence[Row], shapings: Sequence[Shaping], fronts: Sequence[Front]
) -> list[str]:
    """One sentence for all shapings of a data set, and one for each, the best first."""
    agents = ", ".join(shared_agents(rows))
    sentences = []
    if agents:
        order = ranking(shapings)
        sentences.append(f"Shapings on {dataset} by mean front area of {agents}: {order}.")
    for shaping in shapings:
        parts = [reach(shaping), best(fronts, dataset, shaping), *clauses(shaping.rows, "agent")]
        text = "; ".join(part for part in parts if part)
        sentences.append(f"On {dataset} under {shaping.name}: {text}.")
    return sentences


def reach(shaping: Shaping) -> str:
    """Where the agents that learned under a shaping ended."""
    low, high = (100 * end for end in shaping.ends("error"))
    least, most = shaping.ends("total_cost")
    return f"error {low:.1f} to {high:.1f} %, total cost {least:.3f} to {most:.3f}"


def best(fronts: Sequence[Front], dataset: str, shaping: Shaping) -> str:
    """Largest and smallest front area of the agents that learned under one shaping."""
    agents = {row["agent"] for row in shaping.rows}
    known = [
        (front.mean.mean, front.agent)
        for front in fronts
        if front.by_seed and (front.dataset, front.shaping) == (dataset, shaping.name)
        if front.agent in agents
    ]
    if not known:
        return "no front yet"
    (low, _), (high, first) = min(known), max(known)
    return f"front areas {low:.3f} to {high:.3f}, the largest mean that of {first}"


def clauses(rows: Sequence[Row], name: str) -> list[str]:
    """A part of a sentence for each verdict, and for each way in which policies collapsed.

    Args:
        rows: on one data set.
        name: what rows are called by: "label" or "agent".
    """
    found: dict[str, list[str]] = {}
    for verdict, meaning in VERDICTS.items():
        found[meaning] = [row[name] for row in rows if row["verdict"] == verdict]
    for word, who in who_fell(rows, name).items():
        found[f"ended as {word}"] = who
    return [f"{text}: {names(who, rows)}" for text, who in found.items() if who]


def names(who: Sequence[str], rows: Sequence[Row]) -> str:
    """Names, or that it is every one of several."""
    different = list(dict.fromkeys(who))
    if len(rows) > 2 and len(who) == len(rows):
        return f"all {len(rows)}"
    return ", ".join(different)
