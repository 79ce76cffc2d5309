"""A sweep's runs: which are there, which are missing, how long those take, who runs which."""

import argparse
import dataclasses
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ccenv.base.earlier_settings import earlier_of
from ccenv.base.given_files import read_json
from ccenv.runs.config.plan import NO_SOURCE, OF_CODE, Plan, code_digests, safe_name
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.stats.measures import (
    GIVEN,
    MEASURES,
    MODES,
    OTHER_DATA,
    OWN,
    method_of,
    shown_masks,
)
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.stats.shapings import (
    Shapings,
    compare_shapings,
    compares_shapings,
    learned_rows,
    rewards_are_the_question,
    shaping_of,
    shaping_sentence,
)
from ccenv.runs.stats.verdict import baseline_sentences, crosses_shapings, first_names
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import recorded
from ccenv.runs.store.identity import Key
from ccenv.runs.store.provenance import data_checksum
from ccenv.runs.store.seal import check_result_of, check_seal
from ccenv.runs.tables.shapings import policies_above_random, shapings_table, summary_tables
from ccenv.runs.tables.sweep_table import Table

SHOWN = 8
"""Digits of a checksum that are shown."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    label: str
    """row that it belongs to."""
    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    settings: dict[str, Any]
    """as given."""
    plan: Plan
    """as resolved."""

    @property
    def run(self) -> tuple[str, int]:
        """Which one of its sweep: label and seed."""
        return self.label, self.plan.program.seed

    @property
    def names_main(self) -> bool:
        """Whether it needs code of the script that runs, which no other process can import."""
        return any(name.startswith("__main__:") for name in names_of_code(self.plan))


@dataclass(frozen=True)
class Finished:
    """A run's result and the row that it belongs to."""

    label: str
    """of the row."""
    result: dict[str, Any]
    """see `ccenv.runs.engine.run.execute`; with the run's folder where that is here."""
    recorded: bool = False
    """whether it was read from the recorded results instead of a run's folder."""

    @property
    def run(self) -> tuple[str, int]:
        """Which one of its sweep: label and seed."""
        return self.label, self.result["seed"]


@dataclass(frozen=True)
class SweepRuns:
    """A sweep's finished and missing runs; what is finished needs no plan."""

    sweep: Sweep
    """what was asked."""
    finished: tuple[Finished, ...]
    """runs with a result, in the sweep's order."""
    missing: tuple[Job, ...]
    """the others."""

    @functools.cached_property
    def draw(self) -> str:
        """Masks that agents are for: "sampled", "mode" (greedy), or "own" where they differ."""
        learned = [one.result for one in self.finished if one.result["learns"]]
        kinds = {shown_masks(result, OWN) for result in learned} - {GIVEN}
        return OWN if len(kinds) > 1 else next(iter(kinds), "sampled")

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.sweep.name

    @property
    def num_runs(self) -> int:
        """Finished and missing."""
        return len(self.finished) + len(self.missing)

    @functools.cached_property
    def results(self) -> dict[str, list[dict[str, Any]]]:
        """Label -> results by seed; labels in the sweep's order, those without any are empty.

        A result says what its row does: `method`, and whether it was `added`. Where rewards are
        compared, each is a method, with each agent if there are several. Runs on other data than
        the comparison's (see `data_compared`) are rows of their own, of a data set of its own.
        """
        found: dict[str, list[dict[str, Any]]] = {cell.label: [] for cell in self.sweep.cells}
        rows = {c.label: {"method": c.method, "added": c.added} for c in self.sweep.cells}
        compared = data_compared(self.finished)
        for one in self.finished:
            result, label = one.result | rows[one.label], one.label
            for name, checksum in one.result.get("data", {}).items():
                if checksum != compared[name]:
                    result[OTHER_DATA] = checksum[:SHOWN]
                    label = f"{one.label}, data {checksum[:SHOWN]}"
            found.setdefault(label, []).append(result)
        if rewards_are_the_question(found):
            is_one_agent = compares_shapings(found)
            labels = [label for label, _ in learned_rows(found)]
            for run in itertools.chain(*(found[label] for label in labels)):
                own = shaping_of(run)
                own = own if is_one_agent else f"{run['agent']} under {own}"
                run["method"] = run["method"] or own
        return found

    @functools.cached_property
    def shapings(self) -> list[Shapings]:
        """One agent's rewards at common costs, on each data set; none of other comparisons."""
        return compare_shapings(self.results, self.draw, MEASURES[self.sweep.measure])

    @functools.cached_property
    def shaping_tables(self) -> list[Table]:
        """Rewards compared, a table for each data set where an agent learned under several."""
        if shapings := self.shapings:
            return [shapings_table(one, len(shapings)) for one in shapings]
        return summary_tables(self.rows, policies_above_random(self.results, self.draw))

    def with_rows(self, rows: Sequence[tuple[Cell, Sequence[Finished]]]) -> "SweepRuns":
        """The same with rows of policies that were judged."""
        cells = tuple(cell for cell, _ in rows)
        sweep = dataclasses.replace(self.sweep, cells=self.sweep.cells + cells)
        finished = tuple(one for _, results in rows for one in results)
        return dataclasses.replace(self, sweep=sweep, finished=self.finished + finished)

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table."""
        return [asdict(row) for row in make_rows(self.results, self.draw)]

    @property
    def sentences(self) -> list[str]:
        """What is said of it: rewards compared, then policies and baselines."""
        shapings = self.shapings
        if crosses_shapings(self.rows):
            measure = MEASURES[self.sweep.measure]
            shapings = compare_shapings(self.results, self.draw, measure, pool=True)
        return [*map(shaping_sentence, shapings), *baseline_sentences(self.rows)]


def data_compared(finished: Iterable[Finished]) -> dict[str, str]:
    """Which version of each data set a comparison is of: name -> checksum.

    That of recorded runs, else that of most runs.
    """
    counts = Counter(
        (one.recorded, data) for one in finished for data in one.result.get("data", {}).items()
    )
    return dict(data for _, data in sorted(counts, key=lambda one: (one[0], counts[one])))


def make_jobs(sweep: Sweep, log_dir: str) -> list[Job]:
    """Resolves every run of a sweep."""
    counts = Counter(cell.label for cell in sweep.cells)
    twice = sorted(label for label, count in counts.items() if count > 1)
    if twice:
        raise ValueError(label_twice(sweep, twice[0]))
    plans: dict[str, Plan] = {}
    jobs = []
    for cell, given in sweep.runs():
        settings = {"log_dir": log_dir} | given
        if cell.masks not in ("", *MODES):
            raise ValueError(
                f"{cell.origin or cell.label}: expected masks of {' or '.join(MODES)} (greedy), "
                f"got {cell.masks!r}"
            )
        try:
            # Seeds of a row differ in nothing else.
            first = plans.get(cell.label)
            plan = first.with_seed(given["seed"]) if first else make_plan(cell.agent, settings)
        except ValueError as error:
            raise ValueError(f"{place_of(sweep, cell)}: {error}") from error
        plans.setdefault(cell.label, plan)
        jobs.append(Job(cell.label, cell.agent, settings, plan))
    return jobs


def place_of(sweep: Sweep, cell: Cell) -> str:
    """Where a cell whose settings are wrong stands; at settings of all rows if those are.

    Args:
        sweep: whose.
        cell: of it.
    """
    place = cell.origin or f"sweep {sweep.name!r}"
    try:
        make_plan(cell.agent, dict(cell.settings))
    except ValueError:
        return f"{place} ({cell.label})"
    return f"{place} ({cell.label}), by [settings] of all rows"


def label_twice(sweep: Sweep, label: str) -> str:
    """Says which rows have one label, and what would tell them apart."""
    one, other, *_ = (cell for cell in sweep.cells if cell.label == label)
    names = [*dict.fromkeys([*one.settings, *other.settings])]
    apart = [n for n in names if one.settings.get(n) != other.settings.get(n)]
    second = other.origin.rpartition(": ")[2]
    where = one.origin if one.origin == other.origin else f"{one.origin} and {second}"
    hint = f'; give label = "{one.agent} {{{apart[0]}}}"' if apart else "; leave one out"
    place = where or f"sweep {sweep.name!r}"
    return f"{place}: expected different labels, got {label!r} twice{hint}"


def recording_of(sweep: Sweep, jobs: Sequence[Job], results_dir: str) -> recorded.Source:
    """The sweep's file of recorded results."""
    plans: dict[str, list[Plan]] = {}
    for job in jobs:
        plans.setdefault(job.label, []).append(job.plan)
    return recorded.Source(recorded_path(sweep, Path(results_dir)), plans)


