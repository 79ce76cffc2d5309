"""Many recorded runs: (a number, a folder) -> seconds until `ccenv compare` answers."""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import program
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import Comparison, gather, make_jobs, source_of
from ccenv.runs.engine.run import run
from ccenv.runs.lab.robustness.tiny import SETTINGS, TINY
from ccenv.runs.report.publish import answer
from ccenv.runs.store import recorded

SEEDS = 100
"""Runs of a row."""


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
    one = json.loads(json.dumps(run(jobs[0].plan)))
    results = {
        job.plan.key(): one | {"seed": job.plan.program.seed, "label": job.label} for job in jobs
    }
    head = {"kind": "comparison", "name": sweep.name, "rows": []}
    recorded.save(source_of(sweep, jobs, str(folder)), head, results)


def known(sweep: Sweep, folder: Path) -> tuple[Comparison, dict[str, float]]:
    """What `ccenv compare` does until it has its table, and the seconds of each part."""
    moments = [time.process_time()]
    jobs = make_jobs(sweep, str(folder / "none"))
    moments.append(time.process_time())
    found = recorded.load_from_all(source_of(sweep, jobs, str(folder)))
    moments.append(time.process_time())
    comparison = gather(sweep, jobs, found)
    moments.append(time.process_time())
    assert comparison.rows
    moments.append(time.process_time())
    assert answer(comparison)
    moments.append(time.process_time())
    names = ("plans", "reading", "gathering", "rows", "words")
    spans = zip(names, moments, moments[1:], strict=False)
    return comparison, {name: later - earlier for name, earlier, later in spans}


@program("faults size")
def main(arguments: Sequence[str] | None = None) -> int:
    """Times a comparison of ever more recorded runs; see --help."""
    parser = argparse.ArgumentParser(
        prog="faults size", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    options = parser.parse_args(arguments)
    for count in options.runs:
        sweep = sweep_of(count)
        with tempfile.TemporaryDirectory(prefix="ccenv-size-") as own:
            record_copies(sweep, Path(own))
            size = (Path(own) / f"{sweep.name}.json").stat().st_size
            comparison, seconds = known(sweep, Path(own))
        parts = ", ".join(f"{name} {found:.2f}" for name, found in seconds.items())
        runs = len(comparison.finished)
        total = sum(seconds.values())
        told = f"{total:.2f} s of one core ({parts})"
        print(f"{runs:,} runs, {size / 2**20:.1f} MiB: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
