"""One agent under several rewards: results of a sweep -> errors at common costs, paired by seed.

A reward's curve is what the agent reaches under it, whatever the cost weight: cells that no cheaper
one beats on validation data, means over seeds. Between two of them a seed's test error is linear in
the MACs: who draws one of the two policies for each input reaches just that on average. From the
last of them to the most expensive cell it is the last one's, as no cell there is better.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ccenv.runs.stats.cost_points import make_point
from ccenv.runs.stats.dense_comparison import undominated
from ccenv.runs.stats.intervals import FEWEST, Interval, mean_interval, paired_difference
from ccenv.runs.stats.measures import Measure, Result, dataset_of
from ccenv.runs.stats.verdict import first_names, spoken

AT_COSTS, AT_ERRORS = (0.1, 0.5, 0.9), (1 / 3, 2 / 3)
"""Shares of the way from the least to the greatest cost, or error, that all rewards reach."""
LEVEL = 0.95
"""Of intervals."""
BySeed = Mapping[int, float]
Curve = Sequence[tuple[float, float]]
"""(MACs of an input, test error) of cells, by MACs."""
Results = Mapping[str, Sequence[Result]]
RISEN = 0.9
"""Of a return's rise, from the first validation to the last. Rewards of other units, and those that
add a constant, have the same share at the same policy."""


@dataclass(frozen=True)
class OneReward:
    """What one agent reaches under one reward, whatever its cost weight."""

    name: str
    """the reward's."""
    by_seed: Mapping[int, Curve]
    """seed -> its curve; seeds that every cell has finished."""
    reach: BySeed
    """seed -> MACs of its most expensive cell."""
    soon: BySeed
    """seed -> training inputs until `RISEN` of its return's rise, mean over the cells whose return
    rises; seeds whose results hold their curves."""

    def errors_at(self, macs: float) -> BySeed:
        """Seed -> test error at so many MACs; seeds of which a cell costs no more."""
        return {
            seed: float(np.interp(macs, [x for x, _ in curve], [y for _, y in curve]))
            for seed, curve in self.by_seed.items()
            if macs >= curve[0][0]
        }

    def macs_at(self, error: float) -> BySeed:
        """Seed -> least MACs with no more than a test error; seeds that reach it."""
        first = {seed: first_below(curve, error) for seed, curve in self.by_seed.items()}
        return {seed: macs for seed, macs in first.items() if macs is not None}


def first_below(curve: Curve, level: float) -> float | None:
    """Where a curve, linear between its points, is first no higher: None where it never is.

    >>> first_below([(100.0, 0.3), (200.0, 0.1)], 0.2), first_below([(100.0, 0.3)], 0.2)
    (150.0, None)
    """
    if curve[0][1] <= level:
        return curve[0][0]
    for (x, y), (next_x, next_y) in itertools.pairwise(curve):
        if next_y <= level:
            return x + (next_x - x) * (y - level) / (y - next_y)
    return None


