"""Jobs of a sweep -> results in their folders: what is about to happen, a bar, the failures."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from tqdm import tqdm

from ccenv.runs.engine.errors import say
from ccenv.runs.engine.jobs import Comparison, Job, remaining_seconds
from ccenv.runs.engine.machines.engines import Engine
from ccenv.runs.engine.machines.pool import Outcome, Task
from ccenv.runs.store import folder as run_folder

BAR = "{desc} |{bar}| {elapsed}<{remaining}{postfix}"
"""It counts the seconds that runs were forecast to take, so that long runs weigh more. As all bars,
it is shown on a terminal only."""


def forecast(comparison: Comparison, jobs: Sequence[Job], workers: int) -> str:
    """What is about to happen, and roughly how long it takes."""
    seconds, measured = remaining_seconds(comparison, jobs)
    length, plural = duration_text(seconds / workers), "" if workers == 1 else "s"
    two_cores = "" if workers == 2 else f" ({duration_text(seconds / 2)} on two cores)"
    basis = f"{measured} timed by finished runs of their cell" if measured else "its own estimate"
    num_jobs = len(comparison.finished) + len(comparison.missing)
    return (
        f"sweep {comparison.sweep.name!r}: {len(jobs)} of {num_jobs} runs missing, "
        f"about {length} with {workers} worker{plural}{two_cores}; {basis}"
    )


def duration_text(seconds: float) -> str:
    """A time as a person says it.

    >>> in_words(5400)
    '90 minutes'
    """
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def load_and_learn(jobs: Sequence[Job]) -> None:
    """Loads data and learns frozen weights here, where it is seen, once for all workers."""
    from ccenv.simulator.simulator import Simulator

    done = set()
    for job in jobs:
        run_folder.check_writable(job.plan.folder())
        run_folder.check_unlinked(job.plan.folder())
        environment = job.plan.environment | {"group_size": 1}
        key = json.dumps(environment, sort_keys=True)
        if key not in done:
            done.add(key)
            # A seed starts co-training, and with it a teacher's weights are learned or read.
            Simulator(1, **environment).seed(0)


def run_missing(
    found: Comparison,
    jobs: Sequence[Job],
    engine: Engine,
    reuse: bool,
    on_end: Callable[[], None],
) -> list[Outcome]:
    """Says how long it will take, then runs jobs with a bar, and returns the failures."""
    say(forecast(found, jobs, min(engine.workers, len(jobs))))
    if engine.about:
        say(engine.about)
    load_and_learn(jobs)
    tasks = [Task(job.label, job.agent, job.settings, reuse) for job in jobs]
    expected = [remaining_seconds(found, [job])[0] for job in jobs]
    failures: list[Outcome] = []
    outcomes = engine.run(tasks)
    bar = tqdm(desc=f"0 of {len(tasks)} runs", total=sum(expected), bar_format=BAR, disable=None)
    with bar, closing(outcomes):
        for ended, outcome in enumerate(outcomes, start=1):
            label, seed = outcome.task.label, outcome.task.settings["seed"]
            bar.set_description_str(f"{ended} of {len(tasks)} runs", refresh=False)
            bar.set_postfix_str(f"{label}, seed {seed}", refresh=False)
            bar.update(expected[tasks.index(outcome.task)])
            if outcome.error is not None:
                failures.append(outcome)
                # At once, too: a sweep may go on for hours.
                why = outcome.error.strip().splitlines()[-1]
                bar.write(f"failed: {label}, seed {seed}: {why}", file=sys.stderr)
            else:
                on_end()
    return failures
