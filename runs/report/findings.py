"""What a comparison shows, in sentences, and which runs kept their cost limit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.stats.fronts import ALL, AREA, front_verdict, make_fronts
from ccenv.runs.stats.measures import Result
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.tables.sweep_table import Row, Table, by_dataset, name_of

WITHIN = 0.02
"""Of the limit: so near counts as met."""
NOTE = (
    "Training cost: mean compute cost of the images in the last tenth of training, sampled masks. "
    f"Miss: its distance from the limit over the limit; met: at most {WITHIN:.0%}, or below the "
    "limit at a multiplier of 0, where nothing has to be held back. `price`: the last multiplier, "
    "of the whole dense network, in units of the reward."
)


@dataclass(frozen=True)
class Kept:
    """One run under a cost limit."""

    label: str
    """its row."""
    seed: int
    """its seed."""
    limit: float
    """mean compute cost to reach."""
    cost: float
    """mean compute cost of the last tenth of training."""
    price: float
    """the last."""

    @property
    def miss(self) -> float:
        """Distance from the limit, in limits; below 0 for less cost."""
        return self.cost / self.limit - 1

    @property
    def is_met(self) -> bool:
        """Whether the limit was reached, or needed no multiplier."""
        return abs(self.miss) <= WITHIN or (self.miss < 0 and self.price == 0)


def kept_limits(results: Mapping[str, Sequence[Result]]) -> list[Kept]:
    """Runs whose multiplier moved to reach a limit."""
    return [
        Kept(label, one["seed"], limit, one["last_tenth"]["compute_cost"], price)
        for label, found in results.items()
        for one in found
        if (price := one.get("last_tenth", {}).get("price")) is not None
        if (limit := limit_of(one["settings"])) is not None
    ]


def limit_of(settings: Mapping[str, Any]) -> float | None:
    """The cost limit of a run's agent, or else of its reward."""
    places = (settings["agent_settings"], settings["environment"]["reward_kwargs"])
    return next((place["cost_limit"] for place in places if "cost_limit" in place), None)


def limit_tables(results: Mapping[str, Sequence[Result]]) -> list[Table]:
    """One line for each label under a limit; no table where there is none."""
    kept = kept_limits(results)
    if not kept:
        return []
    columns = {"agent": "left", "limit": "right g", "training cost": "right .4f", "miss %": "right"}
    columns |= {"met": "right", "price": "right"}
    labels = dict.fromkeys(one.label for one in kept)
    lines = [limit_line([one for one in kept if one.label == label]) for label in labels]
    return [Table("cost-limits", "Cost limits", columns, lines, NOTE)]


def limit_line(runs: Sequence[Kept]) -> list[Any]:
    """All seeds of one label: means, and the smallest and largest miss and multiplier."""
    misses, prices = [100 * one.miss for one in runs], [one.price for one in runs]
    return [
        runs[0].label,
        runs[0].limit,
        sum(one.cost for one in runs) / len(runs),
        f"{min(misses):+.2f} to {max(misses):+.2f}",
        f"{sum(one.is_met for one in runs)} of {len(runs)}",
        f"{min(prices):.3g} to {max(prices):.3g}",
    ]


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
