"""Search by Optuna: (agent, what is kept, what is varied) -> trials in a journal, a Pareto front.

Error and total cost on validation images are two objectives: the answer is a Pareto front, no
winner. Any number of processes share one journal; it and the folders of the runs are all that is
needed to go on. The values of trial k depend only on k and on what the trials before it had given
when it began, and a trial whose process died keeps its number and its values: a search that was
killed tries what an undisturbed one tries.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from ccenv.base.seeding import stream_seed
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.space import OneOf, Space, Span, usual_value, with_values
from ccenv.runs.config.values import parse_value
from ccenv.runs.engine.errors import say
from ccenv.runs.engine.machines.engines import library
from ccenv.runs.engine.machines.pool import Outcome, Task, run_all, told_of
from ccenv.runs.engine.run import run
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.store.identity import Program, canonical
from ccenv.runs.store.provenance import machine, versions

KIND = "search"
"""Of its recorded results."""
JOURNAL, RUNS, PRESETS, LOCKS = "journal.log", "runs", "presets", "locks"
ABOUT, USUAL = "about", "defaults"
"""Names of what is noted with a study, and with its trial of the defaults."""
OBJECTIVES = ("error", "total_cost")


@dataclass(frozen=True)
class Search:
    """What is searched."""

    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    kept: dict[str, Any]
    """settings of all runs."""
    space: Space
    """settings that are varied."""
    num_seeds: int
    """runs of each trial, whose verdicts are averaged."""
    folder: Path
    """where journal, runs and presets lie."""
    trials: int
    """how many there shall be."""

    def about(self) -> str:
        """What must not change in between, as JSON."""
        space = {name: dataclasses.asdict(found) for name, found in self.space.items()}
        told = {"agent": self.agent, "kept": self.kept, "space": space, "seeds": self.num_seeds}
        return json.dumps(canonical(told), sort_keys=True)

    def settings(self, values: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """Settings of a run."""
        if wrong := [n for n in {**self.space, **values} if not self._is_searched(n, values)]:
            got = {name: values.get(name) for name in wrong}
            raise ValueError(
                f"expected values of the space that is searched in {self.folder / JOURNAL}, got "
                f"{got}; it was edited or damaged: give another --folder"
            )
        return with_values(self.kept, values) | {"seed": seed}

    def _is_searched(self, name: str, values: Mapping[str, Any]) -> bool:
        found, value = self.space.get(name), values.get(name)
        if isinstance(found, OneOf):
            return value in found.options
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return found is not None and is_number


@dataclass(frozen=True)
class Tried:
    """A finished trial."""

    number: int
    """in the journal."""
    error: float
    """share of wrong answers on validation images, masks sampled, mean over seeds."""
    total_cost: float
    """of the same, with the policy's own."""
    values: dict[str, Any]
    """of what is varied."""
    is_usual: bool
    """whether these are the defaults."""


