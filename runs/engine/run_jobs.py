"""Jobs of a sweep -> results in their folders: what is about to happen, a bar, the failures."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from tqdm import tqdm

from ccenv.runs.engine.jobs import Comparison, Job, remaining_seconds
from ccenv.runs.engine.machines.engines import Engine
from ccenv.runs.engine.machines.pool import Outcome, Task, run_all
from ccenv.runs.store import folder as run_folder

BAR = "{n_fmt} of {total_fmt} runs |{bar}| {elapsed}{postfix}"
"""Without the bar's own forecast: it takes the first run of many workers for the pace of all."""


def say(text: str) -> None:
    """Tells the user on stderr, so that stdout holds the table or JSON only."""
    print(text, file=sys.stderr, flush=True)


def forecast(comparison: Comparison, jobs: Sequence[Job], workers: int) -> str:
    """What is about to happen, and roughly how long it takes."""
    seconds, measured = remaining_seconds(comparison, jobs)
    length, plural = in_words(seconds / workers), "" if workers == 1 else "s"
    two_cores = "" if workers == 2 else f" ({in_words(seconds / 2)} on two cores)"
    basis = f"{measured} timed by finished runs of their cell" if measured else "its own estimate"
    num_jobs = len(comparison.finished) + len(comparison.missing)
    return (
        f"sweep {comparison.sweep.name!r}: {len(jobs)} of {num_jobs} runs missing, "
        f"about {length} with {workers} worker{plural}{two_cores}; {basis}"
    )


def in_words(seconds: float) -> str:
    """A time as a person says it.

    >>> in_words(5400)
    '90 minutes'
    """
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def prepare(jobs: Sequence[Job]) -> None:
    """Loads data and learns frozen weights here, where it is seen, once for all workers.

    Raises:
        ValueError, OSError: if data is missing or a setting impossible.
    """
    from ccenv.simulator.settings import make_simulator

    done = set()
    for job in jobs:
        run_folder.check_writable(job.plan.folder())
        environment = job.plan.environment | {"group_size": 1}
        key = json.dumps(environment, sort_keys=True)
        if key not in done:
            done.add(key)
            # A seed starts co-training, and with it a teacher's weights are learned or read.
            make_simulator(1, environment).seed(0)


def seconds_left(
    expected: Sequence[float], ended: Sequence[tuple[float, float]], workers: int
) -> float | None:
    """Time until all runs have ended, in seconds; None while nothing is known of their pace.

    The first run of each worker also loads and compiles: the pace is that of those after them.

    Args:
        expected: seconds of one core that each run was forecast to take.
        ended: of each run that has ended, what it was forecast to take, and when it ended.
        workers: runs at once.
    """
    after = ended[workers:]
    weight = sum(forecast for forecast, _ in after)
    if not weight:
        return None
    pace = (after[-1][1] - ended[workers - 1][1]) / weight
    return pace * (sum(expected) - sum(forecast for forecast, _ in ended))


def run_missing(
    found: Comparison,
    jobs: Sequence[Job],
    workers: int,
    reuse: bool,
    on_end: Callable[[], None],
    engine: Engine | None = None,
) -> list[Outcome]:
    """Runs jobs in parallel, with a bar, and returns the failures.

    Args:
        found: what is there already: it says how long runs take.
        jobs: what to run.
        workers: runs at once.
        reuse: take a result that another process wrote meanwhile.
        on_end: called after each run that went well.
        engine: where they run; None for processes of this machine.
    """
    tasks = [Task(job.label, job.agent, job.settings, reuse) for job in jobs]
    expected = [remaining_seconds(found, [job])[0] for job in jobs]
    failures: list[Outcome] = []
    ended: list[tuple[float, float]] = []
    outcomes = run_all(tasks, workers) if engine is None else engine.run(tasks)
    with tqdm(total=len(tasks), bar_format=BAR) as bar, closing(outcomes):
        for outcome in outcomes:
            ended.append((expected[tasks.index(outcome.task)], time.monotonic()))
            left = seconds_left(expected, ended, workers)
            seed = outcome.task.settings["seed"]
            still = "" if left is None else f"about {in_words(left)} left; "
            bar.set_postfix_str(f"{still}{outcome.task.label}, seed {seed}", refresh=False)
            bar.update()
            if outcome.error is not None:
                failures.append(outcome)
                # At once, too: a sweep may go on for hours.
                why = outcome.error.strip().splitlines()[-1]
                bar.write(f"failed: {outcome.task.label}, seed {seed}: {why}", file=sys.stderr)
            else:
                on_end()
    return failures


def run_todo(
    found: Comparison,
    jobs: Sequence[Job],
    workers: int,
    reuse: bool,
    on_end: Callable[[], None],
    engine: Engine | None = None,
) -> list[Outcome]:
    """Says how long it will take, then runs jobs; see `run_missing`."""
    workers = min(workers if engine is None else engine.workers, len(jobs))
    say(forecast(found, jobs, workers))
    if engine is not None:
        say(engine.about)
    prepare(jobs)
    return run_missing(found, jobs, workers, reuse, on_end, engine)
