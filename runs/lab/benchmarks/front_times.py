"""Times of a sweep's networks in turns, in one process: (sweep) -> milliseconds of its rows.

Runs of a sweep are timed one by one, hours apart and beside each other: their milliseconds do not
compare well. How long a pass takes depends on sizes, not on what was learned, wherever training
does not change how many blocks are kept; those rows are timed here with fresh weights, round by
round, and reports read the result in place of the runs' own times. Other rows are timed as they
were trained, with `--log-dir` where their finished runs lie.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.clock import seconds_in_turns
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.experiment import Experiment, Options
from ccenv.runs.lab.benchmarks.passes import Timed, as_trained, by_size, make_pass
from ccenv.runs.stats.cost_points import times_path
from ccenv.runs.stats.results import MODES
from ccenv.runs.studies import find_study
from ccenv.runs.tables.sweep_table import markdown


def time_front(
    found: Sequence[Timed], batches: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Milliseconds of a pass of every row, round by round.

    Args:
        found: what is timed.
        batches: images of a pass.
        rounds: of which each times every row once.
        seconds: length of one timing.

    Raises:
        ValueError: if what was trained cannot be put back.
    """
    rows: list[dict[str, Any]] = []
    for images in batches:
        passes = {
            (number, draw): call
            for number, one in enumerate(found)
            for draw in MODES
            if (call := make_pass(one, images, draw)) is not None
        }
        for (number, draw), times in seconds_in_turns(passes, rounds, seconds).items():
            own = [float(f"{1e3 * t:.4g}") for t in times]
            head: dict[str, Any] = {"masks": draw, "batch_size": images, "milliseconds": own}
            if found[number].folder is not None:
                head["seed"] = found[number].plan.program.seed
            rows += [{"label": label, **head} for label in found[number].labels]
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


def asked_sweep(options: Options) -> Sweep:
    """The sweep that options name."""
    return find_study(options.sweep).sweep


def measured(options: Options) -> list[dict[str, Any]]:
    """Times of a sweep's rows.

    Raises:
        ValueError: if training changes all of them.
    """
    sweep = asked_sweep(options)
    found = by_size(sweep)
    if options.log_dir is not None:
        found += as_trained(sweep, options.log_dir)
    if not found:
        raise ValueError(
            f"expected rows of {sweep.name} that can be timed, got none; training changes all "
            "of them: give the --log-dir of finished runs"
        )
    return time_front(found, options.batches, options.rounds, options.seconds)


def recorded_as(options: Options) -> str:
    """Where a sweep's report looks for times."""
    return times_path(options.results_dir, asked_sweep(options).name).stem


def head(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """Whose times they are, and that they begin with the bytes of a data set."""
    return {"name": asked_sweep(options).name, "images": "as stored"}


FRONT_TIMES = Experiment(
    name="front-times",
    about="times of a sweep's networks in turns, in one process",
    measured=measured,
    table=table,
    recorded_as=recorded_as,
    add_options=add_options,
    head=head,
    names_machine=True,
)
