"""Trains, compares and loads; the command line is a thin layer over it.

For example:

    run = ccenv.train("rloo", num_kept=2, images=20_000)
    runs = ccenv.train("reinforce", seeds=3, reward_kwargs={"cost_weight": 0.5})
    comparison = ccenv.compare("digits", add=MyAgent)
    again = ccenv.load(run.folder)
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

from ccenv.base.annotations import checks_types
from ccenv.base.ranks import ALONE, OneProcess
from ccenv.base.registry import check_names
from ccenv.base.values import as_settings, positive_int, shown
from ccenv.runs.config.agent_settings import find_agent
from ccenv.runs.config.plan import Plan, safe_name
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Cell, Sweep, check_number
from ccenv.runs.config.sweep_file import MOST_RUNS
from ccenv.runs.config.typed import Settings
from ccenv.runs.engine import jobs as sweep_jobs
from ccenv.runs.engine.errors import CannotStartError
from ccenv.runs.engine.machines import LOCAL
from ccenv.runs.engine.machines.engines import HERE, open_engine
from ccenv.runs.engine.machines.pool import Outcome
from ccenv.runs.engine.run import OLDER, Options, run_by, warn_of_masks
from ccenv.runs.engine.run import export as export_run
from ccenv.runs.engine.run_jobs import run_missing, say
from ccenv.runs.replay.rebuilt import rebuild
from ccenv.runs.report.publish import PAGE
from ccenv.runs.results import Comparison, Run, Runs
from ccenv.runs.stats.measures import MODES
from ccenv.runs.store import LOGS, REPORTS, recorded
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import Key
from ccenv.runs.store.untrusted_files import EXPORTED, stored_result
from ccenv.runs.studies import find_study
from ccenv.runs.tensorboard.mirror import mirrored


def name_of_code(given: Any, kind: str) -> str:
    """A class or function as `module:name`; a name stays.

    Raises:
        ValueError: if it is neither, or is defined inside a function.
    """
    if isinstance(given, str):
        return given
    module, name = getattr(given, "__module__", None), getattr(given, "__qualname__", None)
    if not callable(given) or not module or not name or "<" in name:
        is_made = kind == "network" and not isinstance(given, type)
        instead = (
            "; give a function that builds it, which may call ccenv.gate, or take the object to "
            "ccenv.BlockSelectionVectorEnv(num_envs, network=...) and an agent's learn"
        )
        raise ValueError(
            f"expected {kind} as a name, 'module:name', or a class or function at the top of a "
            f"module, got {shown(given)}{instead if is_made else ''}"
        )
    return f"{module}:{name}"


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with classes and functions as names, as plans and stored files hold them."""
    return {
        name: name_of_code(value, name) if callable(value) else value
        for name, value in settings.items()
    }


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
@checks_types
def train(
    agent: Any,
    *,
    seeds: int | Sequence[int] | None = None,
    anew: bool = False,
    export: bool = False,
    **settings: Unpack[Settings],
) -> Run | Runs:
    """Trains an agent and evaluates it on test inputs; a finished run is read from its folder.

    An interrupted run of the same settings is resumed.

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
        BlockingIOError: if another process trains the same run.
        StoppedError: if training ends without a result, such as by numbers that are not finite.

    Example:
        >>> import ccenv
        >>> ccenv.train("dense", dataset="synthetic", log_dir=getfixture("tmp_path").as_posix(),
        ...     latency=False, images=64, batch_size=32)
        Run(dense, seed 0: test error 0.00 %, cost 1.000)
    """
    plan = make_plan(name_of_code(agent, "an agent"), named(settings))
    numbers = range(positive_int(seeds, "seeds")) if isinstance(seeds, int) else seeds
    if numbers is not None and not len(numbers):
        raise ValueError(f"expected one seed at least, got seeds={seeds!r}")
    plans = [plan] if numbers is None else [plan.with_seed(seed) for seed in numbers]
    options = Options(resume=not anew, export=export)
    runs = Runs(run for run in (train_plan(one, options) for one in plans) if run is not None)
    return runs[0] if numbers is None else runs


