"""Clock: a function -> mean seconds of a call, over as many calls as the clock needs."""

import time
from collections.abc import Callable

import torch


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has finished what it was given; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def calls_for(function: Callable[[], object], seconds: float = 0.01) -> int:
    """How many calls fill the given time, after a warm-up of three."""
    for _ in range(3):
        function()
    return max(1, round(seconds / time_calls(function, 3)))


def time_calls(function: Callable[[], object], calls: int) -> float:
    """Mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls
