"""Statistics of few seeds: scores of runs -> a robust mean, intervals, who is better.

Aggregates follow Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice" (arXiv 2108.13264). A *stratum* is a set of runs that are alike but for their seed, for
example those on one data set: resampling stays within it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ccenv.base.seeding import stream_seed

Strata = Sequence[Sequence[float]]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A number over seeds, and what they leave open about it."""

    mean: float
    """the estimate."""
    sd: float | None = None
    """standard deviation over seeds; None for one seed, and where it is not asked for."""
    low: float | None = None
    """lower end of the 95 % interval; None where one run says nothing about spread."""
    high: float | None = None
    """upper end."""

    def __format__(self, spec: str) -> str:
        """The number with its interval; with "±" its standard deviation; with "%" in per cent.

        >>> f"{Interval(0.05, 0.002, 0.04, 0.06):.2%}, {Interval(0.05, 0.002):±.1f}"
        '5.00 [4.00, 6.00], 0.1 ± 0.0'
        """
        numbers = spec.removeprefix("±")
        factor, form = (100 if spec.endswith("%") else 1), numbers[:-1] + "f"
        mean = format(factor * self.mean, form)
        if spec.startswith("±"):
            return mean if self.sd is None else f"{mean} ± {format(factor * self.sd, form)}"
        if self.low is None or self.high is None:
            return mean
        return f"{mean} [{format(factor * self.low, form)}, {format(factor * self.high, form)}]"


FEWEST = 3
"""Seeds from which on an interval says something: Student's of two is 13 times as wide as they."""


def told(interval: Interval, num_seeds: int, spec: str, ends: tuple[float, float] = (0, 1)) -> str:
    """The interval of a mean over seeds, within what is possible; or why there is none to show.

    Seeds are equal to the digits that are shown.

    Args:
        interval: Student's.
        num_seeds: that it is from.
        spec: as of `Interval`, without "±".
        ends: least and largest value possible.

    >>> told(mean_interval([0.1, 0.3]), 2, ".0%"), told(mean_interval([0.1] * 2), 2, ".0%")
    ('2 seeds: too few', 'equal in 2 seeds')
    >>> told(mean_interval([0.0, 0.01, 0.05]), 3, ".1%")
    '[0.0, 8.6]'
    >>> told(mean_interval([0.34711, 0.34712, 0.34712]), 3, ".2%")
    'equal in 3 seeds'
    """
    if interval.low is None or interval.high is None or num_seeds < 2:
        return "1 seed"
    low, high = max(interval.low, ends[0]), min(interval.high, ends[1])
    bounds = format(Interval(interval.mean, None, low, high), spec).partition(" ")[2]
    if not interval.sd or len(set(bounds.strip("[]").split(", "))) == 1:
        return f"equal in {num_seeds} seeds"
    return f"{num_seeds} seeds: too few" if num_seeds < FEWEST else bounds