def train_plan(
    plan: Plan, options: Options, ranks: OneProcess = ALONE, track: str | None = None
) -> Run | None:
    """Trains by a plan, or takes the finished run of its folder and says so.

    Args:
        plan: agent, settings and seed.
        options: how; without `resume` a finished run is trained again, too.
        ranks: processes that train it together.
        track: a service that gets the curves, too; see `ccenv.runs.tensorboard.mirror`.

    Returns:
        The run, None on ranks that follow.

    Raises:
        CannotStartError: before anything is written, if the plan cannot be carried out.
        BlockingIOError: if another process trains it.
        StoppedError: if training ends without a result.
    """
    with mirrored(track if ranks.leads else None, plan):
        result = run_by(ranks, plan, wait=False, reuse=options.resume, options=options)
    if result is None:
        return None
    folder = plan.folder()
    if "folder" not in result:
        say(f"finished already: the result of {folder}; `--anew` (`anew=True`) trains it again")
        if options.export:
            export_finished(plan)
    warn_of_masks(result)
    return Run({"folder": str(folder)} | result)


def export_finished(plan: Plan) -> None:
    """Leaves policy and network of a finished run as one file, if it has none yet."""
    folder = plan.folder()
    if (folder / run_folder.CHECKPOINT / EXPORTED).exists():
        return
    try:
        rebuilt = rebuild(plan, folder)
    except ValueError as error:
        raise CannotStartError(str(error)) from error
    if not rebuilt.is_restored:
        raise CannotStartError(
            f"expected a policy that the files of {folder} give back, got {plan.agent}, which "
            "keeps what it learned elsewhere; `--anew` (`anew=True`) trains it again and exports it"
        )
    export_run(plan, rebuilt.agent, folder)


@checks_types
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
    agent, settings = (*added, {})[:2] if isinstance(added, tuple) and added else (added, {})
    settings = as_settings(settings, "the settings of an added agent")
    name = name_of_code(agent, "an agent")
    find_agent(name)
    words = [f"{key}={value}" for key, value in settings.items()]
    label = " ".join([f"{name.rpartition(':')[2]} (added)", *words])
    return Cell(label, name, named(settings), method=label, added=True)


def with_added(sweep: Sweep, added: Any) -> Sweep:
    """A sweep with one row more for each agent."""
    agents = added if isinstance(added, list) else [added]
    cells = tuple(added_cell(one) for one in agents if one is not None)
    per_row = sweep.minutes / max(1, len(sweep.cells))
    minutes = sweep.minutes + per_row * len(cells)
    return dataclasses.replace(sweep, cells=sweep.cells + cells, minutes=minutes)


@checks_types
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
        results_dir: folder of recorded results; by default `runs/results`, and the package's for
            what is not there.

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
    folders = recorded.results_folders(results_dir, is_written=record)
    source, *others = [sweep_jobs.source_of(asked, all_jobs, str(folder)) for folder in folders]
    # Read even where it is not used: what cannot be recorded later is refused before hours of runs.
    # On the library of another Python the rows are run here, unless they are to be recorded.
    is_read = record or use_recorded
    read: dict[Key, dict[str, Any]] = {}
    for one in [*reversed(others), source] if is_read else []:
        read |= recorded.load(one, other_texts=record)
    known = sweep_jobs.of_this_code(all_jobs, read) if use_recorded else {}
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
    page = Path(report_dir) / safe_name(asked.name) / PAGE
    lines = notes_on(gathered, all_jobs)
    if use_recorded and (count := len(read) - len(known)):
        lines.append(f"{count} recorded results were not taken: they are of another {OLDER}")
    # The page looks for times, and points of other sweeps, where most of the rows are from.
    counts = sweep_jobs.read_from(gathered)
    most = Path(max(counts, key=counts.__getitem__, default=folders[0]))
    found = Comparison(gathered, page, study.sections, most, str(log_dir), failures, lines)
    if gathered.finished and write_page:
        found.write_page()
    return found


def notes_on(found: sweep_jobs.Comparison, jobs: Sequence[sweep_jobs.Job]) -> list[str]:
    """What is missing, where recorded rows come from, and what older code has made."""
    notes = []
    if found.missing:
        names = sweep_jobs.names_of(found.missing)
        notes.append(f"{len(found.missing)} runs have no result yet: {names}")
    if folders := sweep_jobs.read_from(found):
        counts = " and ".join(f"{folder} ({count})" for folder, count in folders.items())
        notes.append(f"recorded results were read from {counts}; --no-recorded runs them here")
    notes += sweep_jobs.origins(found)
    if old := sweep_jobs.outdated(found, jobs):
        notes.append(
            f"{len(old)} results were made by older code of their {OLDER}; --rerun repeats them"
        )
    return notes
