"""Compares agents: a sweep -> what is missing of it run, and a `Comparison` of all of it.

For example:

    comparison = ccenv.compare("digits", add=MyAgent)
"""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ccenv.agents.foreign import open_policies
from ccenv.base.annotations import checks_types
from ccenv.base.registry import UnexpectedKeywordError
from ccenv.base.trust import check_trust
from ccenv.base.values import as_settings, positive_int, shown
from ccenv.runs.adding import Addition, additions, with_added
from ccenv.runs.api import frame, name_of_code, with_names
from ccenv.runs.config.agent_settings import find_agent
from ccenv.runs.config.plan import OLDER, safe_name
from ccenv.runs.config.shapings import shapings_sweep
from ccenv.runs.config.sweep import Cell, Sweep, check_run_count
from ccenv.runs.engine.collect_runs import telling_settings
from ccenv.runs.engine.errors import say
from ccenv.runs.engine.jobs import Job, Shard, make_jobs
from ccenv.runs.engine.origins import origins, other_data_lines, read_from, unlike_the_packages
from ccenv.runs.engine.recordings import of_this_code, outdated, record_sweep, recording_of
from ccenv.runs.engine.study import Section
from ccenv.runs.engine.sweep_runs import Finished, SweepRuns, gather, names_of
from ccenv.runs.store import LOGS, PAGE, REPORTS, recorded
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import Key
from ccenv.runs.store.provenance import num_cores
from ccenv.runs.studies import find_study
from ccenv.runs.tables.short_table import html_answer, short_table
from ccenv.simulator.policy import lacks_normaliser

if TYPE_CHECKING:
    from ccenv.runs.engine.pool import Outcome


@dataclass(frozen=True, repr=False)
class Comparison:
    """Results of a sweep: rows, verdict, table, plot and page.

    >>> import ccenv
    >>> comparison = ccenv.compare("digits", run_missing_ones=False, write_page=False)
    >>> comparison.results.name, "fixed_mask" in comparison.table
    ('digits', True)
    """

    results: SweepRuns
    """finished and missing runs."""
    page: Path
    """`index.html` of the report."""
    sections: Sequence[Section] = ()
    """what the sweep's study adds to the page."""
    results_dir: Path = recorded.IN_CHECKOUT
    """folder of recorded results."""
    log_dir: str = LOGS
    """folder of the runs."""
    failures: Sequence["Outcome"] = ()
    """runs that failed, with their errors."""
    lines: Sequence[str] = ()
    """what else there is to know: what is missing, and where recorded rows come from."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each row: label, error, MACs and so on, with intervals over seeds."""
        return self.results.rows

    @property
    def verdict(self) -> str:
        """Two sentences for each data set, one more where one agent's rewards are compared."""
        return " ".join(self.results.sentences)

    @property
    def table(self) -> str:
        """At most twenty rows, for a terminal."""
        return short_table(self.rows)

    def write_page(self, *, board: bool = True) -> list[str]:
        """Writes the page and, with `board`, means over seeds for TensorBoard; says where."""
        from ccenv.runs.report.publish import publish

        publish(self.results, self.page.parent, self.results_dir, self.sections)
        lines = [f"page: {self.page} (tables and plots in the same folder)"]
        if board:
            from ccenv.runs.report.over_seeds import write_sweep
            from ccenv.runs.tensorboard.names import BOARD

            means = write_sweep(self.results, self.log_dir)
            lines.append(f"means over seeds: tensorboard --logdir {means}")
            lines.append(f"curves: tensorboard --logdir {Path(self.log_dir) / BOARD}")
        return lines

    def plot(self) -> Any:
        """Error over MACs as a matplotlib figure, with the Pareto front."""
        from ccenv.runs.report.figures import front_figure

        return front_figure(self.results, self.results_dir)

    def to_pandas(self) -> Any:
        """A data frame with a line for each row; intervals in columns such as `error.low`.

        Reward, cost weight and every setting that differs between rows are columns.
        """
        first = [self.results.results[row["label"]][0] for row in self.rows]
        told = telling_settings(first)
        return frame(settings | row for settings, row in zip(told, self.rows, strict=True))

    def __repr__(self) -> str:
        finished, number = len(self.results.finished), self.results.num_runs
        return (
            f"Comparison({self.results.name}: {len(self.rows)} rows, {finished} of {number} runs "
            f"finished; {self.page})"
        )

    def _repr_html_(self) -> str:
        return html_answer(self.rows, self.results.sentences, self.results.shaping_tables)


def shapings_of(
    agent: Any, rewards: Sequence[Any], cost_weights: Sequence[float], seeds: int | None
) -> Sweep:
    """The sweep of one agent under several rewards; arguments as those of `compare`."""
    thing, settings = (*agent, {})[:2] if isinstance(agent, tuple) and agent else (agent, {})
    name = name_of_code(thing, "an agent")
    find_agent(name)
    agent_settings = with_names(as_settings(settings, f"the settings of {name}"))
    if isinstance(rewards, str):
        raise ValueError(f"expected rewards as a list of two or more, got {shown(rewards)}")
    names = [name_of_code(reward, "a reward") for reward in rewards]
    return shapings_sweep(name, agent_settings, names, cost_weights, seeds)


