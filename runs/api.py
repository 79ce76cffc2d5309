"""Trains, compares and loads from Python; the command line is a thin layer over it.

For example:

    run = ccenv.train("rloo", num_kept=2, images=20_000)
    runs = ccenv.train("reinforce", seeds=3, reward_kwargs={"cost_weight": 0.5})
    comparison = ccenv.compare("digits", add=MyAgent)
    again = ccenv.load(run.folder)
"""

import dataclasses
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, overload

from ccenv.base.registry import check_names
from ccenv.runs.config.agent_settings import find_agent
from ccenv.runs.config.plan import safe_name
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Cell, Sweep, check_number
from ccenv.runs.config.sweep_file import MOST_RUNS
from ccenv.runs.config.typed import Settings
from ccenv.runs.engine import jobs as sweep_jobs
from ccenv.runs.engine.machines.engines import HERE, LOCAL, open_engine
from ccenv.runs.engine.machines.pool import Outcome
from ccenv.runs.engine.run import OLDER, Options, run, warn_of_masks
from ccenv.runs.engine.run_jobs import run_missing, say
from ccenv.runs.engine.study import Section
from ccenv.runs.report.over_seeds import write_sweep
from ccenv.runs.report.publish import PAGE, publish
from ccenv.runs.stats.intervals import Interval, mean_interval, with_interval
from ccenv.runs.stats.measures import MODES, evaluation
from ccenv.runs.stats.verdict import ADDED, baseline_sentences
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import recorded
from ccenv.runs.store.untrusted_files import stored_result
from ccenv.runs.studies import find_study
from ccenv.runs.tables.short_table import short_table
from ccenv.runs.tables.sweep_table import markdown

LOGS, REPORTS = "runs/logs", "runs/reports"


