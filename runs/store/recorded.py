"""Results that last: finished runs -> runs/results/<sweep>.json -> finished runs elsewhere.

The file holds the table's rows, and one line for each run, a cell. A cell says itself what was run
(agent, seed, the settings that differ from the defaults, name and checksum of its data set), has a
checksum of its own, and points into the file's lists of versions and machines:

    import json, pathlib
    for path in pathlib.Path("runs/results").glob("*.json"):
        for cell in json.loads(path.read_text()).get("cells", []):
            test = cell["evaluations"][0]
            print(cell["agent"], cell["seed"], cell["settings"], test["error"])
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.data.text import is_of_this_machine
from ccenv.runs.store import json_file
from ccenv.runs.store.checksums import data_checksum
from ccenv.runs.store.identity import Key, Run
from ccenv.runs.store.recorded_cells import (
    FORMAT,
    SHARED,
    Result,
    by_key,
    cells_of,
    compact,
    holds_runs,
    one_line_each,
    read_cells,
)
from ccenv.runs.store.result_checks import edited
from ccenv.runs.store.uncollected import uncollected


@dataclass(frozen=True)
class Source:
    """Where recorded results come from and go to."""

    path: Path
    """the JSON file of a sweep."""
    plans: Mapping[str, Sequence[Run]]
    """label -> plans, one for each seed."""

    def by_key(self) -> dict[Key, Run]:
        """All plans."""
        return {plan.key(): plan for plans in self.plans.values() for plan in plans}


@uncollected()
def load(
    source: Source, *, beside_runs: bool = True, other_texts: bool = True
) -> dict[Key, Result]:
    """Recorded results of a sweep's plans.

    Args:
        source: the file, and the plans.
        beside_runs: they will stand beside runs on the data that are here, so these must be the
            same; False for what is made of recorded results alone.
        other_texts: False to leave out, instead of refusing, what was recorded on the library of
            another Python than the one that runs.

    Raises:
        ValueError: if the file was edited by hand, or recorded on other data than those here.
    """
    content = json_file.check_json(source.path) if source.path.exists() else {}
    asked = asked_of(content, source.path, source.by_key(), other_texts)
    if beside_runs:
        check_data(source.path, asked.values())
    return asked


def asked_of(
    content: Any, path: Path, plans: Mapping[Key, Run], other_texts: bool
) -> dict[Key, Result]:
    """Results of plans in a file that was parsed; see `load`."""
    found = by_key(cells_of(content, path, plans))
    return {
        key: result
        for key, result in found.items()
        if key in plans and (other_texts or not is_of_another_library(result))
    }


def is_of_another_library(result: Mapping[str, Any]) -> bool:
    """Whether a run was on Python's library, and that is another one here."""
    return any(
        is_of_this_machine(name) and data_checksum(name) != recorded
        for name, recorded in result.get("data", {}).items()
    )


@uncollected()
def load_from_all(source: Source, *, other_texts: bool = True) -> dict[Key, Result]:
    """Recorded results of a sweep's plans, also those that other sweeps of the folder recorded.

    Rows of two sweeps that agree in agent, settings and seed are one run.

    Args:
        source: see `load`.
        other_texts: see `load`.

    Raises:
        ValueError: as in `load`, for any of the files.
    """
    found: dict[Key, Result] = {}
    plans = source.by_key()
    for path in sorted(source.path.parent.glob("*.json")):
        content = json_file.check_json(path) if path != source.path else None
        if holds_runs(content):
            others = asked_of(content, path, plans, other_texts)
            check_data(path, others.values())
            found |= others
    return found | load(source, other_texts=other_texts)


def unasked(source: Source) -> list[Result]:
    """Recorded runs that are in none of the sweep's plans; they are kept in the file."""
    plans = source.by_key()
    return [result for key, result in by_key(read_cells(source.path)).items() if key not in plans]


def check_data(path: Path, results: Iterable[Mapping[str, Any]]) -> None:
    """Refuses results of other images; a data set that is not here cannot be compared.

    Args:
        path: of the file, for messages.
        results: of plans, whose settings they have: what a file calls data is followed only where
            the plan names the same data set.

    Raises:
        ValueError: naming the data set.
    """
    pairs = set()
    for result in results:
        own = result["settings"]["environment"]["dataset"]
        for dataset, recorded in result.get("data", {}).items():
            if dataset != own:
                raise edited(str(path), f"a checksum of {own!r}", dataset)
            pairs.add((dataset, recorded))
    for dataset, recorded in sorted(pairs):
        here = data_checksum(dataset)
        if here not in (None, recorded):
            raise ValueError(
                f"expected the data set {dataset!r} with checksum {recorded}, as the results in "
                f"{path} were recorded on, got {here}; use the same data, or --no-recorded with "
                "another --results-dir"
            )


def save(source: Source, head: Mapping[str, Any], results: Mapping[Key, Result]) -> None:
    """Writes results of a sweep's plans; a reader sees all of the file or none.

    Recorded runs that are in no plan are written after them.

    Args:
        source: the file, and the order of its lines.
        head: name, description, rows and the like.
        results: those that are finished.
    """
    shared: dict[str, list[Any]] = {name: [] for name in SHARED.values()}
    cells = [
        {**compact(results[plan.key()], shared), "label": label, "settings": plan.chosen()}
        for label, plans in source.plans.items()
        for plan in plans
        if plan.key() in results
    ]
    cells += [
        {**compact(result, shared), "settings": result["chosen"]} for result in unasked(source)
    ]
    seconds = round(sum(cell["total_seconds"] for cell in cells))
    content = {**head, "format": FORMAT, **shared, "seconds": seconds}
    json_file.write_text(source.path, one_line_each(content, cells))
