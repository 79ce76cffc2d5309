"""A sweep as far as it has come: jobs and results -> finished and missing runs, rows, sentences."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ccenv.base.files import check_seal
from ccenv.base.given_files import read_json
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import Job
from ccenv.runs.stats.measures import (
    MEASURES,
    OTHER_DATA,
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
from ccenv.runs.store.identity import Key
from ccenv.runs.store.result_form import check_result_of
from ccenv.runs.tables.shapings import policies_above_random, shapings_table, summary_tables
from ccenv.runs.tables.sweep_table import Table

SHOWN = 8
"""Digits of a checksum that are shown."""


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
    def deterministic(self) -> bool | None:
        """Masks that agents are for: True for greedy, False for sampled; None where they differ."""
        learned = [one.result for one in self.finished if one.result["learns"]]
        kinds = {shown_masks(result, None) for result in learned} - {None}
        return None if len(kinds) > 1 else next(iter(kinds), False)

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
        results: dict[str, list[dict[str, Any]]] = {cell.label: [] for cell in self.sweep.cells}
        rows = {c.label: {"method": c.method, "added": c.added} for c in self.sweep.cells}
        compared = data_compared(self.finished)
        for one in self.finished:
            result, label = one.result | rows[one.label], one.label
            for name, checksum in one.result.get("data", {}).items():
                if checksum != compared[name]:
                    result[OTHER_DATA] = checksum[:SHOWN]
                    label = f"{one.label}, data {checksum[:SHOWN]}"
            results.setdefault(label, []).append(result)
        if rewards_are_the_question(results):
            is_one_agent = compares_shapings(results)
            labels = [label for label, _ in learned_rows(results)]
            for run in itertools.chain(*(results[label] for label in labels)):
                shaping = shaping_of(run)
                method = shaping if is_one_agent else f"{run['agent']} under {shaping}"
                run["method"] = run["method"] or method
        return results

    @functools.cached_property
    def shapings(self) -> list[Shapings]:
        """One agent's rewards at common costs, on each data set; none of other comparisons."""
        return compare_shapings(self.results, self.deterministic, MEASURES[self.sweep.measure])

    @functools.cached_property
    def shaping_tables(self) -> list[Table]:
        """Rewards compared, a table for each data set where an agent learned under several."""
        if shapings := self.shapings:
            return [shapings_table(one, len(shapings)) for one in shapings]
        return summary_tables(self.rows, policies_above_random(self.results, self.deterministic))

    def with_rows(self, rows: Sequence[tuple[Cell, Sequence[Finished]]]) -> "SweepRuns":
        """The same with rows of policies that were judged."""
        cells = tuple(cell for cell, _ in rows)
        sweep = dataclasses.replace(self.sweep, cells=self.sweep.cells + cells)
        finished = tuple(one for _, results in rows for one in results)
        return dataclasses.replace(self, sweep=sweep, finished=self.finished + finished)

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table."""
        return [asdict(row) for row in make_rows(self.results, self.deterministic)]

    @property
    def sentences(self) -> list[str]:
        """What is said of it: rewards compared, then policies and baselines."""
        shapings = self.shapings
        if crosses_shapings(self.rows):
            measure = MEASURES[self.sweep.measure]
            shapings = compare_shapings(self.results, self.deterministic, measure, pool=True)
        return [*map(shaping_sentence, shapings), *baseline_sentences(self.rows)]


def data_compared(finished: Iterable[Finished]) -> dict[str, str]:
    """Which version of each data set a comparison is of: name -> checksum.

    That of recorded runs, else that of most runs.
    """
    counts = Counter(
        (one.recorded, data) for one in finished for data in one.result.get("data", {}).items()
    )
    return dict(data for _, data in sorted(counts, key=lambda one: (one[0], counts[one])))


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
    recorded: Mapping[Key, dict[str, Any]],
) -> SweepRuns:
    """Looks what is there: a run's own folder first, then what was recorded.

    What was recorded on other data comes first: with it are compared the rows that have no folder.
    """
    finished, missing = [], []
    for job in jobs:
        made, noted = own_result(job), recorded.get(job.plan.key())
        if made is not None and (noted is None or made.get("data") == noted.get("data")):
            finished.append(Finished(job.label, made))
        elif noted is not None:
            finished.append(Finished(job.label, noted, recorded=True))
        else:
            missing.append(job)
    return SweepRuns(sweep, tuple(finished), tuple(missing))


def names_of(runs: Sequence[Job | Finished]) -> str:
    """A short list of labels with their seeds."""
    seeds: dict[str, list[str]] = {}
    for one in runs:
        label, seed = one.run
        seeds.setdefault(label, []).append(str(seed))
    return first_names(
        [f"{label} (seeds {', '.join(numbers)})" for label, numbers in seeds.items()]
    )