@dataclass(frozen=True)
class Shapings:
    """An agent, or several, under several rewards on one data set."""

    agent: str
    """its name; of several, how many."""
    dataset: str
    """inputs."""
    rewards: Sequence[OneReward]
    """in the sweep's order; others are compared with the first."""
    measure: Measure
    """what is called error here."""
    is_pooled: bool = False
    """True of several agents: a reward's curve is of those that do best under it."""

    @property
    def common_costs(self) -> Sequence[float]:
        """Three costs in MACs that every seed of every reward reaches, if there are any.

        Of several agents, where costs differ by more: from where two rewards are as cheap, to where
        all are.
        """
        lows = sorted(max(curve[0][0] for curve in one.by_seed.values()) for one in self.rewards)
        high = min(macs for one in self.rewards for macs in one.reach.values())
        ends = (lows[1], lows[-1]) if self.is_pooled else (lows[-1], high)
        return between_points(*ends, AT_COSTS)

    def errors_at(self, macs: float) -> Mapping[str, BySeed]:
        """Name -> errors at a cost, of rewards whose every seed costs as little."""
        errors = {one.name: one.errors_at(macs) for one in self.rewards}
        return {name: by_seed for name, by_seed in errors.items() if len(by_seed) >= self.num_seeds}

    @property
    def common_errors(self) -> Sequence[float]:
        """Two errors that every seed of every reward reaches, if there are any."""
        curves = [curve for one in self.rewards for curve in one.by_seed.values()]
        low = max(min(error for _, error in curve) for curve in curves)
        return between_points(low, min(curve[0][1] for curve in curves), AT_ERRORS)[::-1]

    def lead(self, macs: float) -> tuple[str, str, Interval] | None:
        """Whose error at a cost is less than every other's: its name, the next one's, by how much.

        Intervals are of 95 % for all comparisons together, those at other costs included
        (Bonferroni): else one of a dozen would be said to be ahead by chance.

        None where the paired interval of a difference from another holds 0, or where seeds are too
        few for intervals.
        """
        number = sum(len(self.errors_at(one)) - 1 for one in self.common_costs)
        level = 1 - (1 - LEVEL) / max(1, number)
        errors = self.errors_at(macs)
        means = {
            name: mean_interval(list(by_seed.values())).mean for name, by_seed in errors.items()
        }
        first, *others = sorted(means, key=lambda name: means[name])
        more = [paired_difference(errors[other], errors[first], level) for other in others]
        are_apart = all(one is not None and (one.low or 0.0) > 0 for one in more)
        if self.num_seeds < FEWEST or not are_apart or more[0] is None:
            return None
        return first, others[0], more[0]

    @property
    def num_seeds(self) -> int:
        """Seeds that all rewards share."""
        return len(set.intersection(*(set(one.by_seed) for one in self.rewards)))


def between_points(low: float, high: float, shares: Sequence[float]) -> Sequence[float]:
    """Numbers between two, evenly on a logarithmic scale; of few digits where these stay between.

    >>> between_points(100, 10_000, [0.5]), between_points(1.02, 1.04, [0.5])
    ((1000.0,), (1.03,))
    >>> between_points(2, 1, [0.5])
    ()
    """
    if not 0 < low < high:
        return ()
    costs = []
    for share in shares:
        exact = low ** (1 - share) * high**share
        short = (float(f"{exact:.{digits}g}") for digits in (2, 3))
        costs.append(next((one for one in short if low <= one <= high), exact))
    return tuple(dict.fromkeys(costs))


def shaping_of(result: Result) -> str:
    """A reward as tables call it: the name without the module.

    >>> shaping_of({"reward": "my_rewards:gentle"}), shaping_of({"reward": "potential"})
    ('gentle', 'potential')
    """
    return str(result["reward"]).rpartition(":")[2]


def compares_shapings(results: Results) -> bool:
    """Whether rows are one agent's under several rewards, baselines and added agents aside."""
    first = [runs[0] for _, runs in learned_rows(results)]
    return len({one["agent"] for one in first}) == 1 < len({one["reward"] for one in first})


def rewards_are_the_question(results: Results) -> bool:
    """Whether at least half of the agents learned here under several rewards."""
    rewards: dict[str, set[str]] = {}
    for _, runs in learned_rows(results):
        rewards.setdefault(runs[0]["agent"], set()).add(runs[0]["reward"])
    several = sum(len(of_reward) > 1 for of_reward in rewards.values())
    return several > 0 and 2 * several >= len(rewards)


def learned_rows(results: Results) -> list[tuple[str, Sequence[Result]]]:
    """Labels with their runs: of policies that learned, but for added ones."""
    return [
        (label, runs)
        for label, runs in results.items()
        if runs and runs[0].get("learns") and not runs[0].get("added")
    ]


def compare_shapings(
    results: Results, deterministic: bool | None, measure: Measure, *, pool: bool = False
) -> list[Shapings]:
    """Curves of one agent's rewards on each data set; rewards of a single cell have none.

    Args:
        results: label -> one result a seed, with `added`.
        deterministic: True for greedy masks, False for sampled ones, None for each agent's own.
        measure: what is compared.
        pool: take several agents as one.

    Returns:
        Nothing where rows are of several agents, or where fewer than two rewards have a curve.
    """
    if not pool and not compares_shapings(results):
        return []
    groups: dict[str, dict[str, list[str]]] = {}
    for label, runs in learned_rows(results):
        by_name = groups.setdefault(dataset_of(runs[0]), {})
        by_name.setdefault(shaping_of(runs[0]), []).append(label)
    comparisons = []
    for dataset, by_name in groups.items():
        rewards = [
            curve_of(name, {k: results[k] for k in labels}, deterministic, measure)
            for name, labels in by_name.items()
            if len(labels) > 1
        ]
        rewards = [one for one in rewards if one.by_seed]
        if len(rewards) > 1:
            labels = itertools.chain.from_iterable(by_name.values())
            agents = {results[label][0]["agent"] for label in labels}
            agent = f"{len(agents)} agents" if len(agents) > 1 else agents.pop()
            comparisons.append(Shapings(agent, dataset, rewards, measure, is_pooled=pool))
    return comparisons


