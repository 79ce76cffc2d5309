"""A sweep: run what is missing, then show the table: python -m runs.compare [SWEEP]."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ccenv.registry import resolve
from runs import folder as run_folder
from runs.jobs import Job, collect, make_jobs, missing_jobs, num_outdated, record
from runs.machine import num_cores
from runs.pool import Outcome, Task, run_all
from runs.report import NOTES, plot_front, table
from runs.rows import MODES
from runs.settings import safe_name
from runs.sweeps import SWEEPS, Sweep

INTERRUPTED = 130


def prepare(jobs: Sequence[Job]) -> None:
    """Loads data and learns frozen weights here, where it is seen, once for all workers.

    Raises:
        ValueError, OSError: if data is missing or a setting impossible.
    """
    from ccenv.simulator import make_simulator

    done = set()
    for job in jobs:
        run_folder.check_writable(job.plan.folder())
        environment = job.plan.environment | {"group_size": 1}
        key = json.dumps(environment, sort_keys=True)
        if key not in done:
            done.add(key)
            make_simulator(1, environment)


def run_missing(jobs: Sequence[Job], workers: int, reuse: bool) -> list[Outcome]:
    """Runs jobs in parallel, with a bar, and returns the failures."""
    tasks = [Task(job.label, job.agent, job.settings, reuse) for job in jobs]
    failures = []
    outcomes = run_all(tasks, min(workers, len(tasks)))
    with tqdm(total=len(tasks), unit="run") as bar, closing(outcomes):
        for outcome in outcomes:
            bar.update()
            bar.set_postfix_str(f"{outcome.task.label}, seed {outcome.task.settings['seed']}")
            if outcome.error is not None:
                failures.append(outcome)
    return failures


def say(text: str) -> None:
    """Tells the user on stderr, so that stdout holds the table or JSON only."""
    print(text, file=sys.stderr, flush=True)


def forecast(sweep: Sweep, num_missing: int, num_jobs: int, workers: int) -> str:
    """What is about to happen, and roughly how long it takes."""
    minutes = sweep.minutes * num_missing / num_jobs * 2 / workers
    length = f"{60 * minutes:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes"
    return (
        f"sweep {sweep.name!r}: {num_missing} of {num_jobs} runs missing, "
        f"about {length} with {workers} workers"
    )


def compare(options: argparse.Namespace) -> int:
    """Runs, collects, shows; returns the exit status."""
    sweep: Sweep = resolve(options.sweep, SWEEPS, "sweep")
    if not isinstance(sweep, Sweep):
        raise ValueError(f"expected {options.sweep!r} to be a runs.sweeps.Sweep, got {sweep!r}")
    jobs = make_jobs(sweep, options.log_dir)
    missing = missing_jobs(jobs, options.rerun)
    failures: list[Outcome] = []
    if missing:
        say(forecast(sweep, len(missing), len(jobs), min(options.jobs, len(missing))))
        prepare(missing)
        failures = run_missing(missing, options.jobs, reuse=not options.rerun)
    rows = collect(jobs, options.masks)
    show(sweep, rows, jobs, options)
    for failure in failures:
        say(f"\nfailed: {failure.task.label}, {failure.task.settings}\n{failure.error}")
    if failures:
        say(f"{len(failures)} of {len(jobs)} runs failed; the same command tries them again")
    return 1 if failures else 0


def show(
    sweep: Sweep, rows: list[dict[str, Any]], jobs: Sequence[Job], options: argparse.Namespace
) -> None:
    """Prints the table, and writes it and the plot to the report's folder."""
    report = Path(options.report_dir) / safe_name(sweep.name)
    if rows:
        report.mkdir(parents=True, exist_ok=True)
        text = f"{sweep.description}\n\n{table(rows)}\n\n{NOTES}\n"
        (report / "table.md").write_text(text)
        plot_front(rows, sweep.description, report / "front.png")
        if options.record:
            record(sweep, jobs, rows, Path(options.results_dir) / f"{safe_name(sweep.name)}.json")
        print(json.dumps(rows, indent=2) if options.json else text)
    outdated = num_outdated(jobs)
    if outdated:
        say(
            f"{outdated} results come from an older version of their agent's, reward's or "
            "network's file; --rerun makes them anew"
        )
    say(f"table and plot: {report}")
    logs = "runs" if options.log_dir == "runs/logs" else options.log_dir
    say(f"curves: tensorboard --logdir {logs}")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.compare",
        description="Runs what is missing of a sweep, then shows the table.",
        epilog="\n".join(["sweeps:", *(f"  {s.name}: {s.description}" for s in SWEEPS.values())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sweep", nargs="?", default="quickstart", help=f"{', '.join(SWEEPS)}, or module:name"
    )
    parser.add_argument("--jobs", type=positive, default=num_cores(), help="runs at once")
    parser.add_argument("--masks", choices=MODES, default="sampled", help="which evaluation")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument("--record", action="store_true", help="write runs/results/<sweep>.json")
    parser.add_argument(
        "--rerun", action="store_true", help="also run what comes from older code of its agent"
    )
    parser.add_argument("--log-dir", default="runs/logs", help="folder of the runs")
    parser.add_argument("--report-dir", default="runs/reports", help="folder of tables and plots")
    parser.add_argument("--results-dir", default="runs/results", help="folder of --record")
    return parser


def positive(text: str) -> int:
    """Reads a number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares agents; see --help."""
    options = make_parser().parse_args(arguments)
    try:
        return compare(options)
    except (ValueError, TypeError, OSError) as error:
        say(f"runs.compare: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command goes on with what is missing")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
