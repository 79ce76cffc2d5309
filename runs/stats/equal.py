"""Dense and conditional networks at equal MACs or equal error: a contest -> pairs, verdicts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ccenv.runs.stats.contests import Contest
from ccenv.runs.stats.floors import judge
from ccenv.runs.stats.intervals import Interval, mean_interval, paired_difference
from ccenv.runs.stats.points import RIVALS, Point


@dataclass(frozen=True)
class EqualMacs:
    """A conditional row beside a dense network of the same total MACs."""

    point: Point
    """the row."""
    dense: Interval | None
    """the dense network's test error; None outside the widths that were run."""
    difference: Interval | None
    """ours minus dense over the seeds of both."""
    verdict: str
    """"better" or "worse" with 95 % intervals apart, "no difference", "one seed", or ""."""


def at_equal_macs(contest: Contest) -> list[EqualMacs]:
    """Every chosen conditional row beside the dense front at its own cost."""
    found = []
    for point in contest.conditional:
        errors = contest.of_dense(point.macs)
        if not errors:
            found.append(EqualMacs(point, None, None, ""))
            continue
        other = mean_interval(list(errors.values()))
        difference = paired_difference(point.error, errors)
        found.append(EqualMacs(point, other, difference, judge(point.interval, other)))
    return found


@dataclass(frozen=True)
class EqualError:
    """A dense network beside the cheapest conditional row that is as good on validation images."""

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


def at_equal_error(contest: Contest, among: Iterable[Point] | None = None) -> list[EqualError]:
    """For each dense width the cheapest conditional row with no more validation error.

    A row of one seed has no interval: it is not compared with rows of several seeds. Fixed networks
    that are rivals themselves, as pruned ones, choose nothing and are not looked for.

    Args:
        contest: dense and conditional rows.
        among: dense networks to look at; None for all that rows are compared with.
    """
    found = []
    for dense in contest.compared if among is None else among:
        able = [
            point
            for point in contest.conditional
            if point.agent not in RIVALS
            and point.validation_mean <= dense.validation_mean < math.inf
            and (len(point.error) > 1 or len(dense.error) == 1)
        ]
        point = min(able, key=lambda point: point.macs, default=None)
        verdict = judge(point.interval, dense.interval) if point else ""
        found.append(EqualError(dense, point, verdict))
    return found