def curve_of(name: str, cells: Results, deterministic: bool | None, measure: Measure) -> OneReward:
    """The curve of a reward's cells, for each seed that all of them have finished."""
    kept = undominated(
        [make_point(label, runs, deterministic, measure) for label, runs in cells.items()]
    )
    by_run = {
        (label, run["seed"]): make_point(label, [run], deterministic, measure)
        for label, runs in cells.items()
        for run in runs
    }
    seeds = sorted(set.intersection(*({run["seed"] for run in runs} for runs in cells.values())))
    curves: dict[int, Curve] = {}
    for seed in seeds:
        points = [by_run[point.label, seed] for point in kept]
        curves[seed] = sorted((point.macs, point.error[seed]) for point in points)
    reach = {seed: max(by_run[label, seed].macs for label in cells) for seed in seeds}
    soon: dict[int, float] = {}
    for seed in seeds:
        runs = [run for of_cell in cells.values() for run in of_cell if run["seed"] == seed]
        inputs = [needed for run in runs if (needed := inputs_to_rise(run)) is not None]
        if inputs:
            soon[seed] = sum(inputs) / len(inputs)
    return OneReward(name, curves, reach, soon)


def inputs_to_rise(run: Result) -> float | None:
    """Training inputs until `RISEN` of a run's rise of its return, linear between validations.

    None where it does not rise, or where its result holds no curve of it.

    >>> inputs_to_rise({"curve": [{"images_seen": n, "mean_return": n / 100} for n in (0, 100)]})
    90.0
    """
    curve = [point for point in run.get("curve", []) if "mean_return" in point]
    points = [(point["images_seen"], point["mean_return"]) for point in curve]
    if len(points) < 2 or points[-1][1] <= points[0][1]:
        return None
    goal = points[0][1] + RISEN * (points[-1][1] - points[0][1])
    return first_below([(inputs, -value) for inputs, value in points], -goal)


def shaping_sentence(shapings: Shapings) -> str:
    """Which reward is ahead at which common cost on one data set, or that none is."""
    names = spoken([one.name for one in shapings.rewards])
    who = f"{shapings.agent} under {names}"
    if shapings.is_pooled:
        number = len(shapings.rewards)
        who = f"{number} rewards, each with whichever of {shapings.agent} has least error under it"
    start = f"On {shapings.dataset}, {who}"
    if shapings.num_seeds < FEWEST:
        return f"{start}: no verdict, fewer than {FEWEST} seeds of all."
    if not shapings.common_costs:
        spans = []
        for one in shapings.rewards:
            low = max(curve[0][0] for curve in one.by_seed.values())
            spans.append(f"{one.name} {low:,.0f} to {min(one.reach.values()):,.0f}")
        return (
            f"{start}: no verdict, no cost is common to all; MACs of every seed: "
            f"{first_names(spans)}; give other cost weights."
        )
    measure = shapings.measure
    unit = "points" if measure.unit == "%" else measure.unit
    places: dict[str, list[str]] = {}
    for macs in shapings.common_costs:
        if lead := shapings.lead(macs):
            by = f"{lead[2]:{measure.spec}} {unit} less {measure.title} than {lead[1]}"
            places.setdefault(f"{lead[0]} is ahead", []).append(f"{macs:,.0f} ({by})")
        else:
            places.setdefault("none is ahead", []).append(f"{macs:,.0f}")
    others = " of all others as cheap" if shapings.is_pooled else ""
    parts = [f"{who}{others} at MACs of {spoken(at)}" for who, at in places.items()]
    return (
        f"{start}: {'; '.join(parts)}. Differences are paired by seed, with intervals of "
        "95 % for all these comparisons together."
    )
