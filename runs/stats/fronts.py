"""Pareto fronts compared: results of a sweep -> one hypervolume for each agent and shaping.

A Pareto front is all that an agent reaches under one reward shaping, whatever its cost weight: the
cells of a sweep that share both. Its area is the hypervolume of (cost, error) against (1, 1),
where cost is the MACs of an image, the policy's own included, over those of the widest dense
network among the results on that data set: 1 would be no error at no cost.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ccenv.runs.stats.cost_points import method_of
from ccenv.runs.stats.intervals import (
    Interval,
    bootstrap,
    hypervolume,
    mean_interval,
    paired_difference,
    probability_of_improvement,
)
from ccenv.runs.stats.measures import Result, dataset_of, shown
from ccenv.runs.stats.rows import mean_place
from ccenv.runs.stats.verdict import Contender, Place, Score, Verdict, verdict

ALL = "all"
"""Name for all data sets together."""
AREA = Score("hypervolume", more_is_better=True)
"""What Pareto fronts are compared by."""
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Front:
    """What an agent reaches under one reward shaping on one data set, or on all."""

    dataset: str
    """images, or `ALL`."""
    agent: str
    """its name, or another one of its family; see `make_fronts`."""
    shaping: str
    """name of the reward."""
    labels: tuple[str, ...]
    """cells that make the Pareto front."""
    uses_labels: bool
    """True for ceilings, which are left out of verdicts."""
    areas: tuple[Mapping[int, float], ...]
    """seed -> area, once for each data set; seeds that every cell has finished."""
    places: tuple[Place, ...] = ()
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
    draw: str = "sampled",
    family: Callable[[Result], str] = method_of,
) -> list[Front]:
    """Pareto fronts of each data set, then, where there are several, of all together.

    A Pareto front whose cells share no seed has no area; verdicts name it, tables leave it out.

    Args:
        results: label -> one result a seed.
        draw: "sampled" or "mode".
        family: name of what a result's row is a variant of. By default baselines that are networks
            of their own (counts, pruned ones) are no variants of the agent that runs them.
    """
    families: dict[tuple[str, str, str], list[str]] = {}
    for label, found in results.items():
        if found:
            key = (dataset_of(found[0]), family(found[0]), found[0]["reward"])
            families.setdefault(key, []).append(label)
    widest = widest_networks(results)
    fronts = []
    for (dataset, agent, shaping), labels in families.items():
        cells = [results[label] for label in labels]
        areas = areas_by_seed(cells, widest[dataset], draw)
        ceiling = bool(cells[0][0]["uses_labels"])
        places = tuple(place_of(label, results[label], draw) for label in labels)
        fronts.append(Front(dataset, agent, shaping, tuple(labels), ceiling, (areas,), places))
    return sorted(fronts, key=lambda front: front.dataset) + over_all(fronts)


def place_of(label: str, runs: Sequence[Result], draw: str) -> Place:
    """A cell's MACs and error, means over its seeds."""
    macs, error = mean_place(runs, draw)
    return Place(label, dataset_of(runs[0]), macs, error)


def widest_networks(results: Results) -> dict[str, int]:
    """Data set -> MACs of the widest dense network among the results."""
    widest: dict[str, int] = {}
    for found in results.values():
        for result in found:
            name = dataset_of(result)
            widest[name] = max(widest.get(name, 1), int(result["dense_macs"]))
    return widest


def areas_by_seed(
    cells: Sequence[Sequence[Result]], reference_macs: int, draw: str
) -> dict[int, float]:
    """Hypervolume for each seed that every cell has finished."""
    points: dict[int, list[tuple[float, float]]] = {}
    for found in cells:
        for result in found:
            verdict = shown(result, draw)
            point = (verdict["macs"] / reference_macs, verdict["error"])
            points.setdefault(result["seed"], []).append(point)
    return {
        seed: hypervolume(found)
        for seed, found in sorted(points.items())
        if len(found) == len(cells)
    }


def over_all(fronts: Sequence[Front]) -> list[Front]:
    """Agents and shapings that have a Pareto front on every one of several data sets."""
    datasets = {front.dataset for front in fronts}
    if len(datasets) < 2:
        return []
    families: dict[tuple[str, str], list[Front]] = {}
    for front in fronts:
        families.setdefault((front.agent, front.shaping), []).append(front)
    return [
        Front(
            ALL,
            agent,
            shaping,
            tuple(label for front in found for label in front.labels),
            found[0].uses_labels,
            tuple(areas for front in found for areas in front.areas),
            tuple(place for front in found for place in front.places),
        )
        for (agent, shaping), found in families.items()
        if len(found) == len(datasets)
    ]


def name_in(front: Front, fronts: Sequence[Front]) -> str:
    """An agent's name, with its shaping where the Pareto fronts have several."""
    several = len({other.shaping for other in fronts}) > 1
    return f"{front.agent} under {front.shaping}" if several else front.agent


def leader(fronts: Sequence[Front]) -> Front | None:
    """The Pareto front of highest mean area, no ceiling; `front_verdict` says what that means."""
    contenders = [front for front in fronts if not front.uses_labels and front.by_seed]
    return max(contenders, key=lambda front: front.mean.mean, default=None)


def front_verdict(fronts: Sequence[Front]) -> Verdict:
    """Says which Pareto front of a data set, or of all, has the largest hypervolume, if any."""
    compared = [front for front in fronts if not front.uses_labels]
    methods = "; ".join(dict.fromkeys(front.agent for front in compared))
    shapings = {front.shaping for front in compared}
    among = f"{methods}; under {len(shapings)} rewards" if len(shapings) > 1 else methods
    return verdict([contender(front, compared) for front in fronts], AREA, among)


def contender(front: Front, fronts: Sequence[Front]) -> Contender:
    """A Pareto front as one of several methods that are compared."""
    return Contender(
        name=name_in(front, fronts),
        interval=front.mean if front.by_seed else Interval(math.nan),
        num_seeds=len(front.by_seed),
        places=front.places,
        is_ceiling=front.uses_labels,
    )


def against(front: Front, first: Front) -> tuple[Interval | None, Interval | None]:
    """Paired difference of areas from another Pareto front, and how likely a run has more area."""
    difference = paired_difference(front.by_seed, first.by_seed)
    if len(front.strata) != len(first.strata):
        return difference, None
    return difference, probability_of_improvement(front.strata, first.strata)