def judged_rows(
    sweep: Sweep, policies: Sequence[Addition], trust: Sequence[str]
) -> tuple[list[tuple[Cell, list[Finished]]], list[str]]:
    """Rows of policies that were trained elsewhere, and what their files do not tell."""
    if not policies:
        # Who shows records alone waits for nothing that runs them.
        return [], []
    from ccenv.runs.engine.foreign import judge

    opened = {one.label: open_policies(one.thing, trust) for one in policies}
    rows = [judge(sweep, one.label, opened[one.label], one.settings) for one in policies]
    untold = [k for k, each in opened.items() if any(lacks_normaliser(p) is None for p in each)]
    return rows, [
        f"{label}: judged without VecNormalize; zips of algorithms with a replay buffer do not "
        "tell whether they learned behind it: its statistics are read from NAME.pkl of NAME.zip"
        for label in untold
    ]


@checks_types
def compare(
    sweep: Any = None,
    *,
    agent: Any = None,
    rewards: Sequence[Any] = (),
    cost_weights: Sequence[float] = (),
    seeds: int | None = None,
    add: Any = None,
    change: Callable[[Sweep], Sweep] = lambda sweep: sweep,
    jobs: int | None = None,
    use_recorded: bool = True,
    record: bool = False,
    run_missing_ones: bool = True,
    write_page: bool = True,
    rerun: bool = False,
    shard: Shard | None = None,
    trust: Sequence[str] = (),
    log_dir: str | Path = LOGS,
    report_dir: str | Path = REPORTS,
    results_dir: str | Path | None = None,
    **settings: Any,
) -> Comparison:
    """Runs what is missing of a sweep and compares its rows; recorded results are not repeated.

    Args:
        sweep: a name that `ccenv list sweeps` shows, a TOML file, or a `Sweep` or `Study`;
            `quickstart` by default.
        agent: in place of a sweep, the agent whose rewards are compared: a name, a class, or a
            pair (name or class, settings of every run).
        rewards: at least two, names or functions that take a `cost_weight`.
        cost_weights: at least two numbers of at least 0; a row for each reward and weight.
        seeds: run every row with seeds 0 to this number - 1; by default those of the sweep, or
            three.
        add: what to add to the sweep's rows: an agent (a name or a class), which is trained here;
            or a policy that was trained elsewhere and is judged as it is: a model of
            Stable-Baselines3 or a zip of one, a torch module, a function from observations [batch,
            obs_size] to bits [batch, blocks], or a list of these, one for each seed. Also a pair
            (one of these, settings), a list of agents, or a dict of them by name.
        change: function from the sweep to the one that is run, for example with fewer seeds.
        jobs: number of parallel runs; by default the number of cores.
        use_recorded: False to run everything here.
        record: write `results_dir/<sweep>.json`, run by run.
        run_missing_ones: False to run nothing, and to write nothing into `log_dir`.
        write_page: False to leave the page to `Comparison.write_page`.
        rerun: repeat results of older code of their agent, reward or network.
        shard: a share of the runs, for several machines.
        trust: your modules that a sweep's file may name, and zips of models, or folders of them.
        log_dir: folder of the runs.
        report_dir: folder of pages.
        results_dir: folder of recorded results; by default `runs/results`, and the package's for
            what is not there.
        **settings: none; a setting of runs is given with their agent.

    Raises:
        ValueError: if a name or setting is wrong, before anything runs.

    Example:
        >>> import ccenv
        >>> comparison = ccenv.compare("digits", run_missing_ones=False, write_page=False)
        >>> "dense" in [row["label"] for row in comparison.rows]
        True
        >>> ccenv.compare(agent="reinforce", rewards=["potential", "negative_nll"],
        ...     cost_weights=[0.5, 1.0])
        Traceback (most recent call last):
        ValueError: expected rewards with a cost_weight, got 'negative_nll', whose arguments are: \
none; give it rows of its own in a sweep's file
    """
    if settings:
        name, value = next(iter(settings.items()))
        raise UnexpectedKeywordError(
            f"expected arguments of compare, got {name}={shown(value)}; a setting of runs is given "
            f"with their agent: agent=('rloo', {{{name!r}: {shown(value)}}}), or add=(...)"
        )
    check_trust(trust)
    if jobs is not None:
        positive_int(jobs, "jobs")
    if agent is not None or rewards or cost_weights:
        if sweep is not None or agent is None:
            raise ValueError(
                "expected a sweep, or an agent with rewards and cost_weights, got "
                + ("both" if agent is not None else "no agent")
            )
        sweep = shapings_of(agent, rewards, cost_weights, seeds)
    study = find_study("quickstart" if sweep is None else sweep, trust)
    asked = change(study.sweep if seeds is None else study.sweep.with_seeds(seeds))
    added = [] if add is None else additions(add)
    if added and record:
        raise ValueError("expected no added agents to be recorded with a sweep, got both")
    agents = [one for one in added if one.is_agent]
    judged, untold = judged_rows(asked, [one for one in added if one not in agents], trust)
    asked = with_added(asked, agents)
    check_run_count(asked.num_runs)
    all_jobs = make_jobs(asked, str(log_dir))
    folders = recorded.results_folders(results_dir, is_written=record)
    source, *others = [recording_of(asked, all_jobs, str(folder)) for folder in folders]
    # Read even where it is not used: what cannot be recorded later is refused before hours of runs.
    is_read = record or use_recorded
    read: dict[Key, dict[str, Any]] = {}
    for one in [*reversed(others), source] if is_read else []:
        read |= recorded.load_results(one, same_data=record)
    current = of_this_code(all_jobs, read) if use_recorded else {}
    gathered = gather(asked, all_jobs, current)
    old = outdated(gathered, all_jobs) if rerun else []
    todo = [*gathered.missing, *old]
    if shard is not None:
        number, todo = len(todo), shard.share(all_jobs, todo)
        say(f"shard {shard}: {len(todo)} of {number} runs to do are this machine's")
    failures: list[Outcome] = []

    def keep() -> None:
        if record:
            record_sweep(asked, all_jobs, source)

    if todo and run_missing_ones:
        from ccenv.runs.tensorboard.names import shared_settings

        shared = shared_settings(job.plan for job in all_jobs)
        # Other processes cannot import what a notebook or a script has defined.
        here = [job for job in todo if job.names_main]
        there = [job for job in todo if job not in here]
        for some, workers in ((there, num_cores() if jobs is None else jobs), (here, None)):
            if some:
                failures += run_missing(gathered, some, workers, not rerun, shared, keep)
        gathered = gather(asked, all_jobs, current)
    if gathered.finished:
        keep()
    gathered = gathered.with_rows(judged)
    page = Path(report_dir) / safe_name(asked.name) / PAGE
    lines = [*untold, *notes_on(gathered, all_jobs)]
    if use_recorded and (count := len(read) - len(current)):
        lines.append(f"{count} recorded results were not taken: they are of another {OLDER}")
    # The page looks for times, and points of other sweeps, where most of the rows are from.
    counts = read_from(gathered)
    most = Path(max(counts, key=counts.__getitem__, default=folders[0]))
    comparison = Comparison(gathered, page, study.sections, most, str(log_dir), failures, lines)
    if gathered.finished and write_page:
        comparison.write_page(board=run_missing_ones)
    return comparison


