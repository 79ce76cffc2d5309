"""A sweep's runs: which are there, which are missing, and what they say together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runs import folder as run_folder
from runs.rows import make_rows
from runs.settings import Plan, code_digests, make_plan
from runs.sweeps import Sweep


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    label: str
    """row that it belongs to."""
    agent: str
    """a name in `agents.AGENTS` or `module:Class`."""
    settings: dict[str, Any]
    """as given."""
    plan: Plan
    """as resolved."""


def make_jobs(sweep: Sweep, log_dir: str) -> list[Job]:
    """Resolves every run of a sweep.

    Raises:
        ValueError: if a name or a setting is wrong, or two cells have one label.
    """
    labels = [cell.label for cell in sweep.cells]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"sweep {sweep.name!r}: expected different labels, got {twice[0]!r} twice")
    jobs = []
    for cell, given in sweep.runs():
        settings = {"log_dir": log_dir} | given
        try:
            jobs.append(Job(cell.label, cell.agent, settings, make_plan(cell.agent, settings)))
        except ValueError as error:
            raise ValueError(f"sweep {sweep.name!r}, cell {cell.label!r}: {error}") from error
    return jobs


def missing_jobs(jobs: Sequence[Job], rerun: bool) -> list[Job]:
    """Jobs without a result, or, with `rerun`, whose agent's or reward's file has changed since."""
    return [
        job
        for job in jobs
        if (found := run_folder.read_result(job.plan.folder())) is None
        or (rerun and found["code"] != code_digests(job.plan))
    ]


def num_outdated(jobs: Sequence[Job]) -> int:
    """How many results come from another version of the agent's, reward's or network's file."""
    results = ((job, run_folder.read_result(job.plan.folder())) for job in jobs)
    return sum(r is not None and r["code"] != code_digests(job.plan) for job, r in results)


def collect(jobs: Sequence[Job], masks: str) -> list[dict[str, Any]]:
    """Rows of the table, from the results alone; labels in the sweep's order."""
    results: dict[str, list[dict[str, Any]]] = {job.label: [] for job in jobs}
    for job in jobs:
        found = run_folder.read_result(job.plan.folder())
        if found is not None:
            results[job.label].append(found)
    return [asdict(row) for row in make_rows(results, masks)]


def record(sweep: Sweep, jobs: Sequence[Job], rows: list[dict[str, Any]], path: Path) -> None:
    """Writes what README tables are made of: rows, settings, versions and machines."""
    results = [r for job in jobs if (r := run_folder.read_result(job.plan.folder())) is not None]
    settings = {cell.label: {**sweep.settings, **cell.settings} for cell in sweep.cells}
    content = {
        "kind": "comparison",
        "name": sweep.name,
        "description": sweep.description,
        "seeds": list(sweep.seeds),
        "rows": [row | {"settings": settings[row["label"]]} for row in rows],
        "versions": distinct([r["versions"] for r in results]),
        "machines": distinct([r["machine"] for r in results]),
        "seconds": round(sum(r["total_seconds"] for r in results)),
    }
    run_folder.write_json(path, content)


def distinct(items: Sequence[Any]) -> list[Any]:
    """Each item once, in order."""
    return [item for index, item in enumerate(items) if item not in items[:index]]
