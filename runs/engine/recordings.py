"""What is recorded of a sweep: which results are of this code; writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.earlier_settings import earlier_of
from ccenv.runs.config.plan import NO_SOURCE, Plan, code_digests, safe_name
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.engine.jobs import Job, names_of_code
from ccenv.runs.engine.sweep_runs import SweepRuns, gather
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import recorded
from ccenv.runs.store.identity import Key


def recorded_path(sweep: Sweep, results_dir: Path) -> Path:
    """Where a sweep's recorded results are."""
    return results_dir / f"{safe_name(sweep.name)}.json"


def recording_of(sweep: Sweep, jobs: Sequence[Job], results_dir: str) -> recorded.Source:
    """The sweep's file of recorded results."""
    plans: dict[str, list[Plan]] = {}
    for job in jobs:
        plans.setdefault(job.label, []).append(job.plan)
    return recorded.Source(recorded_path(sweep, Path(results_dir)), plans)


def of_this_code(jobs: Sequence[Job], results: Mapping[Key, Any]) -> dict[Key, dict[str, Any]]:
    """Recorded results without those of a user's code that is another one here.

    A `module:name` says nothing of what it stands for: another's agent may have the same.
    """
    here = {
        job.plan.key(): code_digests(job.plan)
        for job in jobs
        if job.plan.key() in results and any(":" in name for name in names_of_code(job.plan))
    }
    return {
        key: result
        for key, result in results.items()
        if key not in here or (result["code"] == here[key] and NO_SOURCE not in here[key].values())
    }


def outdated(comparison: SweepRuns, jobs: Sequence[Job]) -> list[Job]:
    """Jobs whose results come from another version of the agent's, reward's or network's file.

    Recorded results of ccenv's own agents are compared by `Earlier.version`: of their files
    often only texts and settings have changed since.
    """
    # Read once for all runs of an agent, for this answer alone: files may change until the next.
    here: dict[tuple[Any, ...], dict[str, str]] = {}
    done = {one.run: one for one in comparison.finished}
    older = []
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
            older.append(job)
    return older


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
