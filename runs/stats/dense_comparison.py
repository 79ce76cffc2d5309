"""Conditional and dense networks compared: results -> contests -> pairs at equal MACs or error.

Where several rows cost the same (a width with and without dropout, a network trained in several
ways), validation error chooses one of them; only that one's test error is compared.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ccenv.runs.stats.cost_points import Point, Times, in_turns, make_point
from ccenv.runs.stats.intervals import Interval, compare_intervals, mean_interval, paired_difference
from ccenv.runs.stats.measures import ERROR, OWN, Measure, Result, dataset_of, repeated

SAME = 0.005
"""Rows of one method whose MACs differ by a smaller share cost the same."""
SAME_MEMORY = 0.1
"""The same of memory, of texts: rows that need another amount of it are no variants there."""


@dataclass(frozen=True)
class Contest:
    """Dense networks and conditional ones on one data set."""

    dataset: str
    """images that all are judged on."""
    dense: tuple[Point, ...]
    """the chosen one of each width, by MACs."""
    conditional: tuple[Point, ...]
    """the chosen one of each method and cost, by MACs."""
    batches: tuple[int, ...]
    """images of a pass for which times are known."""
    elsewhere: tuple[Point, ...] = ()
    """dense networks of another sweep on the same images, trained in another way."""
    measure: Measure = ERROR
    """what points are compared by; their "errors" are numbers of it."""

    @property
    def compared(self) -> tuple[Point, ...]:
        """Dense networks that rows are compared with: the sweep's own, if they have two costs."""
        return self.dense if len(self.dense) > 1 else self.elsewhere


def make_contests(
    results: Mapping[str, Sequence[Result]],
    draw: str = OWN,
    elsewhere: Mapping[str, Sequence[Point]] | None = None,
    times: Times | None = None,
    measure: Measure = ERROR,
) -> list[Contest]:
    """One for each data set with dense networks of two costs or more and other rows.

    Args:
        results: label -> one result a seed; ceilings, rows that repeat another, and those of
            unknown MACs are left out.
        draw: "sampled", "mode", or "own" for the masks that each agent is for.
        elsewhere: data set -> dense networks of another sweep.
        times: measured in turns, in place of the runs' own: label -> as `Point.milliseconds`.
        measure: what they are compared by.
    """
    by_dataset: dict[str, list[Point]] = {}
    same = repeated(results)
    for label, runs in results.items():
        if runs and not runs[0]["uses_labels"] and label not in same:
            point = in_turns(make_point(label, runs, draw, measure), times)
            if math.isfinite(point.macs):
                by_dataset.setdefault(dataset_of(runs[0]), []).append(point)
    contests = []
    for dataset, points in by_dataset.items():
        best = chosen_variants(points, by_memory=bool(measure.name))
        contest = Contest(
            dataset=dataset,
            dense=tuple(point for point in best if point.method == "dense"),
            conditional=tuple(point for point in best if point.method != "dense"),
            batches=tuple(sorted({size for point in points for size in point.milliseconds})),
            elsewhere=tuple(chosen_variants((elsewhere or {}).get(dataset, ()))),
            measure=measure,
        )
        if len(contest.compared) > 1 and contest.conditional:
            contests.append(contest)
    return contests


def chosen_variants(points: Sequence[Point], *, by_memory: bool = False) -> list[Point]:
    """The variant with the least validation error of each method and cost, by MACs.

    A variant that fewer seeds have finished than another does not take part yet.
    """
    groups = groups_of_one_cost(points, by_memory=by_memory)
    best = [best_on_validation(group) for group in groups]
    return sorted(best, key=lambda point: (point.macs, point.memory or 0))


def best_on_validation(points: Sequence[Point]) -> Point:
    """The least validation error of those that most seeds have finished."""
    most = max(len(point.error) for point in points)
    finished = [point for point in points if len(point.error) == most]
    return min(finished, key=lambda point: point.validation_mean)


def groups_of_one_cost(points: Sequence[Point], *, by_memory: bool = False) -> list[list[Point]]:
    """Rows of one method that cost the same, whatever their training.

    By memory they need the same memory, too: tables of rows cost no MACs.
    """
    groups = []
    for method in sorted({point.method for point in points}):
        own = [point for point in points if point.method == method]
        groups += runs_of_alike(own, lambda point: point.macs, SAME)
    if not by_memory:
        return groups
    return [
        part
        for group in groups
        for part in runs_of_alike(group, lambda point: point.memory or 0.0, SAME_MEMORY)
    ]


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
    """Error at so many MACs by the dense networks that no cheaper one beats: see `interpolated`.

    Between the most expensive of them and the most expensive network that was run, the error of the
    former is used: no network in that range is better.
    """
    front = undominated(points)
    if not front or macs > max(point.macs for point in points):
        return None
    return interpolated(front, min(macs, front[-1].macs), validation=validation)


def interpolated(
    dense: Sequence[Point], macs: float, *, validation: bool = False
) -> dict[int, float] | None:
    """Test or validation error of a dense network for each seed, linear in the logarithm of MACs.

    Returns:
        None outside the widths that were run; only seeds that both neighbours have.
    """
    if not dense or not dense[0].macs <= macs <= dense[-1].macs:
        return None
    upper = next(index for index, point in enumerate(dense) if point.macs >= macs)
    errors = [point.validation if validation else point.error for point in dense]
    if dense[upper].macs == macs:
        return dict(errors[upper])
    low, high = errors[upper - 1 : upper + 1]
    below, above = dense[upper - 1].macs, dense[upper].macs
    share = math.log(macs / below) / math.log(above / below)
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
    found = []
    for point in contest.conditional:
        found.append(EqualMacs(point, None, None, ""))
        if errors := front_error(contest.compared, point.macs):
            other = mean_interval(list(errors.values()))
            difference = paired_difference(point.error, errors)
            verdict = compare_intervals(point.interval, other)
            found[-1] = EqualMacs(point, other, difference, verdict)
    return found


@dataclass(frozen=True)
class EqualError:
    """A dense network, and the cheapest conditional row as good on validation images."""

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
    found = []
    for dense in undominated(contest.compared):
        able = [
            point
            for point in contest.conditional
            if not point.is_fixed
            and point.validation_mean <= dense.validation_mean < math.inf
            and (len(point.error) > 1 or len(dense.error) == 1)
        ]
        point = min(able, key=lambda point: point.macs, default=None)
        verdict = compare_intervals(point.interval, dense.interval) if point else ""
        found.append(EqualError(dense, point, verdict))
    return found
