"""Conditional and dense networks compared: results -> contests -> pairs at equal MACs or error.

Where several rows cost the same (a width with and without dropout, a network trained in several
ways), validation error chooses one of them; only that one's test error is compared.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccenv.runs.stats.cost_points import Point, Times, judged_points, make_point
from ccenv.runs.stats.intervals import Interval, compare_intervals, mean_interval, paired_difference
from ccenv.runs.stats.measures import ERROR, Measure, Result
from ccenv.runs.store.recorded import read_cells

SAME = 0.005
"""Rows of one method whose MACs differ by a smaller share cost the same."""
SAME_MEMORY = 0.1
"""The same of memory, of texts: rows that need another amount of it are no variants there."""


@dataclass(frozen=True)
class Contest:
    """Dense networks and conditional ones on one data set."""

    dataset: str
    """inputs that all are judged on."""
    dense: tuple[Point, ...]
    """the chosen one of each width, by MACs: the sweep's own if they have two costs, else those of
    another sweep on the same inputs, trained in another way."""
    conditional: tuple[Point, ...]
    """the chosen one of each method and cost, by MACs."""
    batches: tuple[int, ...]
    """inputs of a pass for which times are known."""
    measure: Measure = ERROR
    """what points are compared by; their "errors" are numbers of it."""


def make_contests(
    results: Mapping[str, Sequence[Result]],
    deterministic: bool | None = None,
    elsewhere: Mapping[str, Sequence[Point]] | None = None,
    times: Times | None = None,
    measure: Measure = ERROR,
) -> list[Contest]:
    """One for each data set with dense networks of two costs or more and other rows.

    Args:
        results: label -> one result a seed; see `judged_points`; rows of unknown MACs are left out.
        deterministic: True for greedy masks, False for sampled ones; None: those that each agent
            is for.
        elsewhere: data set -> dense networks of another sweep.
        times: measured in turns, in place of the runs' own: label -> as `Point.milliseconds`.
        measure: what they are compared by.
    """
    contests = []
    for dataset, judged in judged_points(results, deterministic, measure, times).items():
        points = [point for point in judged if math.isfinite(point.macs)]
        best = chosen_variants(points, by_memory=bool(measure.name))
        dense = [point for point in best if point.method == "dense"]
        others = tuple(point for point in best if point.method != "dense")
        if len(dense) < 2:
            dense = list((elsewhere or {}).get(dataset, ()))
        if len(dense) > 1 and others:
            sizes = sorted({size for point in points for size in point.milliseconds})
            contests.append(Contest(dataset, tuple(dense), others, tuple(sizes), measure))
    return contests


def dense_elsewhere(
    datasets: Iterable[str], results_dir: Path, sweep: str
) -> dict[str, list[Point]]:
    """Data set -> chosen dense rows of its equal-cost sweep, if `sweep` is another one.

    They have no times: those of two sweeps do not compare.

    Raises:
        ValueError: if a file was edited by hand.
    """
    by_dataset = {}
    for dataset in dict.fromkeys(datasets):
        name = f"equal-cost-{dataset.partition('+')[0]}"
        path = results_dir / f"{name}.json"
        if name != sweep and path.exists():
            runs: dict[str, list[Result]] = {}
            for cell in read_cells(path):
                if cell["agent"] == "dense":
                    runs.setdefault(cell["label"], []).append({**cell, "latency": []})
            points = [make_point(label, cells, False) for label, cells in runs.items()]
            by_dataset[dataset] = chosen_variants(points)
    return by_dataset


def chosen_variants(points: Sequence[Point], *, by_memory: bool = False) -> list[Point]:
    """The variant with the least validation error of each method and cost, by MACs.

    Variants may differ in their training. A variant that fewer seeds have finished than another
    does not take part yet. By memory they need the same memory, too: tables of rows cost no MACs.
    """
    groups: list[list[Point]] = []
    for method in sorted({point.method for point in points}):
        of_method = [point for point in points if point.method == method]
        groups += runs_of_alike(of_method, lambda point: point.macs, SAME)
    if by_memory:
        groups = [
            part
            for group in groups
            for part in runs_of_alike(group, lambda point: point.memory or 0.0, SAME_MEMORY)
        ]
    best = [best_on_validation(group) for group in groups]
    return sorted(best, key=lambda point: (point.macs, point.memory or 0))


def best_on_validation(points: Sequence[Point]) -> Point:
    """The least validation error of those that most seeds have finished."""
    return min(points, key=lambda point: (-len(point.error), point.validation_mean))


def runs_of_alike(
    points: Sequence[Point], cost: Callable[[Point], float], slack: float
) -> list[list[Point]]:
    """Points in the order of a cost, a new group where it exceeds the group's least by a share."""
    groups: list[list[Point]] = []
    for point in sorted(points, key=cost):
        if groups and cost(point) <= cost(groups[-1][0]) * (1 + slack):
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def undominated(
    points: Iterable[Point], place: Callable[[Point], float] = lambda point: point.macs
) -> list[Point]:
    """The Pareto front: points with less validation error than all cheaper ones, by their cost.

    A point that fewer seeds have finished drives out none of more seeds.
    """
    front: list[Point] = []
    for point in sorted(points, key=place):
        beaten = any(
            other.validation_mean <= point.validation_mean < math.inf
            and len(other.error) >= len(point.error)
            for other in front
        )
        if not beaten:
            front.append(point)
    return front


