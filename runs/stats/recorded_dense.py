"""Dense networks that the equal-cost sweeps recorded: (data sets, folder of results) -> points."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ccenv.runs.stats.points import Point, make_point
from ccenv.runs.store.recorded_cells import read_cells


def borrowed(datasets: Iterable[str], results_dir: Path, own: str) -> dict[str, list[Point]]:
    """Data set -> dense rows of its equal-cost sweep, as far as that has come.

    Args:
        datasets: names by `rows.dataset_of`; transforms are left out of a sweep's name.
        results_dir: folder of recorded results.
        own: name of the sweep that is reported, whose dense rows are no other's.

    Raises:
        ValueError: if a file was edited by hand.
    """
    found = {}
    for dataset in dict.fromkeys(datasets):
        name = f"equal-cost-{dataset.partition('+')[0]}"
        path = results_dir / f"{name}.json"
        if name != own and path.exists():
            found[dataset] = recorded_dense(path)
    return found


def recorded_dense(path: Path) -> list[Point]:
    """Dense rows of one file, without times: those of two sweeps do not compare."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for cell in read_cells(path):
        if cell["agent"] == "dense":
            runs.setdefault(cell["label"], []).append(cell)
    points = [make_point(label, cells, "sampled") for label, cells in runs.items()]
    return [dataclasses.replace(point, milliseconds={}) for point in points]
