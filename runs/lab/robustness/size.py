"""Many recorded runs: (a number, a folder) -> seconds until `ccenv compare` answers."""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import gather, make_jobs, source_of
from ccenv.runs.engine.run import run as carry_out
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.robustness.tiny import SETTINGS, TINY
from ccenv.runs.report.publish import answer
from ccenv.runs.store import recorded

SEEDS = 100
"""Runs of a row."""
PARTS = ("plans", "reading", "gathering", "rows", "words")


def sweep_of(count: int) -> Sweep:
    """A study of so many runs: rows that differ in their learning rate, with 100 seeds each."""
    seeds = min(SEEDS, count)
    rates = [0.001 * (1 + row) for row in range(max(1, count // seeds))]
    cells = tuple(Cell(f"rate {r:g}", "reinforce", {"learning_rate": r}) for r in rates)
    settings = SETTINGS | {"images": 128, "progress": False}
    return dataclasses.replace(
        TINY, name=f"size-{count}", settings=settings, cells=cells, seeds=tuple(range(seeds))
    )


def record_copies(sweep: Sweep, folder: Path) -> None:
    """Runs the first run, and records it as if it were all of them."""
    jobs = make_jobs(sweep, str(folder / "logs"))
    one = json.loads(json.dumps(carry_out(jobs[0].plan)))
    results = {
        job.plan.key(): one | {"seed": job.plan.program.seed, "label": job.label} for job in jobs
    }
    head = {"kind": "comparison", "name": sweep.name, "rows": []}
    recorded.save(source_of(sweep, jobs, str(folder)), head, results)


def answered(sweep: Sweep, folder: Path) -> dict[str, float]:
    """What `ccenv compare` does until it has its table, and the seconds of each part."""
    moments = [time.process_time()]
    jobs = make_jobs(sweep, str(folder / "none"))
    moments.append(time.process_time())
    found = recorded.load(source_of(sweep, jobs, str(folder)))
    moments.append(time.process_time())
    comparison = gather(sweep, jobs, found)
    moments.append(time.process_time())
    assert comparison.rows
    moments.append(time.process_time())
    assert answer(comparison)
    moments.append(time.process_time())
    spans = zip(PARTS, moments, moments[1:], strict=False)
    return {name: later - earlier for name, earlier, later in spans}


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])


def run(options: Options) -> Iterator[Row]:
    """Times a comparison of ever more recorded runs."""
    for count in options.runs:
        sweep = sweep_of(count)
        with tempfile.TemporaryDirectory(prefix="ccenv-size-") as own:
            record_copies(sweep, Path(own))
            size = (Path(own) / f"{sweep.name}.json").stat().st_size
            seconds = answered(sweep, Path(own))
        yield {"runs": sweep.num_runs, "mebibytes": size / 2**20, **seconds} | {
            "seconds": sum(seconds.values())
        }


MANY_RUNS = Experiment(
    name="many-runs",
    about="time a comparison of 10,000 recorded runs",
    run=run,
    columns={
        "runs of one study": ">{runs:,}",
        "file, MiB": ">{mebibytes:.1f}",
        "seconds of one core": ">{seconds:.2f}",
        **{name: f">{{{name}:.2f}}" for name in PARTS},
    },
    recorded_as="faults-many-runs",
    add_options=add_options,
)