def recorded_path(sweep: Sweep, results_dir: Path) -> Path:
    """Where a sweep's recorded results are."""
    return results_dir / f"{safe_name(sweep.name)}.json"


def own_result(job: Job) -> dict[str, Any] | None:
    """The result in a run's folder, with that folder; None where there is none."""
    folder = job.plan.folder()
    path = folder / run_folder.RESULT
    if not path.exists():
        return None
    content = check_seal(read_json(path), str(path))
    return check_result_of(job.plan.program.seed, content, str(path)) | {"folder": str(folder)}


def gather(
    sweep: Sweep,
    jobs: Sequence[Job],
    known: Mapping[Key, dict[str, Any]],
) -> SweepRuns:
    """Looks what is there: a run's own folder first, then what was recorded.

    What was recorded on other data comes first: with it are compared the rows that have no folder.
    """
    finished, missing = [], []
    for job in jobs:
        own, noted = own_result(job), known.get(job.plan.key())
        if own is not None and (noted is None or own.get("data") == noted.get("data")):
            finished.append(Finished(job.label, own))
        elif noted is not None:
            finished.append(Finished(job.label, noted, recorded=True))
        else:
            missing.append(job)
    return SweepRuns(sweep, tuple(finished), tuple(missing))


def of_this_code(jobs: Sequence[Job], known: Mapping[Key, Any]) -> dict[Key, dict[str, Any]]:
    """Recorded results without those of a user's code that is another one here.

    A `module:name` says nothing of what it stands for: another's agent may have the same.
    """
    here = {
        job.plan.key(): code_digests(job.plan)
        for job in jobs
        if job.plan.key() in known and any(":" in name for name in names_of_code(job.plan))
    }
    return {
        key: result
        for key, result in known.items()
        if key not in here or (result["code"] == here[key] and NO_SOURCE not in here[key].values())
    }


def names_of_code(plan: Plan) -> tuple[str, ...]:
    """Agent, reward, network and observation by name."""
    return plan.agent, *(plan.environment[name] for name in OF_CODE)


def outdated(comparison: SweepRuns, jobs: Sequence[Job]) -> list[Job]:
    """Jobs whose results come from another version of the agent's, reward's or network's file.

    Recorded results of ccenv's own agents are compared by `Earlier.version`: of their files
    often only texts and settings have changed since.
    """
    # Read once for all runs of an agent, for this answer alone: files may change until the next.
    here: dict[tuple[Any, ...], dict[str, str]] = {}
    done = {one.run: one for one in comparison.finished}
    found = []
    for job in jobs:
        plan, one = job.plan, done.get(job.run)
        if one is None:
            continue
        names = names_of_code(plan)
        if names not in here:
            here[names] = code_digests(plan)
        is_ours = one.recorded and not any(":" in name for name in names)
        if is_ours:
            is_older = one.result.get("code_version", 1) != earlier_of(plan.agent_class).version
        else:
            is_older = one.result["code"] != here[names]
        if is_older:
            found.append(job)
    return found


def record_sweep(sweep: Sweep, jobs: Sequence[Job], source: recorded.Source) -> None:
    """Writes what README tables are made of and what another machine goes on from.

    Runs of the sweep that the file already holds are kept, so that several machines can share one.
    """
    with run_folder.locked(source.path, wait=True):
        whole = gather(sweep, jobs, recorded.load_results(source))
        recorded.check_data(source.path, [one.result for one in whole.finished])
        settings = {cell.label: {**sweep.settings, **cell.settings} for cell in sweep.cells}
        head = {
            "kind": "comparison",
            "name": sweep.name,
            "description": sweep.description,
            "seeds": list(sweep.seeds),
            "rows": [row | {"settings": settings[row["label"]]} for row in whole.rows],
        }
        keys = {job.run: job.plan.key() for job in jobs}
        recorded.save(source, head, {keys[one.run]: one.result for one in whole.finished})


