"""Long use: (what is done again and again, seconds) -> memory and rate over time, fitted."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ccenv.agents.reinforce import Reinforce
from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import MicroBatches
from ccenv.envs.vector import BlockSelectionVectorEnv

PLACE: dict[str, Any] = {
    "dataset": "synthetic",
    "num_blocks": (4, 4),
    "block_size": 4,
    "weights": "cotrain",
}
ROWS = 64
WARM = 0.2
"""Share of the time that is left out of the fits: caches fill."""
Numbers = NDArray[np.float64]
Work = Callable[[], int]
"""Does a little; how many inputs it took."""


@dataclass(frozen=True)
class Sample:
    """One look."""

    what: str
    """which subject worked until then."""
    minutes: float
    """since the beginning."""
    mebibytes: float
    """of memory that this process holds."""
    rate: float
    """inputs for each second of one core."""


@dataclass(frozen=True)
class Fit:
    """A straight line through the looks at one subject."""

    what: str
    """the subject."""
    inputs: int
    """that it took."""
    rate: float
    """inputs a second of one core, on average."""
    rate_change: float
    """over the time that was fitted, as a share of it."""
    rate_error: float
    """two standard errors of that: what else the machine did moves rates."""
    mebibytes: float
    """of memory at the end."""
    growth: float
    """MiB over the time that was fitted."""


def environment() -> Work:
    """Random masks for a vector environment, episode after episode."""
    env = BlockSelectionVectorEnv(ROWS, **PLACE)
    env.reset(seed=0)
    numbers = np.random.default_rng(0)

    def work() -> int:
        for _ in range(20):
            env.step(numbers.integers(0, 2, (ROWS, 4), dtype=np.int8))
        return 10 * ROWS

    return work


def training() -> Work:
    """An agent that learns while its network does."""
    env = BlockSelectionVectorEnv(ROWS, **PLACE)
    env.reset(seed=0)
    agent = Reinforce(env, seed=0)

    def work() -> int:
        agent.images_done = 0
        return agent.learn(10 * ROWS)

    return work


def serving() -> Work:
    """An exported classifier behind micro-batches, some inputs waiting at once."""
    env = BlockSelectionVectorEnv(ROWS, **PLACE)
    env.reset(seed=0)
    classifier = SkippingClassifier.from_agent(Reinforce(env, seed=0))
    batches = MicroBatches(classifier, max_batch=16, max_wait=0.001, max_pending=64)
    images = torch.rand(ROWS, *classifier.prepare.shape, generator=stream(0, "soak"))

    def work() -> int:
        for answer in [batches.submit(image) for image in images]:
            answer.result(60)
        return ROWS

    return work


SUBJECTS: dict[str, Callable[[], Work]] = {
    "environment": environment,
    "training": training,
    "serving": serving,
}
"""What is used; all by one process, in turns."""


def held() -> float:
    """Memory that this process holds, in MiB; as Linux tells it.

    Raises:
        ValueError: on another system.
    """
    told = Path("/proc/self/statm")
    if not told.exists():
        raise ValueError(f"expected {told}, got none: memory over time is told on Linux only")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(
    works: Mapping[str, Work], seconds: float, turn: float, say: Callable[[Sample], None]
) -> list[Sample]:
    """Works in turns of some seconds until the time is over.

    Args:
        works: by name.
        seconds: of the clock, for all.
        turn: seconds of a subject's turn.
        say: is told of each look.
    """
    begun, found = time.monotonic(), []
    while time.monotonic() - begun < seconds:
        for name, work in works.items():
            inputs, core, end = 0, time.process_time(), time.monotonic() + turn
            while time.monotonic() < end:
                inputs += work()
            spent = max(time.process_time() - core, 1e-9)
            minutes = (time.monotonic() - begun) / 60
            found.append(Sample(name, minutes, held(), inputs / spent))
            say(found[-1])
    return found


def fitted(samples: list[Sample], what: str, inputs: int) -> Fit:
    """Lines through the looks at a subject, the first of them left out.

    Raises:
        ValueError: if there are too few.
    """
    own = [sample for sample in samples if sample.what == what]
    last = own[-1].minutes if own else 0.0
    own = [sample for sample in own if sample.minutes >= WARM * last]
    if len(own) < 3:
        raise ValueError(f"expected at least 3 looks at {what}, got {len(own)}; take more minutes")
    minutes = np.array([sample.minutes for sample in own])
    span = minutes[-1] - minutes[0]
    rates = np.array([sample.rate for sample in own])
    memory = np.array([sample.mebibytes for sample in own])
    (faster, error), (more, _) = (line(minutes, values) for values in (rates, memory))
    mean = float(rates.mean())
    change, spread = faster * span / mean, 2 * error * span / mean
    return Fit(what, inputs, mean, change, spread, float(memory[-1]), more * span)


def line(x: Numbers, y: Numbers) -> tuple[float, float]:
    """Slope of the straight line through points, and its standard error."""
    found, covariances = np.polyfit(x, y, 1, cov="unscaled")
    left = y - np.polyval(found, x)
    variance = float(left @ left) / max(1, len(x) - 2)
    return float(found[0]), float(np.sqrt(covariances[0, 0] * variance))
