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

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from ccenv.base.files import SEAL, check_seal, edited, finite, sealed, write_whole
from ccenv.base.given_files import read_json
from ccenv.base.values import shown
from ccenv.runs.store.identity import Key, as_stored, key_of, whole_config
from ccenv.runs.store.provenance import data_checksum
from ccenv.runs.store.result_form import between, check_result

FORMAT = 2
"""Of the file; in the first one cells held a hash of all their settings."""
SHARED = {"versions": "versions", "machine": "machines"}
"""A result's part -> the list in the file that its number points into."""
IN_CURVES = ("images_seen", "error", "nll", "mean_return", "compute_cost", "total_cost", "density")
"""What is kept of a learning curve: for each name the values at all points."""
READ_FROM = "read_from"
"""Entry of a result that was read: folder of the file; not recorded again."""
ROUNDING = 1e-6
"""Relative: costs are MACs over the dense network's, rounded to float32 by some."""

Result = dict[str, Any]


def read_cells(path: Path) -> list[Result]:
    """All results that a file holds, each with its settings in groups; none without a file."""
    return cells_in_content(read_json(path) if path.exists() else {}, path, {})


def cells_in_content(
    content: Any, path: Path, plans: Mapping[Key, Any], *, asked_only: bool = False
) -> list[Result]:
    """The same of a file that was parsed; only runs of the plans, if these alone are asked for."""
    cells = content.get("cells", []) if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise ValueError(f"expected a comparison in {path}, got something else")
    head_of(content, path)
    if cells and content.get("format") != FORMAT:
        raise ValueError(
            f"expected recorded runs of format {FORMAT} in {path}, got {content.get('format', 1)}; "
            "record them again, or take the file from a later version"
        )
    return [
        read_cell(cell, f"cell {number} of {path}", content, plans)
        for number, cell in enumerate(cells)
        if not asked_only or may_be_asked(cell, plans)
    ]


def may_be_asked(cell: Any, plans: Mapping[Key, Any]) -> bool:
    """Whether a cell is a run of the plans; one that does not say which run it is, is looked at."""
    try:
        return key_of(cell["agent"], cell["settings"], cell["seed"]) in plans
    except (KeyError, TypeError, AttributeError, ValueError):
        return True


def read_table(path: Path) -> dict[str, Any]:
    """A recorded file as tables are made of it: its kind, its rows and what else is no cell."""
    content = read_json(path)
    table = content if isinstance(content, dict) else {}
    if not isinstance(table.get("rows"), list) or not isinstance(table.get("kind"), str):
        raise edited(str(path), "a kind and its rows", type(content).__name__)
    return head_of(table, path)


def head_of(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """All of a recorded file but its cells, which have seals of their own."""
    head = {name: value for name, value in content.items() if name != "cells"}
    return dict(check_seal(head, str(path)))


def said_of(result: Result) -> dict[str, Any]:
    """What a recorded result says of its run, wherever it was read and whatever its row is."""
    return {name: value for name, value in result.items() if name not in (READ_FROM, SEAL, "label")}


def by_key(results: Iterable[Result]) -> dict[Key, Result]:
    """Results by the identity of their runs."""
    return {key_of(one["agent"], one["chosen"], one["seed"]): one for one in results}


def read_cell(
    cell: Any, where: str, content: Mapping[str, Any], plans: Mapping[Key, Any]
) -> Result:
    """A result as its run wrote it, with the settings that differ from the defaults as `chosen`."""
    check_seal(cell, where)
    try:
        shared = {part: content[name][cell[part]] for part, name in SHARED.items()}
        agent, chosen, seed = cell["agent"], cell["settings"], cell["seed"]
        plan = plans.get(key_of(agent, chosen, seed))
        settings = as_stored(plan.config()) if plan else whole_config(agent, chosen, seed)
        curve = curve_points(cell.get("curve", {}))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise edited(where, "agent, settings, seed, versions and machine", repr(error)) from error
    whole = cell | shared | {"settings": settings, "chosen": chosen, "curve": curve}
    where = f"{where}, {shown(agent)} of seed {shown(seed)}"
    check_costs(check_result(whole, where), where)
    return whole


def check_costs(result: Result, where: str) -> None:
    """Refuses a result whose costs are not its MACs over the dense network's, or not their sum."""
    dense = result["dense_macs"]
    for one in result["evaluations"]:
        numbers = [one.get(name) for name in ("macs", "total_cost", "compute_cost", "policy_cost")]
        if not (all(between(number, 0, inf) for number in numbers) and dense > 0):
            raise edited(where, "MACs and costs of at least 0", (dense, *numbers))
        macs, cost, computed, policy = numbers
        for wanted, words in (
            (macs / dense, f"{macs:.10g} / {dense}"),
            (computed + policy, f"{computed:.7g} + {policy:.7g}"),
        ):
            # Written so that NaN is refused too.
            if not abs(cost - wanted) <= ROUNDING * max(1, cost):
                name = f"total_cost of the evaluation {one['split']}, {one['mode']}"
                raise edited(where, f"{name} of {words} = {wanted:.7g}", cost)


def holds_runs(content: Any) -> bool:
    """Whether parsed JSON of the results' folder holds recorded runs in today's form."""
    return isinstance(content, dict) and "cells" in content and content.get("format") == FORMAT


def without_known(result: Mapping[str, Any], shared: Mapping[str, list[Any]]) -> dict[str, Any]:
    """A result without what can be looked up; adds to the shared lists what is new."""
    first = {name: result.get(name) for name in ("label", "agent", "seed", "settings")}
    left_out = ("folder", "curve", "chosen", READ_FROM, SEAL)
    kept = first | {name: value for name, value in result.items() if name not in left_out}
    points = result.get("curve", [])
    kept["curve"] = {
        name: [to_five_digits(point[name]) for point in points]
        for name in IN_CURVES
        if all(name in point for point in points)
    }
    for part, name in SHARED.items():
        if result[part] not in shared[name]:
            shared[name].append(result[part])
        kept[part] = shared[name].index(result[part])
    return kept


def curve_points(curve: Any) -> list[dict[str, Any]]:
    """A recorded learning curve, point by point.

    >>> curve_points({"images_seen": [0, 256], "error": [0.9, 0.5]})
    [{'images_seen': 0, 'error': 0.9}, {'images_seen': 256, 'error': 0.5}]
    """
    if not isinstance(curve, Mapping):
        return list(curve)
    return [dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)]


