"""A sweep: run what is missing, then show table and report: ccenv compare [SWEEP]."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import positive, print_json, program, takes_trust
from ccenv.runs.config.plan import safe_name
from ccenv.runs.config.sweep import Sweep, check_number
from ccenv.runs.config.sweep_file import MOST_RUNS
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.engine.jobs import (
    Comparison,
    Job,
    gather,
    make_jobs,
    names_of,
    origins,
    outdated,
    read_shard,
    record,
    source_of,
)
from ccenv.runs.engine.machines.engines import ENGINES, LOCAL, open_engine
from ccenv.runs.engine.machines.pool import Outcome
from ccenv.runs.engine.run import OLDER
from ccenv.runs.engine.run_jobs import run_missing, say
from ccenv.runs.engine.study import Study
from ccenv.runs.report.over_seeds import write_sweep
from ccenv.runs.report.publish import PAGE, answer, publish
from ccenv.runs.stats.measures import MODES
from ccenv.runs.store import recorded
from ccenv.runs.studies import STUDIES, find_study

STOPPED = "stopped; the same command goes on with what is missing"


def compare(options: argparse.Namespace) -> int:
    """Runs, collects, shows; returns the exit status."""
    most_runs = None if options.yes else MOST_RUNS
    study = find_study(options.sweep, options.trust, most_runs)
    sweep = study.sweep
    if options.seeds:
        sweep = with_first_seeds(sweep, options.seeds, options.record)
    if options.miniature:
        sweep = miniature_of(sweep, options.record)
    check_number(sweep.num_runs, most_runs)
    jobs = make_jobs(sweep, options.log_dir)
    source = source_of(sweep, jobs, options.results_dir)
    # Read even where it is not used: what cannot be recorded later is refused before hours of runs.
    is_read = options.record or not options.no_recorded
    # On the library of another Python the rows are run here, unless they are to be recorded.
    known = recorded.load(source, other_texts=options.record) if is_read else {}
    known = {} if options.no_recorded else known
    found = gather(sweep, jobs, known, options.draw)
    todo = [*found.missing, *(outdated(found, jobs) if options.rerun else [])]
    if options.shard:
        missing, todo = len(todo), options.shard.share(jobs, todo)
        say(f"shard {options.shard}: {len(todo)} of {missing} runs to do are this machine's")
    failures: list[Outcome] = []

    def keep() -> None:
        if options.record:
            record(sweep, jobs, source, options.draw)

    if todo and not options.no_run:
        of_engine = parse_pairs(options.engine_option)
        log_dir = Path(options.log_dir)
        with open_engine(options.engine, options.jobs, log_dir, of_engine) as engine:
            failures = run_missing(found, todo, engine, not options.rerun, keep)
        found = gather(sweep, jobs, known, options.draw)
    if found.finished:
        keep()
    show(found, jobs, study, options)
    for failure in failures:
        say(f"\nfailed: {failure.task.label}, {failure.task.settings}\n{failure.error}")
    if failures:
        say(f"{len(failures)} of {len(jobs)} runs failed; the same command tries them again")
    return 1 if failures or not (found.finished or options.shard) else 0


def with_first_seeds(sweep: Sweep, number: int, record: bool) -> Sweep:
    """The sweep with every row run for seeds 0 to number - 1."""
    if record:
        raise ValueError(
            "expected --seeds without --record, got both: recorded runs are those of the study; "
            "change its seeds there"
        )
    cells = tuple(dataclasses.replace(cell, seeds=None) for cell in sweep.cells)
    minutes = sweep.minutes * number * len(cells) / max(1, len(sweep.runs()))
    return dataclasses.replace(sweep, cells=cells, seeds=tuple(range(number)), minutes=minutes)


def miniature_of(sweep: Sweep, record: bool) -> Sweep:
    """The sweep in a minute, under a name and so in folders of its own."""
    if record:
        raise ValueError(
            "expected --miniature without --record, got both: a miniature shows that a sweep runs, "
            "its figures say nothing; leave one out"
        )
    return sweep.miniature()


def show(found: Comparison, jobs: Sequence[Job], study: Study, options: argparse.Namespace) -> None:
    """Prints the table, and writes the report's folder."""
    report = Path(options.report_dir) / safe_name(found.sweep.name)
    if found.missing:
        say(f"{len(found.missing)} runs have no result yet: {names_of(found.missing)}")
    if not found.finished:
        return
    # First the answer: a hundred figures take longer than all runs take to be read.
    if options.json:
        print_json(found.rows)
    else:
        print(answer(found), flush=True)
    publish(found, report, Path(options.results_dir), study.sections)
    for line in origins(found):
        say(line)
    if old := outdated(found, jobs):
        say(
            f"{len(old)} results come from an older version of their {OLDER}; --rerun makes them "
            "anew"
        )
    say(f"report: {report / PAGE} (tables and plots beside it)")
    say(f"means over seeds: tensorboard --logdir {write_sweep(found, options.log_dir)}")
    logs = "runs" if options.log_dir == "runs/logs" else options.log_dir
    say(f"curves: tensorboard --logdir {logs}")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv compare",
        description="Runs what is missing of a sweep, then shows the table.",
        epilog=(
            "`ccenv list sweeps` shows what each compares and its minutes on two cores. A sweep of "
            "yours is a TOML file, or a Sweep or Study in a module; see the tutorial on studies."
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "sweep",
        nargs="?",
        default="quickstart",
        help=f"{', '.join(STUDIES)}, a file that ends in .toml, or module:name",
    )
    parser.add_argument(
        "--seeds", type=positive, metavar="N", help="run every row with seeds 0 to N - 1"
    )
    parser.add_argument(
        "--jobs", type=positive, help="runs at once; as many as cores, or as a cluster has room for"
    )
    add_machines(parser)
    parser.add_argument(
        "--draw",
        "--masks",
        choices=MODES,
        default="sampled",
        help="which evaluation: masks drawn, or the most probable ones",
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument(
        "--record", action="store_true", help="write runs/results/<sweep>.json, run by run"
    )
    parser.add_argument(
        "--no-recorded", action="store_true", help="run here what was recorded elsewhere, too"
    )
    parser.add_argument("--no-run", action="store_true", help="show what is there, run nothing")
    parser.add_argument(
        "--rerun", action="store_true", help="also run what comes from older code of its agent"
    )
    parser.add_argument(
        "--miniature", action="store_true", help="one short run of each kind of row, in a minute"
    )
    parser.add_argument("--yes", action="store_true", help=f"run more than {MOST_RUNS:,} runs, too")
    takes_trust(parser, "a sweep's file names")
    parser.add_argument("--log-dir", default="runs/logs", help="folder of the runs")
    parser.add_argument("--report-dir", default="runs/reports", help="folder of tables and plots")
    parser.add_argument("--results-dir", default="runs/results", help="folder of recorded results")
    return parser


def add_machines(parser: argparse.ArgumentParser) -> None:
    """Where runs go, if not to this machine alone."""
    parser.add_argument(
        "--shard", type=read_shard, metavar="i/n", help="run the i-th of n equal shares only"
    )
    parser.add_argument(
        "--engine", default=LOCAL, help=f"where: {LOCAL} (by default), {', '.join(ENGINES)}"
    )
    parser.add_argument(
        "--engine-option",
        action="append",
        default=[],
        metavar="key=value",
        help="of ray: address; of slurm: those of submitit; of both: results=sent or shared",
    )


@program("ccenv compare", (ValueError, TypeError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Compares agents; see --help."""
    return compare(make_parser().parse_args(arguments))