def name_of_code(given: Any, kind: str) -> str:
    """A class or function as `module:name`; a name stays.

    Raises:
        ValueError: if it is neither, or is defined inside a function.
    """
    if isinstance(given, str):
        return given
    module, name = getattr(given, "__module__", None), getattr(given, "__qualname__", None)
    if not callable(given) or not module or not name or "<" in name:
        raise ValueError(
            f"expected {kind} as a name, 'module:name', or a class or function at the top of a "
            f"module, got {given!r}"
        )
    return f"{module}:{name}"


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with classes and functions as names, as plans and stored files hold them."""
    return {
        name: name_of_code(value, name) if callable(value) else value
        for name, value in settings.items()
    }


@dataclass(frozen=True, repr=False)
class Run:
    """One finished run, with its results on test inputs.

    >>> evaluation = {"split": "test", "mode": "sampled", "error": 0.05, "total_cost": 0.2}
    >>> Run({"agent": "rloo", "seed": 0, "evaluations": [evaluation]})
    Run(rloo, seed 0: test error 5.00 %, cost 0.200)
    """

    result: Mapping[str, Any]
    """what `result.json` holds."""

    @property
    def agent(self) -> str:
        """A name in `ccenv.agents.AGENTS` or `module:Class`."""
        return str(self.result["agent"])

    @property
    def seed(self) -> int:
        """Of the environment and of the agent."""
        return int(self.result["seed"])

    @property
    def folder(self) -> Path:
        """With settings, result, curves for TensorBoard and weights."""
        return Path(self.result["folder"])

    def judged(self, *, deterministic: bool = False) -> Mapping[str, Any]:
        """Error, nll, compute cost, MACs and densities on test inputs.

        Args:
            deterministic: of greedy masks instead of sampled ones.
        """
        return evaluation(self.result, "mode" if deterministic else "sampled")

    @property
    def error(self) -> float:
        """Share of wrong answers on test inputs, masks sampled."""
        return float(self.judged()["error"])

    @property
    def cost(self) -> float:
        """Executed MACs, the policy's own included, over the dense network's; masks sampled."""
        return float(self.judged()["total_cost"])

    def __repr__(self) -> str:
        return (
            f"Run({self.agent}, seed {self.seed}: test error {100 * self.error:.2f} %, "
            f"cost {self.cost:.3f})"
        )


class Runs(Sequence[Run]):
    """Finished runs, such as those of several seeds: a sequence of `Run`, with means.

    >>> def finished(seed, error):
    ...     evaluation = {"split": "test", "mode": "sampled", "error": error, "total_cost": 0.2}
    ...     return Run({"agent": "rloo", "seed": seed, "evaluations": [evaluation]})
    >>> runs = Runs([finished(0, 0.04), finished(1, 0.06)])
    >>> len(runs), round(runs.error.mean, 2)
    (2, 0.05)
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        """Takes runs in their order."""
        self.runs = tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        return Runs(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def error(self) -> Interval:
        """Test error with its 95 % interval over the runs."""
        return mean_interval([run.error for run in self.runs])

    @property
    def cost(self) -> Interval:
        """Cost, the policy's own included, with its 95 % interval over the runs."""
        return mean_interval([run.cost for run in self.runs])

    @property
    def table(self) -> str:
        """A line for each run, in Markdown."""
        columns = {"agent": "left", "seed": "right", "test error %": "right", "cost": "right"}
        lines = [
            [run.agent, str(run.seed), f"{100 * run.error:.2f}", f"{run.cost:.3f}"]
            for run in self.runs
        ]
        return markdown(columns, lines)

    def to_pandas(self) -> Any:
        """A data frame with a line for each run."""
        return frame(
            {"agent": one.agent, "seed": one.seed, "folder": str(one.folder), **one.judged()}
            for one in self.runs
        )

    def __repr__(self) -> str:
        agents = ", ".join(dict.fromkeys(run.agent for run in self.runs))
        error = with_interval(self.error, len(self.runs), ".2%")
        return f"Runs({agents}, {len(self.runs)} runs: test error {error} %)"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Results of a sweep: rows, verdict, table, plot and page.

    >>> import ccenv
    >>> comparison = ccenv.compare("digits", run_missing_ones=False, write_page=False)
    >>> comparison.results.name, "fixed_mask" in comparison.table
    ('digits', True)
    """

    results: sweep_jobs.Comparison
    """finished and missing runs."""
    page: Path
    """`index.html` of the report."""
    sections: Sequence[Section] = ()
    """what the sweep's study adds to the page."""
    results_dir: Path = recorded.IN_CHECKOUT
    """folder of recorded results."""
    log_dir: str = LOGS
    """folder of the runs."""
    failures: Sequence[Outcome] = ()
    """runs that failed, with their errors."""
    lines: Sequence[str] = ()
    """what else there is to know: what is missing, and where recorded rows come from."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each row: label, error, MACs and so on, with intervals over seeds."""
        return self.results.rows

    @property
    def verdict(self) -> str:
        """Two sentences for each data set, true whatever the rows are."""
        return " ".join(baseline_sentences(self.rows))

    @property
    def table(self) -> str:
        """At most ten rows, for a terminal."""
        return short_table(self.rows)

    def write_page(self) -> list[str]:
        """Writes the page, and means over seeds for TensorBoard; says where they are."""
        publish(self.results, self.page.parent, self.results_dir, self.sections)
        logs = "runs" if self.log_dir == LOGS else self.log_dir
        return [
            f"page: {self.page} (tables and plots in the same folder)",
            f"means over seeds: tensorboard --logdir {write_sweep(self.results, self.log_dir)}",
            f"curves: tensorboard --logdir {logs}",
        ]

    def plot(self) -> Any:
        """Error over MACs as a matplotlib figure, with the Pareto front."""
        from ccenv.runs.report.figures import front_figure

        return front_figure(self.results, self.results_dir)

    def to_pandas(self) -> Any:
        """A data frame with a line for each row; intervals in columns such as `error.low`."""
        flat = (
            {
                f"{name}.{part}" if part else name: number
                for name, value in row.items()
                for part, number in (
                    value.items() if isinstance(value, Mapping) else {"": value}.items()
                )
            }
            for row in self.rows
        )
        return frame(flat)

    def __repr__(self) -> str:
        finished, number = len(self.results.finished), self.results.num_runs
        return (
            f"Comparison({self.results.name}: {len(self.rows)} rows, {finished} of {number} runs "
            f"finished; {self.page})"
        )

    def _repr_html_(self) -> str:
        table = html.escape(short_table(self.rows, width=120))
        return f"<p>{html.escape(self.verdict)}</p><pre>{table}</pre>"


def frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pandas data frame.

    Raises:
        ImportError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"expected pandas for to_pandas(), got {error}; pip install pandas"
        ) from error
    return pandas.DataFrame(list(rows))


