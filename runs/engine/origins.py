"""Says where results of a sweep come from that were not made here, and how they differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.engine.jobs import Job
from ccenv.runs.engine.recordings import recording_of
from ccenv.runs.engine.sweep_runs import SHOWN, Finished, SweepRuns, names_of
from ccenv.runs.stats.measures import (
    method_of,
)
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.store import recorded
from ccenv.runs.store.provenance import data_checksum


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
    noted = recorded.load_results(source, same_data=False)
    other = [
        elsewhere[job.run]
        for job in asked
        if job.plan.key() in noted
        and recorded.said_of(noted[job.plan.key()]) != recorded.said_of(elsewhere[job.run].result)
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