def with_interval(
    interval: Interval, num_seeds: int, spec: str, ends: tuple[float, float] = (0, 1)
) -> str:
    """A mean with what `told` says of it.

    >>> with_interval(mean_interval([0.1]), 1, ".2f")
    '0.10 (1 seed)'
    """
    text = told(interval, num_seeds, spec, ends)
    mean = format(Interval(interval.mean), spec)
    return f"{mean} {text}" if text.startswith("[") else f"{mean} ({text})"


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean, standard deviation and Student's interval of the mean, of 95 % by default.

    >>> round(mean_interval([1.0, 2.0, 3.0]).high, 2)
    4.48
    """
    from scipy import special

    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean)
    # Not scipy's interval of a t-test: it is NaN where all seeds are equal and 0. Nor scipy.stats,
    # whose import takes longer than all tables of a comparison.
    sd = float(np.std(values, ddof=1))
    half = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * sd / math.sqrt(len(values))
    return Interval(mean, sd, mean - half, mean + half)


def iqm(values: Numbers) -> Numbers:
    """Interquartile mean over the last axis: without a quarter of the runs at each end."""
    cut = int(0.25 * values.shape[-1])
    end = values.shape[-1] - cut
    # As scipy.stats.trim_mean, which sorts no more than it needs.
    sorted_enough = np.partition(values, (cut, end - 1), axis=-1)
    trimmed: Numbers = sorted_enough[..., cut:end].mean(axis=-1)
    return trimmed


def bootstrap(strata: Strata, *, num_resamples: int = 2000, seed: int = 0) -> Interval:
    """The IQM of runs with its stratified bootstrap 95 % interval, if each stratum has two runs.

    Plain percentiles are too narrow by the factor sqrt((n - 1) / n) and know no Student's t; the
    quantiles are moved outwards for both (Hesterberg 2015, arXiv 1411.5279, "expanded percentile
    intervals"). In simulations 95 % intervals hold the truth 0.94 of the time with 5 runs, and 0.95
    to 0.97 with 10 and more. With 3 it would be 0.74, because no resample lies outside the runs: of
    fewer than five runs the mean and Student's interval are given (0.95).
    `scipy.stats.bootstrap` knows no interval that is widened so.

    Args:
        strata: scores of the runs of each stratum, at least one each.
        num_resamples: how often to draw.
        seed: of the draws.
    """
    from scipy import special

    runs = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    everything = np.concatenate(runs)
    if len(everything) < 5:
        return replace(mean_interval(everything.tolist()), sd=None)
    value = float(iqm(everything))
    if min(map(len, runs)) < 2:
        return Interval(value)
    generator = np.random.default_rng(stream_seed(seed, "bootstrap"))
    drawn = [
        values[generator.integers(len(values), size=(num_resamples, len(values)))]
        for values in runs
    ]
    number, freedom = sum(map(len, runs)), sum(map(len, runs)) - len(runs)
    tail = special.ndtr(-special.stdtrit(freedom, 0.975) * math.sqrt(number / freedom))
    low, high = np.quantile(iqm(np.concatenate(drawn, axis=1)), [tail, 1 - tail])
    return Interval(value, None, float(low), float(high))


def compare_intervals(error: Interval, floor: Interval) -> str:
    """Compares two errors by their 95 % intervals.

    Returns:
        "better" or "worse" where they lie apart, else "no difference"; "one seed" without one.
    """
    if error.low is None or error.high is None or floor.low is None or floor.high is None:
        return "one seed"
    if error.high < floor.low:
        return "better"
    return "worse" if error.low > floor.high else "no difference"


NO_MORE, MORE, UNDECIDED = "no more", "more", "not decided"
"""Findings of `decide`."""


def decide(theirs: Interval, ours: Interval, margin: float) -> str:
    """Decides by 95 % intervals whether a number is more than ours; sentences follow it alone.

    Args:
        theirs: the number; without ends, as counts have it, its mean stands for both.
        ours: what it is compared with, with its ends.
        margin: share of our mean by which theirs may be more.

    Returns:
        `MORE` where the intervals lie apart; `NO_MORE` where they do not, and the interval of the
        difference, as of independent numbers, ends within the margin; else `UNDECIDED`: one of the
        intervals is too wide.

    >>> narrow, wide = Interval(5.4, None, 4.9, 5.9), Interval(5.4, None, 1.1, 9.7)
    >>> decide(narrow, narrow, 0.25), decide(wide, narrow, 0.25), decide(narrow, wide, 0.25)
    ('no more', 'not decided', 'not decided')
    """
    low, high = (theirs.mean if end is None else end for end in (theirs.low, theirs.high))
    if compare_intervals(Interval(theirs.mean, None, low, high), ours) == "worse":
        return MORE
    reach = math.hypot(
        high - theirs.mean, ours.mean - (ours.mean if ours.low is None else ours.low)
    )
    return NO_MORE if theirs.mean - ours.mean + reach <= margin * ours.mean else UNDECIDED


def paired_difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], level: float = 0.95
) -> Interval | None:
    """Mean of ours minus theirs over the seeds of both, with Student's interval of a level.

    Paired: what a seed makes hard (its weights, its inputs) is hard for both and cancels.

    >>> paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.5, 1: 1.5, 2: 2.5}).high
    0.5
    """
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return None
    return mean_interval([ours[seed] - theirs[seed] for seed in shared], level)