@overload
def train(
    agent: str | type,
    *,
    seeds: None = None,
    anew: bool = False,
    export: bool = False,
    **settings: Unpack[Settings],
) -> Run: ...
@overload
def train(
    agent: str | type,
    *,
    seeds: int | Sequence[int],
    anew: bool = False,
    export: bool = False,
    **settings: Unpack[Settings],
) -> Runs: ...
def train(
    agent: str | type,
    *,
    seeds: int | Sequence[int] | None = None,
    anew: bool = False,
    export: bool = False,
    **settings: Unpack[Settings],
) -> Run | Runs:
    """Trains an agent and evaluates it on test inputs; a finished run is read from its folder.

    Args:
        agent: a name in `ccenv.agents.AGENTS`, `module:Class`, or a class.
        seeds: a number N for seeds 0 to N - 1, or the seeds themselves; None for one run with
            `seed` (0 by default).
        anew: train even if the run is already finished.
        export: write policy and network to `checkpoint/classifier.safetensors`.
        **settings: settings of the run, the environment and the agent, as
            `ccenv train AGENT --help` lists them; `reward` and `network` may be functions or
            classes.

    Returns:
        A `Run`, or `Runs` if `seeds` is given.

    Raises:
        ValueError: if a setting is wrong or the log folder not writable; then nothing is written.

    Example:
        >>> import ccenv
        >>> ccenv.train("dense", dataset="synthetic", log_dir=getfixture("tmp_path").as_posix(),
        ...     latency=False, images=64, batch_size=32)
        Run(dense, seed 0: test error 0.00 %, cost 1.000)
    """
    plan = make_plan(name_of_code(agent, "an agent"), named(settings))
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    if numbers is not None and not len(numbers):
        raise ValueError(f"expected one seed at least, got seeds={seeds!r}")
    plans = [plan] if numbers is None else [plan.with_seed(seed) for seed in numbers]
    options = Options(resume=not anew, export=export)
    results = [
        Run({"folder": str(one.folder())} | run(one, reuse=not anew, options=options))
        for one in plans
    ]
    for one in results:
        warn_of_masks(one.result)
    return results[0] if numbers is None else Runs(results)


def load(folder: str | Path) -> Run | Runs:
    """Reads finished runs from a folder; executes no code that they name.

    Args:
        folder: a run's folder, or one that contains several.

    Returns:
        A `Run` for a run's own folder, else `Runs`.

    Raises:
        ValueError: if there is no finished run, or a result was edited by hand.

    Example:
        >>> import ccenv
        >>> ccenv.load("nowhere")
        Traceback (most recent call last):
        ValueError: expected finished runs in nowhere, got no such folder
    """
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"expected finished runs in {folder}, got no such folder")
    results = [
        Run(stored_result(found) | {"folder": str(found)})
        for found in run_folder.run_folders(place)
    ]
    return results[0] if [one.folder for one in results] == [place] else Runs(results)


def added_cell(added: Any) -> Cell:
    """A row for an agent: a name, a class, or (name or class, its settings)."""
    agent, settings = added if isinstance(added, tuple) else (added, {})
    name = name_of_code(agent, "an agent")
    find_agent(name)
    words = [f"{key}={value}" for key, value in settings.items()]
    return Cell(" ".join([f"{name.rpartition(':')[2]} {ADDED}", *words]), name, named(settings))


def with_added(sweep: Sweep, added: Any) -> Sweep:
    """A sweep with one row more for each agent."""
    agents = added if isinstance(added, list) else [added]
    cells = tuple(added_cell(one) for one in agents if one is not None)
    per_row = sweep.minutes / max(1, len(sweep.cells))
    minutes = sweep.minutes + per_row * len(cells)
    return dataclasses.replace(sweep, cells=sweep.cells + cells, minutes=minutes)


