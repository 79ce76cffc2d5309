"""What stands in a recorded file: its JSON <-> results, one a cell, and the rows of its table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.store import json_file
from ccenv.runs.store.identity import Key, Run, as_stored, key_of, whole_config
from ccenv.runs.store.result_checks import check_result, edited
from ccenv.runs.store.seal import SEAL, check_seal, sealed

FORMAT = 2
"""Of the file; in the first one cells held a hash of all their settings."""
SHARED = {"versions": "versions", "machine": "machines"}
"""A result's part -> the list in the file that its number points into."""
IN_CURVES = ("images_seen", "error", "nll", "mean_return", "compute_cost", "total_cost", "density")
"""What is kept of a learning curve: for each name the values at all points."""

Result = dict[str, Any]


def read_cells(path: Path) -> list[Result]:
    """All results that a file holds, each with its settings in groups; none where there is no file.

    Raises:
        ValueError: if the file was edited by hand, or written by an older version.
    """
    return cells_of(json_file.check_json(path) if path.exists() else {}, path, {})


def cells_of(content: Any, path: Path, plans: Mapping[Key, Run]) -> list[Result]:
    """The same of a file that was parsed.

    Args:
        content: parsed JSON.
        path: where it is from, for messages.
        plans: results of these get the settings that the plan has here.
    """
    cells = content.get("cells", []) if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise ValueError(f"expected a comparison in {path}, got something else")
    head_of(content, path)
    if cells and content.get("format") != FORMAT:
        raise ValueError(
            f"expected recorded runs of format {FORMAT} in {path}, got {content.get('format', 1)}; "
            "record them again, or take the file from a later version"
        )
    places = (f"cell {n} of {path}" for n in range(len(cells)))
    return [read_cell(*pair, content, plans) for pair in zip(cells, places, strict=True)]


def read_table(path: Path) -> dict[str, Any]:
    """A recorded file as tables are made of it: its kind, its rows and what else is no cell.

    Raises:
        ValueError: if it is no such file, or was edited; files of earlier versions have no seal.
    """
    content = json_file.check_json(path)
    found = content if isinstance(content, dict) else {}
    if not isinstance(found.get("rows"), list) or not isinstance(found.get("kind"), str):
        raise edited(str(path), "a kind and its rows", type(content).__name__)
    return head_of(found, path)


def head_of(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """All of a recorded file but its cells, which have seals of their own.

    Raises:
        ValueError: if it is not as it was sealed.
    """
    head = {name: value for name, value in content.items() if name != "cells"}
    return dict(check_seal(head, str(path)))


def by_key(results: Iterable[Result]) -> dict[Key, Result]:
    """Results by the identity of their runs."""
    return {key_of(one["agent"], one["chosen"], one["seed"]): one for one in results}


def read_cell(
    cell: Any, where: str, content: Mapping[str, Any], plans: Mapping[Key, Run]
) -> Result:
    """A result as its run wrote it, with the settings that differ from the defaults as `chosen`.

    Raises:
        ValueError: if something is missing or cannot be.
    """
    check_seal(cell, where)
    try:
        shared = {part: content[name][cell[part]] for part, name in SHARED.items()}
        agent, chosen, seed = cell["agent"], cell["settings"], cell["seed"]
        plan = plans.get(key_of(agent, chosen, seed))
        settings = as_stored(plan.config()) if plan else whole_config(agent, chosen, seed)
        curve = points_of(cell.get("curve", {}))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise edited(where, "agent, settings, seed, versions and machine", repr(error)) from error
    return check_result(
        cell | shared | {"settings": settings, "chosen": chosen, "curve": curve}, where
    )


def is_comparison(path: Path) -> bool:
    """Whether a file of the results' folder holds recorded runs in today's form."""
    return holds_runs(json_file.check_json(path))


def holds_runs(content: Any) -> bool:
    """The same of a file that was parsed."""
    return isinstance(content, dict) and "cells" in content and content.get("format") == FORMAT


def compact(result: Mapping[str, Any], shared: Mapping[str, list[Any]]) -> dict[str, Any]:
    """A result without what can be looked up; adds to the shared lists what is new."""
    first = {name: result.get(name) for name in ("label", "agent", "seed", "settings")}
    left_out = ("folder", "curve", "chosen", SEAL)
    kept = first | {name: value for name, value in result.items() if name not in left_out}
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
    return kept


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
    head = json.dumps(sealed(json_file.finite(content)), indent=2, allow_nan=False)
    lines = (
        json.dumps(sealed(json_file.finite(cell)), allow_nan=False, separators=(",", ":"))
        for cell in cells
    )
    body = ",\n    ".join(lines)
    return f'{head[:-2]},\n  "cells": [\n    {body}\n  ]\n}}\n'
