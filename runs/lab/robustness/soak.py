"""Long use: (what is done again and again, seconds) -> memory and rate over time, fitted."""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from ccenv.agents.reinforce import Reinforce
from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.experiment import Experiment, Options, Row

PLACE: dict[str, Any] = {
    "dataset": "synthetic",
    "num_blocks": (4, 4),
    "block_size": 4,
    "weights": "cotrain",
}
ROWS = 64
WARM = 0.2
"""Share of the time that is left out of the fits: caches fill."""
MOST_GROWTH = 8.0
"""MiB over the time that is fitted; pools of the allocator come and go."""
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
    inputs: int = 0
    """in all."""


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


def classifier() -> Work:
    """An exported classifier."""
    env = BlockSelectionVectorEnv(ROWS, **PLACE)
    env.reset(seed=0)
    exported = SkippingClassifier.from_agent(Reinforce(env, seed=0))
    images = torch.rand(ROWS, *exported.prepare.shape, generator=stream(0, "soak"))

    def work() -> int:
        return len(exported(images))

    return work


SUBJECTS: dict[str, Callable[[], Work]] = {
    "environment": environment,
    "training": training,
    "classifier": classifier,
}
"""What is used; all by one process, in turns."""


def held() -> float:
    """Memory that this process holds, in MiB; as Linux tells it."""
    told = Path("/proc/self/statm")
    if not told.exists():
        raise ValueError(f"expected {told}, got none: memory over time is told on Linux only")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(works: Mapping[str, Work], seconds: float, turn: float) -> list[Sample]:
    """Works in turns of some seconds until the time is over."""
    begun, found = time.monotonic(), []
    while time.monotonic() - begun < seconds:
        for name, work in works.items():
            inputs, core, end = 0, time.process_time(), time.monotonic() + turn
            while time.monotonic() < end:
                inputs += work()
            spent = max(time.process_time() - core, 1e-9)
            minutes = (time.monotonic() - begun) / 60
            one = Sample(name, minutes, held(), inputs / spent, inputs)
            found.append(one)
            told = f"{one.mebibytes:.1f} MiB, {one.rate:,.0f} inputs a second of one core"
            print(f"{minutes:6.1f} min {name}: {told}", file=sys.stderr, flush=True)
    return found


def fitted(samples: list[Sample], what: str) -> Row:
    """Lines through the looks at a subject, the first of them left out.

    Returns:
        `rate`, inputs a second of one core, on average; `rate_change` over the time that was
        fitted, as a share of it, and two standard errors of that (`rate_error`), for what else the
        machine did moves rates; `mebibytes` of memory at the end, and their `growth` over the time.
    """
    looks = [sample for sample in samples if sample.what == what]
    last = looks[-1].minutes if looks else 0.0
    looks = [sample for sample in looks if sample.minutes >= WARM * last]
    if len(looks) < 3:
        raise ValueError(
            f"expected at least 3 looks at {what}, got {len(looks)}; take more minutes"
        )
    minutes, rates, memory = (
        [getattr(sample, name) for sample in looks] for name in ("minutes", "rate", "mebibytes")
    )
    span, mean = minutes[-1] - minutes[0], statistics.mean(rates)
    rate, growth = stats.linregress(minutes, rates), stats.linregress(minutes, memory)
    return {
        "rate": mean,
        "rate_change": rate.slope * span / mean,
        "rate_error": 2 * rate.stderr * span / mean,
        "mebibytes": memory[-1],
        "growth": growth.slope * span,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is used, and how long."""
    parser.add_argument("--what", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--minutes", type=float, default=30.0, help="of the clock, for all")
    parser.add_argument("--turn", type=float, default=10.0, help="seconds of one subject's turn")


def run(options: Options) -> list[Row]:
    """Uses everything in turns, and fits memory and rate."""
    works = {name: SUBJECTS[name]() for name in options.what}
    samples = soak(works, 60 * options.minutes, options.turn)
    return [
        {
            "what": name,
            "inputs": sum(sample.inputs for sample in samples if sample.what == name),
            **fitted(samples, name),
            "minutes": options.minutes,
        }
        for name in options.what
    ]


SOAK = Experiment(
    name="soak",
    about="use environment, training and export for half an hour: does anything grow?",
    run=run,
    columns={
        "used": "<{what}",
        "minutes of all": ">{minutes:.0f}",
        "inputs": ">{inputs:,}",
        "a second of one core": ">{rate:,.0f}",
        "change of the rate": ">{rate_change:+.1%} ± {rate_error:.1%}",
        "MiB at the end": ">{mebibytes:.0f}",
        "MiB more": ">{growth:+.1f}",
    },
    recorded_as="faults-soak",
    add_options=add_options,
    failed=lambda rows: any(row["growth"] > MOST_GROWTH for row in rows),
)
