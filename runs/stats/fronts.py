"""Fronts compared by area: results of a sweep -> one area for each agent and shaping.

A front is all that an agent reaches under one reward shaping, whatever the price it was given: the
cells of a sweep that share both. Its area is the hypervolume of (cost, error) against (1, 1),
where cost is the MACs of an image, the policy's own included, over those of the widest dense
network among the results on that data set: 1 would be no error at no cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ccenv.runs.stats.intervals import (
    Interval,
    bootstrap,
    hypervolume,
    mean_interval,
    paired_difference,
    probability_of_improvement,
)
from ccenv.runs.stats.results import Result, dataset_of, evaluation

ALL = "all"
"""Name for all data sets together."""
NAMED = 6
"""Most close competitors named in a sentence."""
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Front:
    """What an agent reaches under one reward shaping on one data set, or on all."""

    dataset: str
    """images, or `ALL`."""
    agent: str
    """its name."""
    shaping: str
    """name of the reward."""
    labels: tuple[str, ...]
    """cells that make the front."""
    uses_labels: bool
    """True for ceilings, which never win."""
    areas: tuple[Mapping[int, float], ...]
    """seed -> area, once for each data set; seeds that every cell has finished."""

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


def make_fronts(results: Results, draw: str = "sampled") -> list[Front]:
    """Fronts of each data set, then, where there are several, of all together.

    Args:
        results: label -> one result a seed.
        draw: "sampled" or "mode".
    """
    families: dict[tuple[str, str, str], list[str]] = {}
    for label, found in results.items():
        if found:
            key = (dataset_of(found[0]), found[0]["agent"], found[0]["reward"])
            families.setdefault(key, []).append(label)
    widest = widest_networks(results)
    fronts = []
    for (dataset, agent, shaping), labels in families.items():
        cells = [results[label] for label in labels]
        areas = areas_by_seed(cells, widest[dataset], draw)
        if areas:
            ceiling = bool(cells[0][0]["uses_labels"])
            fronts.append(Front(dataset, agent, shaping, tuple(labels), ceiling, (areas,)))
    return sorted(fronts, key=lambda front: front.dataset) + over_all(fronts)


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
    """Area of the front for each seed that every cell has finished."""
    points: dict[int, list[tuple[float, float]]] = {}
    for found in cells:
        for result in found:
            verdict = evaluation(result, draw)
            point = (verdict["macs"] / reference_macs, verdict["error"])
            points.setdefault(result["seed"], []).append(point)
    return {
        seed: hypervolume(found)
        for seed, found in sorted(points.items())
        if len(found) == len(cells)
    }


def over_all(fronts: Sequence[Front]) -> list[Front]:
    """Agents and shapings that have a front on every one of several data sets."""
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
        )
        for (agent, shaping), found in families.items()
        if len(found) == len(datasets)
    ]


def name_in(front: Front, fronts: Sequence[Front]) -> str:
    """An agent's name, with its shaping where the fronts have several."""
    several = len({other.shaping for other in fronts}) > 1
    return f"{front.agent} under {front.shaping}" if several else front.agent


def leader(fronts: Sequence[Front]) -> Front | None:
    """The largest mean area, ceilings aside; it need not be a winner."""
    contenders = [front for front in fronts if not front.uses_labels and front.by_seed]
    return max(contenders, key=lambda front: front.mean.mean, default=None)


def winner(fronts: Sequence[Front]) -> str:
    """Names the best front on one data set, or says why there is none.

    A winner's 95 % interval (Student's t over seeds) lies above all others.
    """
    first = leader(fronts)
    if first is None:
        return "nothing to compare yet"
    name = name_in(first, fronts)
    others = [f for f in fronts if f is not first and not f.uses_labels and f.by_seed]
    if not others:
        return f"only {name} has a front; there is nobody to compare it with"
    single = [front for front in (first, *others) if front.mean.low is None]
    if first in single or len(single) == len(others):
        return f"no winner: a single seed {of_whom(single, fronts)}says nothing about chance"
    others = [front for front in others if front not in single]
    aside = f" (aside: {listed(single, fronts)}, a single seed)" if single else ""
    close = [name_in(f, fronts) for f in others if (f.mean.high or 0.0) >= (first.mean.low or 0.0)]
    if close:
        return f"no winner: the interval of {name} overlaps that of {first_names(close)}{aside}"
    return f"{name} has the largest front area, its interval apart from all others{aside}"


def of_whom(single: Sequence[Front], fronts: Sequence[Front]) -> str:
    """Whose single seed it is, unless it is everybody's."""
    everybody = [front for front in fronts if front.by_seed and not front.uses_labels]
    return "" if len(single) == len(everybody) else f"of {listed(single, fronts)} "


def listed(some: Sequence[Front], fronts: Sequence[Front]) -> str:
    """Names of some fronts."""
    return first_names([name_in(front, fronts) for front in some])


def first_names(names: Sequence[str]) -> str:
    """A list of names that stays short."""
    more = f"; and {len(names) - NAMED} others" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more


def against(front: Front, first: Front) -> tuple[Interval | None, Interval | None]:
    """Paired difference of areas to the leader, and how likely a run beats the leader's."""
    difference = paired_difference(front.by_seed, first.by_seed)
    if len(front.strata) != len(first.strata):
        return difference, None
    return difference, probability_of_improvement(front.strata, first.strata)
