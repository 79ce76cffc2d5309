"""Clock: functions -> mean seconds of a call, in turns."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Name = TypeVar("Name", bound=Hashable)
Clock = Callable[[], float]
"""Seconds since some moment."""


def wait_for(device: "torch.device") -> None:
    """Waits until a GPU has finished what it was given; the CPU always has."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def work_clock() -> Clock:
    """The processor's time of this thread where torch has no other one, else the wall's."""
    import torch

    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def calls_for(
    function: Callable[[], object], seconds: float = 0.01, clock: Clock = time.perf_counter
) -> int:
    """How many calls fill the given time, by the least of a few: a fast function needs enough."""
    function()
    least = min(time_calls(function, 1, clock) for _ in range(3))
    return max(1, round(seconds / max(least, 1e-9)))


def time_calls(
    function: Callable[[], object], calls: int, clock: Clock = time.perf_counter
) -> float:
    """Mean seconds of a call."""
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def seconds_in_turns(
    functions: Mapping[Name, Callable[[], object]],
    rounds: int,
    seconds: float = 0.01,
    clock: Clock = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of a call of each function, one number a round; each round begins with another one.

    A ratio compares timings of the same round: a machine that is busy for a while slows all. Each
    function is called once before its turn, so that its memory is back in the cache.
    """
    counts = {name: calls_for(function, seconds, clock) for name, function in functions.items()}
    times: dict[Name, list[float]] = {name: [] for name in functions}
    order = deque(functions)
    for _ in range(rounds):
        for name in order:
            functions[name]()
            times[name].append(time_calls(functions[name], counts[name], clock))
        order.rotate(-1)
    return times


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