def compare(
    sweep: Any = "quickstart",
    *,
    add: Any = None,
    masks: str = "sampled",
    change: Callable[[Sweep], Sweep] = lambda sweep: sweep,
    jobs: int | None = None,
    use_recorded: bool = True,
    record: bool = False,
    run_missing_ones: bool = True,
    write_page: bool = True,
    rerun: bool = False,
    shard: sweep_jobs.Shard | None = None,
    engine: str = LOCAL,
    engine_options: Mapping[str, Any] | None = None,
    most_runs: int | None = MOST_RUNS,
    trust: Sequence[str] = (),
    log_dir: str | Path = LOGS,
    report_dir: str | Path = REPORTS,
    results_dir: str | Path | None = None,
) -> Comparison:
    """Runs what is missing of a sweep and compares its rows; recorded results are not repeated.

    Args:
        sweep: a name that `ccenv list sweeps` shows, a TOML file, or a `Sweep` or `Study`.
        add: an agent to add to the sweep's rows: a name, a class, a pair (name or class,
            settings), or a list of these.
        masks: "sampled", or "mode" for greedy masks.
        change: function from the sweep to the one that is run, for example with fewer seeds.
        jobs: number of parallel runs; by default the number of cores.
        use_recorded: False to run everything here.
        record: write `results_dir/<sweep>.json`, run by run.
        run_missing_ones: False to run nothing.
        write_page: False to leave the page to `Comparison.write_page`.
        rerun: repeat results of older code of their agent, reward or network.
        shard: a share of the runs, for several machines.
        engine: "local", "ray" or "slurm".
        engine_options: options of the engine.
        most_runs: largest number of runs that a sweep may have; None for any number.
        trust: your modules that a sweep's file may name.
        log_dir: folder of the runs.
        report_dir: folder of pages.
        results_dir: folder of recorded results; by default `runs/results` if it exists, else the
            package's.

    Raises:
        ValueError: if a name or setting is wrong, before anything runs.

    Example:
        >>> import ccenv
        >>> comparison = ccenv.compare("digits", run_missing_ones=False, write_page=False)
        >>> "dense" in [row["label"] for row in comparison.rows]
        True
    """
    check_names([masks], MODES, "kind of masks")
    study = find_study(sweep, trust, most_runs)
    asked = change(study.sweep)
    if add is not None:
        if record:
            raise ValueError("expected no added agents to be recorded with a sweep, got both")
        asked = with_added(asked, add)
    check_number(asked.num_runs, most_runs)
    all_jobs = sweep_jobs.make_jobs(asked, str(log_dir))
    results = recorded.results_folder(results_dir, is_written=record)
    source = sweep_jobs.source_of(asked, all_jobs, str(results))
    # Read even where it is not used: what cannot be recorded later is refused before hours of runs.
    # On the library of another Python the rows are run here, unless they are to be recorded.
    is_read = record or use_recorded
    known = recorded.load(source, other_texts=record) if is_read else {}
    known = known if use_recorded else {}
    gathered = sweep_jobs.gather(asked, all_jobs, known, masks)
    old = sweep_jobs.outdated(gathered, all_jobs) if rerun else []
    todo = [*gathered.missing, *old]
    if shard is not None:
        number, todo = len(todo), shard.share(all_jobs, todo)
        say(f"shard {shard}: {len(todo)} of {number} runs to do are this machine's")
    failures: list[Outcome] = []

    def keep() -> None:
        if record:
            sweep_jobs.record(asked, all_jobs, source, masks)

    if todo and run_missing_ones:
        with open_engine(engine, jobs, Path(log_dir), engine_options or {}) as opened:
            # Other processes cannot import what a notebook or a script has defined.
            here = [job for job in todo if job.agent.startswith("__main__:")]
            there = [job for job in todo if job not in here]
            for some, by in ((there, opened), (here, HERE)):
                if some:
                    failures += run_missing(gathered, some, by, not rerun, keep)
        gathered = sweep_jobs.gather(asked, all_jobs, known, masks)
    if gathered.finished:
        keep()
    added = frozenset(cell.label for cell in asked.cells) - {c.label for c in study.sweep.cells}
    gathered = dataclasses.replace(gathered, own=added if add is not None else frozenset())
    page = Path(report_dir) / safe_name(asked.name) / PAGE
    lines = notes_on(gathered, all_jobs)
    found = Comparison(gathered, page, study.sections, results, str(log_dir), failures, lines)
    if gathered.finished and write_page:
        found.write_page()
    return found


def notes_on(found: sweep_jobs.Comparison, jobs: Sequence[sweep_jobs.Job]) -> list[str]:
    """What is missing, where recorded rows come from, and what older code has made."""
    notes = []
    if found.missing:
        names = sweep_jobs.names_of(found.missing)
        notes.append(f"{len(found.missing)} runs have no result yet: {names}")
    notes += sweep_jobs.origins(found)
    if old := sweep_jobs.outdated(found, jobs):
        notes.append(
            f"{len(old)} results were made by older code of their {OLDER}; --rerun repeats them"
        )
    return notes