def to_five_digits(value: Any) -> Any:
    """A number of a curve as it can be seen in a plot."""
    if isinstance(value, list):
        return [to_five_digits(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def one_line_each(content: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> str:
    """JSON whose cells stand on one line each, so that versions of the file can be compared."""
    head = json.dumps(sealed(finite(content)), indent=2, allow_nan=False)
    lines = (
        json.dumps(sealed(finite(cell)), allow_nan=False, separators=(",", ":")) for cell in cells
    )
    body = ",\n    ".join(lines)
    return f'{head[:-2]},\n  "cells": [\n    {body}\n  ]\n}}\n'


IN_CHECKOUT = Path("runs/results")
WITH_PACKAGE = Path(__file__).parents[1] / "results"
"""Of recorded results that are installed with the package."""


def results_folders(folder: str | Path | None, *, is_written: bool = False) -> list[Path]:
    """Where recorded results are: the folder given, or that of a checkout and then the package's.

    Args:
        folder: by the user; None for the others.
        is_written: whether results are to be recorded, which the package's folder is not for.

    Returns:
        Folders; a run is taken from the first that holds it.
    """
    if folder is not None:
        return [Path(folder)]
    if is_written or (IN_CHECKOUT.is_dir() and IN_CHECKOUT.samefile(WITH_PACKAGE)):
        return [IN_CHECKOUT]
    return [*([IN_CHECKOUT] if IN_CHECKOUT.is_dir() else []), WITH_PACKAGE]


@dataclass(frozen=True)
class Source:
    """Where recorded results come from and go to."""

    path: Path
    """the JSON file of a sweep."""
    plans: Mapping[str, Sequence[Any]]
    """label -> plans (`ccenv.runs.config.plan.Plan`), one for each seed."""

    def by_key(self) -> dict[Key, Any]:
        """All plans."""
        return {plan.key(): plan for plans in self.plans.values() for plan in plans}


def load_results(source: Source, *, same_data: bool = True) -> dict[Key, Result]:
    """Recorded results of a sweep's plans, also those that other sweeps of the folder recorded.

    Rows of two sweeps that agree in agent, settings and seed are one run.

    Args:
        source: the sweep's file, which goes before the others of its folder, and the plans.
        same_data: False to read, instead of refusing, what was recorded on other data than those
            here, such as the library of another Python.

    Raises:
        ValueError: if a file was edited by hand, or recorded on other data than those here.
    """
    recorded: dict[Key, Result] = {}
    plans = source.by_key()
    others = sorted({*source.path.parent.glob("*.json")} - {source.path}, reverse=True)
    for path in (*([source.path] if source.path.exists() else []), *others):
        if recorded.keys() == plans.keys():
            # A sweep that is recorded whole has no need of dozens of other files.
            break
        content = read_json(path)
        if path != source.path and not holds_runs(content):
            continue
        results = by_key(cells_in_content(content, path, plans, asked_only=True))
        asked = {key: result for key, result in results.items() if key in plans}
        check_data(path, asked.values(), same=same_data)
        folder = {READ_FROM: str(path.parent)}
        recorded = {key: result | folder for key, result in asked.items()} | recorded
    return recorded


def unasked(source: Source) -> list[Result]:
    """Recorded runs that are in none of the sweep's plans; they are kept in the file."""
    plans = source.by_key()
    return [result for key, result in by_key(read_cells(source.path)).items() if key not in plans]


def check_data(path: Path, results: Iterable[Mapping[str, Any]], *, same: bool = True) -> None:
    """Refuses results of other inputs; a data set that is not here cannot be compared.

    Args:
        path: of the file, for messages.
        results: of plans, whose settings they have: what a file calls data is followed only where
            the plan names the same data set.
        same: False to refuse those alone that call another data set theirs.
    """
    pairs = set()
    for result in results:
        name = result["settings"]["environment"]["dataset"]
        for dataset, recorded in result.get("data", {}).items():
            if dataset != name:
                raise edited(str(path), f"a checksum of {name!r}", dataset)
            pairs.add((dataset, recorded))
    for dataset, recorded in sorted(pairs) if same else []:
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
    """
    shared: dict[str, list[Any]] = {name: [] for name in SHARED.values()}
    cells = [
        {**without_known(results[plan.key()], shared), "label": label, "settings": plan.chosen()}
        for label, plans in source.plans.items()
        for plan in plans
        if plan.key() in results
    ]
    cells += [
        {**without_known(result, shared), "settings": result["chosen"]}
        for result in unasked(source)
    ]
    seconds = round(sum(cell["total_seconds"] for cell in cells))
    content = {**head, "format": FORMAT, **shared, "seconds": seconds}
    write_whole(source.path, one_line_each(content, cells))
