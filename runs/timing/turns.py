"""Timing in turns: named functions -> seconds of a call of each, round by round, in one process.

A ratio compares timings of the same round: a machine that is busy for a while slows all of them.
"""

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ccenv.base.clock import time_calls

Pass = Callable[[], object]


def seconds_in_turns(
    passes: Mapping[str, Pass], repeats: int, seconds: float = 0.01
) -> dict[str, list[float]]:
    """Times every function once a round; each round begins with another one.

    Args:
        passes: the functions by name.
        repeats: rounds.
        seconds: length of one timing; faster functions are called several times, and the mean
            counts.

    Returns:
        For each name the seconds of a call, one number a round.
    """
    counts = {name: calls_filling(function, seconds) for name, function in passes.items()}
    times: dict[str, list[float]] = {name: [] for name in passes}
    order = deque(passes)
    for _ in range(repeats):
        for name in order:
            times[name].append(time_calls(passes[name], counts[name]))
        order.rotate(-1)
    return times


def calls_filling(function: Pass, seconds: float) -> int:
    """How many calls fill the given time; slow functions are called twice only to find out."""
    function()
    if time_calls(function, 1) > seconds:
        return 1
    return max(1, round(seconds / time_calls(function, 3)))


def quartiles_of_ratio(
    numerator: Sequence[float], denominator: Sequence[float]
) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of the rounds' ratios; at least two rounds.

    >>> quartiles_of_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    (2.0, 2.0, 2.0)
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return low, middle, high