def names_of(runs: Sequence[Job | Finished]) -> str:
    """A short list of labels with their seeds."""
    seeds: dict[str, list[str]] = {}
    for one in runs:
        label, seed = one.run
        seeds.setdefault(label, []).append(str(seed))
    return first_names([f"{label} (seeds {', '.join(found)})" for label, found in seeds.items()])


def read_from(comparison: SweepRuns) -> Counter[str]:
    """Folders of recorded results, and how many of the runs were read there."""
    return Counter(one.result[recorded.READ_FROM] for one in comparison.finished if one.recorded)


def unlike_the_packages(comparison: SweepRuns, jobs: Sequence[Job]) -> list[str]:
    """Which recorded runs are not as the package has the same runs: a line, or none."""
    package = recorded.WITH_PACKAGE
    elsewhere = {
        one.run: one
        for one in comparison.finished
        if one.recorded and Path(one.result[recorded.READ_FROM]).resolve() != package.resolve()
    }
    asked = [job for job in jobs if job.run in elsewhere]
    if not asked:
        return []
    source = recording_of(comparison.sweep, asked, str(package))
    known = recorded.load_results(source, same_data=False)
    other = [
        elsewhere[job.run]
        for job in asked
        if job.plan.key() in known
        and recorded.said_of(known[job.plan.key()]) != recorded.said_of(elsewhere[job.run].result)
    ]
    if not other:
        return []
    return [
        f"{len(other)} recorded results are not those that come with ccenv: {names_of(other)}; "
        "believe them if you or their author repeated these runs"
    ]


def other_data_lines(comparison: SweepRuns) -> list[str]:
    """Which recorded runs were on other data than those here, a line for each data set."""
    counts = Counter(
        data
        for one in comparison.finished
        if one.recorded
        for data in one.result.get("data", {}).items()
    )
    return [
        f"{number} of them are on another {name!r} (checksum {checksum[:SHOWN]}) than the one here "
        f"({here[:SHOWN]}): what runs here stands apart, on {name}+{here[:SHOWN]}"
        for (name, checksum), number in counts.items()
        if (here := data_checksum(name)) not in (None, checksum)
    ]


def origins(comparison: SweepRuns) -> list[str]:
    """Which runs were not made here, and on what machine they were."""
    origin: dict[str, list[Finished]] = {}
    for one in comparison.finished:
        if one.recorded:
            version = one.result["versions"].get("ccenv", "of an unknown version")
            machine = machine_name(one.result["machine"])
            # Older results have no date.
            when = [one.result["date"]] if "date" in one.result else []
            where = " ".join([*when, f"with ccenv {version} on {machine}"])
            origin.setdefault(where, []).append(one)
    row = {label: method_of(runs[0]) for label, runs in comparison.results.items() if runs}
    methods = {k: dict.fromkeys(row[one.label] for one in v) for k, v in origin.items()}
    return [
        f"{len(runs)} results recorded {where}: {first_names(list(methods[where]))}"
        for where, runs in origin.items()
    ]


def machine_name(machine: Mapping[str, Any]) -> str:
    """A machine's short description."""
    name = f"{machine.get('cpu', 'an unknown processor')}, {machine.get('cores', '?')} cores"
    return f"{name}, vectors of {machine['lanes']} floats" if "lanes" in machine else name


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of a sweep.

    A run's shard follows from its place in the sweep alone, not from what is missing: machines that
    look at different times never share a run, and together they run all.
    """

    number: int
    """from 1 on."""
    of: int
    """how many there are."""

    def share(self, jobs: Sequence[Job], todo: Iterable[Job]) -> list[Job]:
        """Those of `todo` that are this shard's.

        Neighbouring runs go to different shards: seeds of a row take equally long. Rows that are
        the same run under two names go to one shard.
        """
        keys = dict.fromkeys(job.plan.key() for job in jobs)
        own = {key for n, key in enumerate(keys) if n % self.of == self.number - 1}
        return [job for job in todo if job.plan.key() in own]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def read_shard(text: str) -> Shard:
    """Reads a shard of the command line.

    >>> read_shard("2/5")
    Shard(number=2, of=5)
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(
            f"expected i/n with i from 1 to n, as 2/5 for the second of five, got {text!r}"
        )
    return Shard(int(found[1]), int(found[2]))
