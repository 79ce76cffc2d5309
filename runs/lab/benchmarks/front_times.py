"""Times of a sweep's networks in turns, in one process: (sweep) -> milliseconds of its rows.

Runs of a sweep are timed one by one, hours apart and beside each other: their milliseconds do not
compare well. How long a pass takes depends on sizes, not on what was learned, wherever training
does not change how many blocks are kept; those rows are timed here with fresh weights, round by
round, and reports read the result in place of the runs' own times. Other rows are timed as they
were trained, with `--log-dir` where their finished runs lie.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.deploy.short_walk import fuse_policy
from ccenv.base.clock import seconds_in_turns
from ccenv.base.mask_words import BOTH, in_files
from ccenv.base.seeding import stream
from ccenv.data import load_split, preprocessing
from ccenv.data.transforms import as_floats, through
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.engine.sweep_runs import own_result
from ccenv.runs.lab.experiment import Experiment, Options
from ccenv.runs.replay.rebuilt import rebuild
from ccenv.runs.stats.cost_points import times_path
from ccenv.runs.studies import find_study
from ccenv.runs.tables.sweep_table import markdown
from ccenv.simulator.settings import EXTENSIONS
from ccenv.simulator.simulator import Simulator

SET_NUMBER = ("dense", "block_dropout", "rloo", "topk", "hash")
"""Agents that keep a number of blocks that is set, k of n at least where draws are ordered."""
SIZED_BY = (
    "dataset",
    "transforms",
    "num_blocks",
    "block_size",
    "head_units",
    "observation",
    "activation",
    "network",
    "network_kwargs",
)
CHOSEN_BY = (
    "num_kept",
    "shared_blocks",
    "hidden_units",
    "embedding_size",
    "num_hashed",
    "keep_probability",
)
"""Settings of the environment and of the agent on which a time depends."""
PLAIN = "mlp"
"""Begins the names of networks that are timed as the plain one of their sizes."""
AS_THEY_ARE = ("bytes",)
"""Other networks that have a compiled call; what is neither is not timed."""


@dataclass(frozen=True)
class Timed:
    """What is timed once."""

    labels: list[str]
    """rows that take this time."""
    plan: Plan
    """agent and network."""
    folder: Path | None = None
    """where their trained weights lie; None: fresh ones take as long."""


def is_set(plan: Plan) -> bool:
    """Whether training leaves the number of blocks that are kept as it is."""
    return plan.agent in SET_NUMBER and plan.agent_settings.get("sampling") != "independent"


def by_size(sweep: Sweep) -> list[Timed]:
    """Rows of the same sizes together; of rows that training changes none, or without a call.

    Dropout of units is off at test: such a network is timed as the plain one that it is then.
    """
    by_key: dict[str, Timed] = {}
    for cell in sweep.cells:
        settings = {**sweep.settings, **cell.settings}
        network = str(settings.get("network", PLAIN))
        if network not in AS_THEY_ARE:
            if not network.startswith(PLAIN):
                continue
            settings["network"] = PLAIN
        plan = make_plan(cell.agent, settings)
        if not is_set(plan):
            continue
        choice = [plan.agent_settings.get(name) for name in CHOSEN_BY]
        sizes = [plan.environment[name] for name in SIZED_BY]
        key = json.dumps([cell.agent, choice, sizes])
        by_key.setdefault(key, Timed([], plan)).labels.append(cell.label)
    return list(by_key.values())


def as_trained(sweep: Sweep, log_dir: Path) -> list[Timed]:
    """Finished runs of rows that training changes."""
    jobs = [job for job in make_jobs(sweep, str(log_dir)) if not is_set(job.plan)]
    finished = [job for job in jobs if own_result(job) is not None]
    if not finished:
        raise ValueError(
            f"expected finished runs of rows of {sweep.name} that training changes in {log_dir}, "
            "got none; give the --log-dir in which they were made"
        )
    return [Timed([job.label], job.plan, job.plan.folder()) for job in finished]


def make_agent(plan: Plan, folder: Path | None) -> Any:
    """An agent with its network: as trained, or with fresh weights."""
    if folder is not None:
        rebuilt = rebuild(plan, folder)
        if not rebuilt.is_restored:
            raise ValueError(f"expected what {plan.agent} learned in {folder}, got none of it")
        return rebuilt.agent
    group = int(plan.environment["group_size"])
    left_out = ("weights_kwargs", *EXTENSIONS)
    settings = {k: v for k, v in plan.environment.items() if k not in left_out}
    simulator = Simulator(group, **settings)
    simulator.seed(0)
    return plan.agent_class(simulator, seed=0, **plan.agent_settings)


def make_pass(timed: Timed, batch_size: int, deterministic: bool) -> Callable[[], Any] | None:
    """One compiled call of policy and network, None where there is no such call for them."""
    agent = make_agent(timed.plan, timed.folder)
    simulator = agent.simulator
    shape, network = simulator.image_shape, simulator.network.eval()
    fused = fuse_policy(network, agent, simulator.observe, shape, deterministic=deterministic)
    if fused is None:
        return None
    images = images_of(timed.plan, batch_size)
    generator = None if deterministic else stream(0, "latency masks")
    return lambda: fused(images(), generator=generator)


def images_of(plan: Plan, count: int) -> Callable[[], Tensor]:
    """Makes what the network sees of the first test images, anew whenever it is called.

    Images that are stored as floats are made once.
    """
    names = plan.environment["dataset"], plan.environment["transforms"]
    stored = load_split(names[0], "test").images
    stored = stored.index_select(0, torch.arange(count) % len(stored))
    transforms = preprocessing(*names)

    def make() -> Tensor:
        return as_floats(through(transforms, stored))

    if stored.dtype == torch.uint8:
        return make
    made = make()
    return lambda: made


def time_front(
    timed: Sequence[Timed], batches: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Milliseconds of a pass of every row, round by round."""
    rows: list[dict[str, Any]] = []
    for images in batches:
        passes = {
            (number, greedy): call
            for number, one in enumerate(timed)
            for greedy in BOTH
            if (call := make_pass(one, images, greedy)) is not None
        }
        for (number, greedy), times in seconds_in_turns(passes, rounds, seconds).items():
            milliseconds = [float(f"{1e3 * t:.4g}") for t in times]
            head: dict[str, Any] = {
                "masks": in_files(greedy),
                "batch_size": images,
                "milliseconds": milliseconds,
            }
            if timed[number].folder is not None:
                head["seed"] = timed[number].plan.program.seed
            rows += [{"label": label, **head} for label in timed[number].labels]
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Medians of the rounds in Markdown, of seeds the least: a line for each row and its masks."""
    batches = list(dict.fromkeys(int(row["batch_size"]) for row in rows))
    least: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        times = least.setdefault((row["label"], row["masks"]), {})
        images, middle = int(row["batch_size"]), statistics.median(row["milliseconds"])
        times[images] = min(middle, times.get(images, middle))
    columns = {"row": "left", "masks": "left"}
    columns |= {f"ms of {images}": "right" for images in batches}
    lines = [
        [*name, *(f"{times[images]:.3f}" if images in times else "" for images in batches)]
        for name, times in least.items()
    ]
    return markdown(columns, lines)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which sweep, and how times are taken."""
    parser.add_argument("sweep", help="a name of `ccenv list sweeps`, or module:name")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 128, 1024])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.01, help="length of one timing")
    parser.add_argument(
        "--log-dir", type=Path, help="also rows that training changes, as they were trained here"
    )


def measured(options: Options) -> list[dict[str, Any]]:
    """Times of a sweep's rows."""
    sweep = find_study(options.sweep).sweep
    timed = by_size(sweep)
    if options.log_dir is not None:
        timed += as_trained(sweep, options.log_dir)
    if not timed:
        raise ValueError(
            f"expected rows of {sweep.name} that can be timed, got none; training changes all "
            "of them: give the --log-dir of finished runs"
        )
    return time_front(timed, options.batches, options.rounds, options.seconds)


def sweep_name(options: Options) -> str:
    """The name of the sweep that options name."""
    return find_study(options.sweep).sweep.name


FRONT_TIMES = Experiment(
    name="front-times",
    about="times of a sweep's networks in turns, in one process",
    run=measured,
    pivot=table,
    # Where a sweep's report looks for times.
    recorded_as=lambda options: times_path(options.results_dir, sweep_name(options)).stem,
    add_options=add_options,
    # Whose times they are, and that they begin with the bytes of a data set.
    head=lambda options, before: {"name": sweep_name(options), "images": "as stored"},
    names_machine=True,
)