def front_error(
    points: Sequence[Point], macs: float, *, validation: bool = False
) -> dict[int, float] | None:
    """Error at so many MACs by the dense networks that no cheaper one beats, linear in their log.

    Between the most expensive of them and the most expensive network that was run, the error of the
    former is used: no network in that range is better.

    Returns:
        Test or validation error for each seed that both neighbours have; None outside the widths
        that were run.
    """
    front = undominated(points)
    if not front or not front[0].macs <= macs <= max(point.macs for point in points):
        return None
    macs = min(macs, front[-1].macs)
    above = next(point for point in front if point.macs >= macs)
    below = above if above.macs == macs else front[front.index(above) - 1]
    low, high = (point.validation if validation else point.error for point in (below, above))
    span = math.log(above.macs / below.macs)
    share = math.log(macs / below.macs) / span if span else 1.0
    return {seed: (1 - share) * low[seed] + share * high[seed] for seed in sorted({*low} & {*high})}


@dataclass(frozen=True)
class EqualMacs:
    """A conditional row compared with a dense network of the same total MACs."""

    point: Point
    """the row."""
    dense: Interval | None
    """the dense network's test error; None outside the widths that were run."""
    difference: Interval | None
    """ours minus dense over the seeds of both."""
    verdict: str
    """"better" or "worse" with 95 % intervals apart, "no difference", "one seed", or ""."""


def at_equal_macs(contest: Contest) -> list[EqualMacs]:
    """Every chosen conditional row compared with the dense Pareto front at its own cost."""
    pairs = []
    for point in contest.conditional:
        errors = front_error(contest.dense, point.macs)
        dense = mean_interval(list(errors.values())) if errors else None
        difference = paired_difference(point.error, errors or {})
        verdict = compare_intervals(point.interval, dense) if dense else ""
        pairs.append(EqualMacs(point, dense, difference, verdict))
    return pairs


@dataclass(frozen=True)
class EqualError:
    """A dense network, and the cheapest conditional row as good on validation inputs."""

    dense: Point
    """the dense network."""
    point: Point | None
    """the conditional row, None where none is as good."""
    verdict: str
    """of the row's test error against the dense network's, as in `EqualMacs`."""

    @property
    def macs_ratio(self) -> float | None:
        """The row's MACs over the dense network's."""
        return self.point.macs / self.dense.macs if self.point else None

    def time_ratio(self, images: int) -> float | None:
        """The row's measured time over the dense network's, the least over seeds of each."""
        ours = self.point.time(images) if self.point else None
        theirs = self.dense.time(images)
        return ours / theirs if ours is not None and theirs else None


def at_equal_error(contest: Contest) -> list[EqualError]:
    """The cheapest row of no more validation error, for each dense network of the Pareto front.

    A row of one seed has no interval: it is not compared with rows of several seeds. Networks in
    which nothing is chosen, as pruned ones, are not looked for.
    """
    pairs = []
    for dense in undominated(contest.dense):
        able = [
            point
            for point in contest.conditional
            if not point.is_fixed
            and point.validation_mean <= dense.validation_mean < math.inf
            and (len(point.error) > 1 or len(dense.error) == 1)
        ]
        point = min(able, key=lambda point: point.macs, default=None)
        verdict = compare_intervals(point.interval, dense.interval) if point else ""
        pairs.append(EqualError(dense, point, verdict))
    return pairs
