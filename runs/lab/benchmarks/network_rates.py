"""The environment's rate and memory on networks of any kind: (subject, rows) -> rates, in turns.

Every size runs in a process of its own, so that what it needs is not what another one left behind.
"""

import itertools
import multiprocessing
import resource
import statistics
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, time_calls, work_clock
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.core.protocol import forward
from ccenv.runs.lab.benchmarks.subjects import QUICK, SUBJECTS, Network, Subject, chosen
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Pass, Row
from ccenv.runs.store.provenance import load_average

POOL = 4
SLOW_SECONDS = 2.0
"""A round that takes longer is run less often, and nothing twice in it."""
SLOW_ROUNDS = 3
NOTES = """\
The vector environment on noise (images 3 x 32 x 32; windows of symbols), frozen and packed, one
thread, seconds of the processor, masks drawn beforehand as in the table above; a step is one row at
one gate. Own: share of an episode's time that is not the bare network's (the same packed modules
under the same masks, in the same round), median [quartiles]: drawing, looks, the bill, rewards,
observations, infos. MiB: most memory that a pass of the bare network needs beyond the network, and
what the environment adds in all, its two copies of the network included, each size in a process of
its own."""
COLUMNS = {
    "network": "<{network}",
    "gates": ">{num_gates}",
    "rows": ">{rows:,}",
    "env steps/s": ">{steps_per_second:,.0f}",
    "inputs/s": ">{inputs_per_second:,.0f}",
    "own %": "<{own!p:.0f} [{own_low!p:.0f}, {own_high!p:.0f}]",
    "ms of an episode": ">{milliseconds:,.1f}",
    "MiB, bare pass": ">{network_mib:,.0f}",
    "MiB, environment": ">{environment_mib:,.0f}",
}


def forget_peak() -> None:
    """Lets the system count a process's most memory anew, where it can (Linux)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def peak_mib() -> float:
    """Most memory that this process has held, since `forget_peak` where the system can forget."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)


def grown_mib(function: Pass) -> float:
    """How much more memory a call needs at most than the process held before."""
    forget_peak()
    before = peak_mib()
    function()
    return peak_mib() - before


def bare_pass(network: Network, subject: Subject, rows: int) -> Pass:
    """The network alone on inputs that were drawn beforehand, under other masks each time."""
    data = subject.dataset("train")
    numbers = torch.arange(POOL * rows) % len(data)
    batches = itertools.cycle([data.batch(part)[0] for part in numbers.split(rows)])
    masks = itertools.cycle(subject.pool(network, rows, POOL))

    def run() -> object:
        with torch.no_grad():
            return forward(network, next(batches), next(masks))

    return run


def make_episode(network: Network, subject: Subject, rows: int) -> Pass:
    """An environment of so many rows, and one episode of it."""
    env = BlockSelectionVectorEnv(rows, dataset=subject.dataset, network=network)
    return episode_of(env, subject)


def episode_of(env: BlockSelectionVectorEnv, subject: Subject) -> Pass:
    """One episode of all rows, resetting on the last step, under other masks each time."""
    wide = env.simulator.max_blocks
    pool = [
        [padded(mask.numpy(), wide) for mask in masks]
        for masks in subject.pool(env.simulator.network, env.num_envs, POOL)
    ]
    turns = itertools.cycle(pool)
    env.reset(seed=0)
    return lambda: [env.step(mask) for mask in next(turns)]


def padded(mask: np.ndarray, columns: int) -> np.ndarray:
    """A gate's mask as the action space has it: int8 [rows, columns]."""
    return np.pad(mask.astype(np.int8), ((0, 0), (0, columns - mask.shape[1])))


def in_turns(
    passes: Mapping[str, Pass], rounds: int, seconds: float = 0.1
) -> dict[str, list[float]]:
    """As `seconds_in_turns`; what takes seconds is timed a few times and not warmed up."""
    if sum(time_calls(one, 1, work_clock()) for one in passes.values()) < SLOW_SECONDS:
        return seconds_in_turns(passes, rounds, seconds, work_clock())
    times: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(min(rounds, SLOW_ROUNDS)):
        for name, one in passes.items():
            times[name].append(time_calls(one, 1, work_clock()))
    return times


def measure(name: str, rows: int, rounds: int, threads: int) -> Row:
    """Rates and memory of the environment with so many rows; run in a process of its own."""
    torch.set_num_threads(threads)
    subject = (SUBJECTS | QUICK)[name]
    network = subject.build().requires_grad_(False)
    network.pack()
    bare = bare_pass(network, subject, rows)
    # Once small before anything is counted: libraries and kernels are loaded on first use.
    make_episode(network, subject, 1)()
    bare_pass(network, subject, 1)()
    network_mib, made = grown_mib(bare), {}

    def make() -> None:
        made["episode"] = make_episode(network, subject, rows)
        made["episode"]()

    environment_mib = grown_mib(make)
    times = in_turns({"network": bare, "environment": made["episode"]}, rounds)
    low, middle, high = quartiles_of_ratio(times["network"], times["environment"])
    seconds = statistics.median(times["environment"])
    return {
        "network": subject.network,
        "num_gates": len(network.gates),
        "rows": rows,
        "steps_per_second": rows * len(network.gates) / seconds,
        "inputs_per_second": rows / seconds,
        "own": 1 - middle,
        "own_low": 1 - high,
        "own_high": 1 - low,
        "milliseconds": 1e3 * seconds,
        "network_milliseconds": 1e3 * statistics.median(times["network"]),
        "network_mib": network_mib,
        "environment_mib": environment_mib,
        "load_average": load_average(),
        "rounds": len(times["network"]),
    }


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every network with every number of rows, one after the other."""
    context = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    for name, subject in chosen(quick=quick).items():
        for rows in subject.rows:
            with ProcessPoolExecutor(1, mp_context=context) as process:
                yield process.submit(measure, name, rows, rounds, threads).result()


NETWORK_RATES = benchmark(
    "network-rates",
    "the environment's rate and memory on networks of any kind, as its rows grow",
    measured,
    COLUMNS,
    rounds=7,
    notes=NOTES,
)