def notes_on(gathered: SweepRuns, jobs: Sequence[Job]) -> list[str]:
    """What is missing, where recorded rows come from, and what older code has made."""
    notes = []
    if gathered.missing:
        names = names_of(gathered.missing)
        notes.append(f"{len(gathered.missing)} runs have no result yet: {names}")
    if folders := read_from(gathered):
        counts = " and ".join(f"{folder} ({count})" for folder, count in folders.items())
        notes.append(f"recorded results were read from {counts}; --no-recorded runs them here")
    notes += unlike_the_packages(gathered, jobs)
    notes += [*other_data_lines(gathered), *origins(gathered)]
    if old := outdated(gathered, jobs):
        notes.append(
            f"{len(old)} results were made by older code of their {OLDER}; --rerun repeats them"
        )
    return notes


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
    gathered: SweepRuns,
    jobs: Sequence[Job],
    workers: int | None,
    reuse: bool,
    shared: frozenset[str],
    on_end: Callable[[], None],
) -> list["Outcome"]:
    """Says how long it will take, then runs jobs with a bar, and returns the failures.

    Without `workers` they run in this process.
    """
    sweep, at_once = gathered.sweep, min(workers or 1, len(jobs))
    minutes = 2 * sweep.minutes * len(jobs) / len(sweep.runs()) / at_once
    say(
        f"sweep {sweep.name!r}: {len(jobs)} of {gathered.num_runs} runs missing, about "
        f"{minutes:.1f} minutes with {at_once} at once, by the sweep's own estimate"
    )
    load_and_learn(jobs)
    from ccenv.runs.engine import pool
    from ccenv.runs.engine.pool import RunRequest

    tasks = [RunRequest(job.label, job.agent, job.settings, reuse, shared) for job in jobs]
    failures: list[Outcome] = []
    outcomes = pool.run_here(tasks) if workers is None else pool.run_all(tasks, workers)
    bar = tqdm(desc=sweep.name, total=len(tasks), unit="run", disable=None)
    with bar, closing(outcomes):
        for outcome in outcomes:
            label, seed = outcome.task.label, outcome.task.settings["seed"]
            bar.set_postfix_str(f"{label}, seed {seed}", refresh=False)
            bar.update()
            if outcome.error is not None:
                failures.append(outcome)
                # At once, too: a sweep may go on for hours.
                why = outcome.error.strip().splitlines()[-1]
                bar.write(f"failed: {label}, seed {seed}: {why}", file=sys.stderr)
            else:
                on_end()
    return failures
