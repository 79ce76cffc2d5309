"""Pareto fronts compared: results of a sweep -> one hypervolume for each method and shaping.

A Pareto front is all that a method reaches under one reward shaping, whatever its cost weight: the
cells of a sweep that share both. Its area is the hypervolume of (cost, error) against (1, 1),
where cost is the MACs of an image, the policy's own included, over those of the widest dense
network among the results on that data set: 1 would be no error at no cost.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ccenv.runs.stats.intervals import (
    Interval,
    bootstrap,
    hypervolume,
    mean_interval,
)
from ccenv.runs.stats.measures import (
    OWN,
    UNKNOWN,
    Result,
    dataset_of,
    method_of,
    shown_evaluation,
)
from ccenv.runs.stats.rows import mean_place
from ccenv.runs.stats.verdict import Contender, Finding, RowPlace, Score, verdict

ALL = "all"
"""Name for all data sets together."""
AREA = Score("hypervolume", more_is_better=True)
"""What Pareto fronts are compared by."""
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Front:
    """What a method reaches under one reward shaping on one data set, or on all."""

    dataset: str
    """images, or `ALL`."""
    method: str
    """what its rows are variants of; see `make_fronts`."""
    shaping: str
    """name of the reward."""
    labels: tuple[str, ...]
    """cells that make the Pareto front."""
    uses_labels: bool
    """True for ceilings, which are left out of verdicts."""
    areas: tuple[Mapping[int, float], ...]
    """seed -> area, once for each data set; seeds that every cell has finished."""
    places: tuple[RowPlace, ...] = ()
    """MACs and error of each cell, means over all its seeds."""

    @property
    def strata(self) -> list[list[float]]:
        """Areas of each data set."""
        return [list(areas.values()) for areas in self.areas]

    @property
    def by_seed(self) -> dict[int, float]:
        """Mean area over data sets of the seeds that all of them have."""
        shared = set.intersection(*(set(areas) for areas in self.areas))
        return {seed: sum(a[seed] for a in self.areas) / len(self.areas) for seed in sorted(shared)}

    @property
    def mean(self) -> Interval:
        """Mean over seeds with Student's 95 % interval."""
        return mean_interval(list(self.by_seed.values()))

    @property
    def iqm(self) -> Interval:
        """Interquartile mean over all runs with its stratified bootstrap interval."""
        return bootstrap(self.strata)


def make_fronts(
    results: Results,
    draw: str = OWN,
    family: Callable[[Result], str] = method_of,
) -> list[Front]:
    """Pareto fronts of each data set, then, where there are several, of all together.

    A Pareto front whose cells share no seed has no area; verdicts name it, tables leave it out.

    Args:
        results: label -> one result a seed.
        draw: "sampled", "mode", or "own" for the masks that each agent is for.
        family: name of what a result's row is a variant of. By default baselines that are networks
            of their own (counts, pruned ones) are no variants of the agent that runs them.
    """
    families: dict[tuple[str, str, str], list[str]] = {}
    for label, found in results.items():
        if found:
            key = (dataset_of(found[0]), family(found[0]), found[0]["reward"])
            families.setdefault(key, []).append(label)
    widest: dict[str, int] = {}
    for result in itertools.chain.from_iterable(results.values()):
        dataset = dataset_of(result)
        widest[dataset] = max(widest.get(dataset, 1), int(result["dense_macs"]))
    fronts = []
    for (dataset, method, shaping), labels in families.items():
        cells = [results[label] for label in labels]
        areas = areas_by_seed(cells, widest[dataset], draw)
        ceiling = bool(cells[0][0]["uses_labels"])
        places = tuple(RowPlace(k, dataset, *mean_place(results[k], draw)) for k in labels)
        fronts.append(Front(dataset, method, shaping, tuple(labels), ceiling, (areas,), places))
    return sorted(fronts, key=lambda front: front.dataset) + over_all(fronts)


def areas_by_seed(
    cells: Sequence[Sequence[Result]], reference_macs: int, draw: str
) -> dict[int, float]:
    """Hypervolume for each seed that every cell has finished."""
    points: dict[int, list[tuple[float, float]]] = {}
    for found in cells:
        for result in found:
            verdict = shown_evaluation(result, draw)
            if verdict["macs"] is not None:
                point = (verdict["macs"] / reference_macs, verdict["error"])
                points.setdefault(result["seed"], []).append(point)
    return {
        seed: hypervolume(found)
        for seed, found in sorted(points.items())
        if len(found) == len(cells)
    }


def over_all(fronts: Sequence[Front]) -> list[Front]:
    """Methods and shapings that have a Pareto front on every one of several data sets."""
    datasets = {front.dataset for front in fronts}
    if len(datasets) < 2:
        return []
    families: dict[tuple[str, str], list[Front]] = {}
    for front in fronts:
        families.setdefault((front.method, front.shaping), []).append(front)
    return [
        dataclasses.replace(
            found[0],
            dataset=ALL,
            labels=tuple(label for front in found for label in front.labels),
            areas=tuple(areas for front in found for areas in front.areas),
            places=tuple(place for front in found for place in front.places),
        )
        for found in families.values()
        if len(found) == len(datasets)
    ]


def name_in(front: Front, fronts: Sequence[Front]) -> str:
    """A method's name, with its shaping where the Pareto fronts have several."""
    several = len({other.shaping for other in fronts} - {UNKNOWN}) > 1
    is_named = several and front.shaping != UNKNOWN
    return f"{front.method} under {front.shaping}" if is_named else front.method


def leader(fronts: Sequence[Front]) -> Front | None:
    """The Pareto front of highest mean area, no ceiling; `front_verdict` says what that means."""
    contenders = [front for front in fronts if not front.uses_labels and front.by_seed]
    return max(contenders, key=lambda front: front.mean.mean, default=None)


def front_verdict(fronts: Sequence[Front]) -> Finding:
    """Says which Pareto front of a data set, or of all, has the largest hypervolume, if any."""
    compared = [front for front in fronts if not front.uses_labels]
    methods = "; ".join(dict.fromkeys(front.method for front in compared))
    shapings = {front.shaping for front in compared} - {UNKNOWN}
    among = f"{methods}; under {len(shapings)} rewards" if len(shapings) > 1 else methods
    contenders = [
        Contender(
            name=name_in(front, compared),
            interval=front.mean if front.by_seed else Interval(math.nan),
            num_seeds=len(front.by_seed),
            places=front.places,
            is_ceiling=front.uses_labels,
        )
        for front in fronts
    ]
    return verdict(contenders, AREA, among)
