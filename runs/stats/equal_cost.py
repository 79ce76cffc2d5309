"""The one number of a method: results of a sweep -> error above random masks' at equal cost.

A method is the cells of a sweep that share agent and reward shaping. Its number is the mean over
its cells of a run's error minus random masks' at the same total cost, paired by seed: below 0 is
better than skipping at random. Cells that cost less than any random masks have no such number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import (
    OWN,
    UNKNOWN,
    Result,
    dataset_of,
    method_of,
    shown_evaluation,
)
from ccenv.runs.stats.rows import dropout_curves, floors_at_cost, mean_place, random_masks
from ccenv.runs.stats.verdict import Contender, Finding, RowPlace, Score, verdict

ABOVE = Score("error above random masks'", more_is_better=False, spec=".2%", ends=(-1.0, 1.0))
"""What methods are compared by."""
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Method:
    """What a method reaches under one reward shaping on one data set."""

    dataset: str
    """inputs."""
    name: str
    """what its rows are variants of; see `make_methods`."""
    shaping: str
    """name of the reward."""
    labels: tuple[str, ...]
    """its cells."""
    uses_labels: bool
    """True for ceilings, which are left out of verdicts."""
    above: Mapping[int, float]
    """seed -> mean over its judged cells; seeds that all of these have finished."""
    num_judged: int
    """cells with random masks of their network at their cost."""
    places: tuple[RowPlace, ...] = ()
    """MACs and error of each cell, means over all its seeds."""

    @property
    def mean(self) -> Interval:
        """Mean over seeds with Student's 95 % interval; NaN without any."""
        return mean_interval(list(self.above.values())) if self.above else Interval(math.nan)


def make_methods(
    results: Results,
    draw: str = OWN,
    family: Callable[[Result], str] = method_of,
) -> list[Method]:
    """Methods of each data set.

    Args:
        results: label -> one result a seed.
        draw: "sampled", "mode", or "own" for the masks that each agent is for.
        family: name of what a result's row is a variant of. By default baselines that are networks
            of their own (counts, pruned ones) are no variants of the agent that runs them.
    """
    floors = random_masks(results)
    families: dict[tuple[str, str, str], list[str]] = {}
    for label, found in results.items():
        if found:
            key = (dataset_of(found[0]), family(found[0]), found[0]["reward"])
            families.setdefault(key, []).append(label)
    methods = []
    for (dataset, name, shaping), labels in families.items():
        cells = [
            paired_differences(results[label], draw, floors.get(dataset, [])) for label in labels
        ]
        judged = [cell for cell in cells if cell]
        seeds = set.intersection(*map(set, judged)) if judged else set()
        methods.append(
            Method(
                dataset=dataset,
                name=name,
                shaping=shaping,
                labels=tuple(labels),
                uses_labels=bool(results[labels[0]][0]["uses_labels"]),
                above={s: sum(one[s] for one in judged) / len(judged) for s in sorted(seeds)},
                num_judged=len(judged),
                places=tuple(RowPlace(k, dataset, *mean_place(results[k], draw)) for k in labels),
            )
        )
    return sorted(methods, key=lambda method: method.dataset)


def paired_differences(
    found: Sequence[Result], draw: str, floors: Sequence[Result]
) -> dict[int, float]:
    """Seed -> error minus random masks' at the same total cost; empty where one has none."""
    at_cost = floors_at_cost(found, draw, dropout_curves(floors, draw, found[0]))
    if not at_cost:
        return {}
    return {r["seed"]: shown_evaluation(r, draw)["error"] - at_cost[r["seed"]] for r in found}


def name_in(method: Method, methods: Sequence[Method]) -> str:
    """A method's name, with its shaping where there are several."""
    several = len({other.shaping for other in methods} - {UNKNOWN}) > 1
    # A method may be called by its reward already.
    is_named = several and method.shaping.rpartition(":")[2] not in (UNKNOWN, method.name)
    return f"{method.name} under {method.shaping}" if is_named else method.name


def method_verdict(methods: Sequence[Method]) -> Finding:
    """Says which method of a data set has the least error above random masks', if any."""
    compared = [method for method in methods if not method.uses_labels]
    names = "; ".join(dict.fromkeys(method.name for method in compared))
    shapings = {method.shaping for method in compared} - {UNKNOWN}
    among = f"{names}; under {len(shapings)} rewards" if len(shapings) > 1 else names
    contenders = [
        Contender(
            name=name_in(method, compared),
            interval=method.mean,
            num_seeds=len(method.above),
            places=method.places,
            is_ceiling=method.uses_labels,
            is_placed=method.num_judged > 0,
        )
        for method in methods
    ]
    return verdict(contenders, ABOVE, among)
