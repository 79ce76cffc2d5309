"""Results that last: finished runs -> runs/results/<sweep>.json -> finished runs elsewhere.

The file holds the table's rows, and one line for each run: its result without what the sweep
itself says (settings) and without what all runs share (versions, machines).
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.data import SPLITS, load_split
from runs import folder as run_folder
from runs.result_checks import check_result
from runs.settings import Plan

Key = tuple[str, str, int]
"""Agent, hash of the settings, seed."""
SHARED = {"versions": "versions", "machine": "machines"}
"""A result's part -> the list in the file that its number points into."""
IN_CURVES = ("images_seen", "error", "nll", "mean_return", "compute_cost", "total_cost", "density")
"""What is kept of a learning curve: for each name the values at all points."""


@dataclass(frozen=True)
class Source:
    """Where recorded results come from and go to."""

    path: Path
    """the JSON file of a sweep."""
    plans: Mapping[str, Sequence[Plan]]
    """label -> plans, one for each seed."""

    def datasets(self) -> list[str]:
        """Names of the data sets of all plans."""
        found = [p.environment["dataset"] for plans in self.plans.values() for p in plans]
        return list(dict.fromkeys(found))


def key_of(plan: Plan) -> Key:
    """What tells a run from all others."""
    return plan.agent, plan.fingerprint(), plan.program.seed


@functools.lru_cache(maxsize=16)
def data_checksum(dataset: str) -> str | None:
    """SHA-256 of all images and labels (its start); None where the data set is not here."""
    digest = hashlib.sha256()
    try:
        for name in SPLITS:
            split = load_split(dataset, name)
            for tensor in split.tensors():
                digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().data)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()[:24]


def load(source: Source, *, beside_runs: bool = True) -> dict[Key, dict[str, Any]]:
    """Recorded results of a sweep's plans; none of runs whose settings have changed since.

    Args:
        source: the file, and the plans.
        beside_runs: they will stand beside runs on the data that are here, so these must be the
            same; False for what is made of recorded results alone.

    Raises:
        ValueError: if the file was edited by hand, or recorded on other data than those here.
    """
    if not source.path.exists():
        return {}
    content = run_folder.check_json(source.path)
    cells = content.get("cells", []) if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise ValueError(f"expected a comparison in {source.path}, got something else")
    if cells and beside_runs:
        check_data(source, content.get("data", {}))
    plans = {key_of(plan): plan for plans in source.plans.values() for plan in plans}
    found = {}
    for number, cell in enumerate(cells):
        where = f"cell {number} of {source.path}"
        try:
            key = (cell["agent"], cell["settings"], cell["seed"])
            shared = {part: content[name][cell[part]] for part, name in SHARED.items()}
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"{where}: expected agent, settings, seed, versions and machine, got none of "
                f"{error}; put the file back as it was, or delete it"
            ) from error
        if key in plans:
            settings = json.loads(json.dumps(plans[key].config()))
            whole = {"settings": settings, "curve": points_of(cell.get("curve", {}))}
            found[key] = check_result(cell | shared | whole, where)
    return found


def load_from_all(source: Source) -> dict[Key, dict[str, Any]]:
    """Recorded results of a sweep's plans, also those that other sweeps of the folder recorded.

    Rows of two sweeps that agree in agent, settings and seed are one run.

    Raises:
        ValueError: as in `load`, for any of the files.
    """
    found: dict[Key, dict[str, Any]] = {}
    plans = {key_of(plan): plan for plans in source.plans.values() for plan in plans}
    for path in sorted(source.path.parent.glob("*.json")):
        if path != source.path:
            shared = [plans[key] for key in keys_in(path) if key in plans]
            if shared:
                found |= load(Source(path, {source.path.stem: shared}))
    return found | load(source)


def keys_in(path: Path) -> list[Key]:
    """The runs that a file holds; none if it is of another kind, or of an old form."""
    content = run_folder.check_json(path)
    cells = content.get("cells") if isinstance(content, dict) else None
    return [
        (cell["agent"], cell["settings"], cell["seed"])
        for cell in (cells if isinstance(cells, list) else [])
        if isinstance(cell, dict) and {"agent", "settings", "seed"} <= cell.keys()
    ]


def check_data(source: Source, recorded: Mapping[str, str]) -> None:
    """Refuses results of other images; a data set that is not here cannot be compared.

    Raises:
        ValueError: naming the data set.
    """
    for dataset in source.datasets():
        here = data_checksum(dataset)
        if dataset in recorded and here is not None and here != recorded[dataset]:
            raise ValueError(
                f"expected the data set {dataset!r} with checksum {recorded[dataset]}, as the "
                f"results in {source.path} were recorded on, got {here}; use the same data, or "
                "--no-recorded with another --results-dir"
            )


def checksums(source: Source) -> dict[str, str]:
    """Checksums of a sweep's data sets; of one that is not here the recorded one, where known."""
    earlier = run_folder.check_json(source.path) if source.path.exists() else {}
    recorded = earlier.get("data", {})
    known = {name: data_checksum(name) or recorded.get(name) for name in source.datasets()}
    return {name: checksum for name, checksum in known.items() if checksum is not None}


def save(
    source: Source,
    head: Mapping[str, Any],
    results: Mapping[Key, Mapping[str, Any]],
) -> None:
    """Writes results of a sweep's plans; a reader sees all of the file or none.

    Args:
        source: the file, and the order of its lines.
        head: name, description, rows and the like.
        results: those that are finished.
    """
    shared: dict[str, list[Any]] = {name: [] for name in SHARED.values()}
    cells = []
    for label, plans in source.plans.items():
        for key in map(key_of, plans):
            if key in results:
                cells.append({"label": label, **compact(results[key], key, shared)})
    content = {
        **head,
        **shared,
        "seconds": round(sum(cell["total_seconds"] for cell in cells)),
        "data": checksums(source),
    }
    run_folder.write_text(source.path, one_line_each(content, cells))


def compact(result: Mapping[str, Any], key: Key, shared: Mapping[str, list[Any]]) -> dict[str, Any]:
    """A result without what can be looked up; adds to the shared lists what is new."""
    left_out = ("label", "folder", "curve")
    kept = {name: value for name, value in result.items() if name not in left_out}
    points = result.get("curve", [])
    kept["curve"] = {
        name: [rounded(point[name]) for point in points]
        for name in IN_CURVES
        if all(name in point for point in points)
    }
    for part, name in SHARED.items():
        if result[part] not in shared[name]:
            shared[name].append(result[part])
        kept[part] = shared[name].index(result[part])
    return kept | {"settings": key[1]}


def points_of(curve: Any) -> list[dict[str, Any]]:
    """A recorded learning curve, point by point.

    >>> points_of({"images_seen": [0, 256], "error": [0.9, 0.5]})
    [{'images_seen': 0, 'error': 0.9}, {'images_seen': 256, 'error': 0.5}]
    """
    if not isinstance(curve, Mapping):
        return list(curve)
    return [dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)]


def rounded(value: Any) -> Any:
    """A number of a curve as it can be seen in a plot."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def one_line_each(content: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> str:
    """JSON whose cells stand on one line each, so that versions of the file can be compared."""
    head = json.dumps(run_folder.finite(content), indent=2, allow_nan=False)
    lines = (
        json.dumps(run_folder.finite(cell), allow_nan=False, separators=(",", ":"))
        for cell in cells
    )
    body = ",\n    ".join(lines)
    return f'{head[:-2]},\n  "cells": [\n    {body}\n  ]\n}}\n'