def open_study(search: Search) -> Any:
    """Makes or reads a search's journal."""
    optuna = library("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    run_folder.check_unlinked(search.folder)
    search.folder.mkdir(parents=True, exist_ok=True)
    # A file that processes of several machines append to.
    journal = optuna.storages.journal.JournalFileBackend(str(search.folder / JOURNAL))
    with asking(search.folder):
        study = optuna.create_study(
            study_name="search",
            storage=optuna.storages.JournalStorage(journal),
            directions=["minimize"] * len(OBJECTIVES),
            load_if_exists=True,
        )
        known = study.user_attrs.get(ABOUT)
        if known is None:
            study.set_user_attr(ABOUT, search.about())
        elif known != search.about():
            raise ValueError(
                f"expected the settings of the search in {search.folder}, {known}, got "
                f"{search.about()}; give those, or another --folder"
            )
    return study


@contextmanager
def asking(folder: Path) -> Iterator[None]:
    """One process at a time looks at all trials and begins one."""
    (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCKS / "ask.lock"):
        yield


def usual_values(search: Search) -> dict[str, Any] | None:
    """The defaults of what is varied; None if one of them lies outside."""
    plan = make_plan(search.agent, search.kept)
    values: dict[str, Any] = {}
    for name, found in search.space.items():
        usual = usual_value(plan, name)
        if isinstance(found, OneOf):
            same = [option for option in found.options if parse_value(option) == usual]
            values[name] = same[0] if same else None
        elif isinstance(usual, int | float) and found.low <= usual <= found.high:
            values[name] = usual
        if values.get(name) is None:
            return None
    return values


def to_do(search: Search) -> tuple[int, int]:
    """How many trials lost their process, and how many have not begun."""
    study = open_study(search)
    with asking(search.folder):
        return len(interrupted(search, study)), num_missing(search, study)


def interrupted(search: Search, study: Any) -> list[Any]:
    """Trials whose process has died; to be called by who is asking."""
    state = library("optuna", "optuna").trial.TrialState
    running = study.get_trials(deepcopy=False, states=(state.RUNNING,))
    return [trial for trial in running if is_free(lock_of(search, trial.number))]


def lock_of(search: Search, number: int) -> FileLock:
    """Held by the process that works on a trial, freed when it dies."""
    return FileLock(search.folder / LOCKS / f"{number}.lock")


def is_free(lock: FileLock) -> bool:
    """Whether no process holds a lock."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def num_missing(search: Search, study: Any) -> int:
    """Trials that have not begun."""
    state = library("optuna", "optuna").trial.TrialState
    states = (state.COMPLETE, state.RUNNING)
    return search.trials - len(study.get_trials(deepcopy=False, states=states))


def one_trial(task: Task) -> Outcome:
    """A process's work: begins a trial, runs it, tells; nothing where others have begun the last.

    Settings that turn out impossible end their trial as failed, and the search goes on.
    """
    search: Search = task.settings["search"]
    study = open_study(search)
    with asking(search.folder):
        trial = next_trial(search, study)
        if trial is None:
            return Outcome(task, None)
        held = lock_of(search, trial.number).acquire()
    with held:
        try:
            study.tell(trial.number, objectives(search, trial.params))
        except Exception as error:
            study.tell(trial.number, state=library("optuna", "optuna").trial.TrialState.FAIL)
            return Outcome(task, f"{trial.params}\n{told_of(error)}")
    return Outcome(task, None)


def next_trial(search: Search, study: Any) -> Any:
    """A trial to work on: one whose process died, else a new one; None where none is missing."""
    if died := interrupted(search, study):
        return died[0]
    if num_missing(search, study) <= 0:
        return None
    trials = study.get_trials(deepcopy=False)
    words = library("optuna", "optuna").trial
    usual = None if trials else usual_values(search)
    # One line of the journal holds the whole trial: whoever dies leaves all of it or nothing.
    new = words.create_trial(
        state=words.TrialState.RUNNING,
        params=usual or proposed(search, trials),
        distributions=distributions(search.space),
        user_attrs={USUAL: True} if usual else {},
    )
    study.add_trial(new)
    return study.get_trials(deepcopy=False)[len(trials)]


def proposed(search: Search, trials: Sequence[Any]) -> dict[str, Any]:
    """Optuna's values for the trial after these.

    A new sampler proposes each trial, seeded by the trial's number: no state has to be kept.
    """
    optuna = library("optuna", "optuna")
    seed = stream_seed(0, f"search trial {len(trials)}") % 2**32
    state = optuna.trial.TrialState
    study = optuna.create_study(
        directions=["minimize"] * len(OBJECTIVES),
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    study.add_trials(one for one in trials if one.state in (state.COMPLETE, state.RUNNING))
    values: dict[str, Any] = study.ask(distributions(search.space)).params
    return values


def distributions(space: Space) -> dict[str, Any]:
    """What is varied in Optuna's words."""
    words = library("optuna", "optuna").distributions
    found: dict[str, Any] = {}
    for name, one in space.items():
        if not isinstance(one, Span):
            found[name] = words.CategoricalDistribution(one.options)
        elif one.is_whole:
            found[name] = words.IntDistribution(one.low, one.high, log=one.is_log)
        else:
            found[name] = words.FloatDistribution(one.low, one.high, log=one.is_log)
    return found


def objectives(search: Search, values: Mapping[str, Any]) -> list[float]:
    """Runs a trial and returns its objectives, means over its seeds."""
    found = objectives_by_seed(search, values, range(search.num_seeds))
    return [sum(column) / len(column) for column in zip(*found, strict=True)]


def objectives_by_seed(
    search: Search, values: Mapping[str, Any], seeds: Iterable[int]
) -> list[tuple[float, ...]]:
    """A run's objectives for each seed; figures on test images are not looked at."""
    found = []
    for seed in seeds:
        settings = search.settings(values, seed) | {"log_dir": str(search.folder / RUNS)}
        result = run(make_plan(search.agent, settings), reuse=True)
        found += [
            tuple(float(e[name]) for name in OBJECTIVES)
            for e in result["evaluations"]
            if e["split"] == "validation" and e["mode"] == "sampled"
        ]
    return found


def tried(search: Search) -> list[Tried]:
    """All finished trials."""
    study = open_study(search)
    state = library("optuna", "optuna").trial.TrialState
    return [
        Tried(t.number, error, cost, dict(t.params), t.user_attrs.get(USUAL, False))
        for t in study.get_trials(states=(state.COMPLETE,))
        for error, cost in [t.values]
    ]


def front_of(found: list[Tried]) -> list[Tried]:
    """Those that no other beats in one objective without losing in the other, by cost."""
    front: list[Tried] = []
    for one in sorted(found, key=lambda one: (one.total_cost, one.error)):
        if not front or one.error < front[-1].error:
            front.append(one)
    return front


def run_trials(search: Search, workers: int) -> list[Outcome]:
    """Runs what is missing, with a bar; returns the failures."""
    lost, unbegun = to_do(search)
    if lost:
        say(f"{lost} trials that were interrupted go on")
    missing = lost + max(unbegun, 0)
    if not missing:
        return []
    tasks = [
        Task(f"trial {n + 1} of {missing}", search.agent, {"search": search})
        for n in range(missing)
    ]
    failures = []
    outcomes = run_all(tasks, min(workers, missing), one_trial)
    with tqdm(total=missing, unit="trial", disable=None) as bar, closing(outcomes):
        for outcome in outcomes:
            bar.update()
            if outcome.error is not None:
                failures.append(outcome)
    return failures


def write_presets(search: Search, front: Sequence[Tried]) -> None:
    """Writes a file of settings for each trial of the Pareto front, and what they come from."""
    folder = search.folder / PRESETS
    names = {f"trial-{one.number}.json": one for one in front}
    for old in folder.glob("trial-*.json"):
        if old.name not in names:
            old.unlink()
    for name, one in names.items():
        # As `ccenv train` takes them, in the form of a run's `config.json`.
        settings = search.settings(one.values) | {"log_dir": Program().log_dir, "progress": False}
        json_file.write_json(folder / name, make_plan(search.agent, settings).config())
    told = {
        "search": json.loads(search.about()),
        "judged_on": "validation",
        "front": [dataclasses.asdict(one) for one in front],
        "versions": versions(),
    }
    json_file.write_json(search.folder / "search.json", told)


def record_of(search: Search, found: Sequence[Tried], count: int) -> dict[str, Any]:
    """The Pareto front and the defaults, run again with other seeds, and what they come from."""
    front = front_of(list(found))
    shown = [one for one in found if one.is_usual and one not in front] + front
    rows = []
    for one in shown:
        # With seeds that the search has not seen: the error by which a trial was chosen is the
        # least of many, and flatters it.
        seeds = range(search.num_seeds, search.num_seeds + count)
        anew = objectives_by_seed(search, one.values, seeds)
        rows.append(
            dataclasses.asdict(one) | {"on_front": one in front, "anew": [e for e, _ in anew]}
        )
    head = {"kind": KIND, "trials": len(found), "judged_on": "validation"}
    told = {"rows": rows, "search": json.loads(search.about())}
    return head | told | {"machine": machine(), "versions": versions()}
