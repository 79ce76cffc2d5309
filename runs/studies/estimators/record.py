"""Records the study of estimators: python -m ccenv.runs.studies.estimators.record PART ... -> JSON.

Parts: `slopes` differentiates a network by its gates, for a table's first inputs; `moments`,
`curves` and `policies` are results for `runs/results`.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ccenv.mask_table import MaskTable
from ccenv.mask_table.identity import batches, check_is_of
from ccenv.mask_table.slopes import slopes_of, write_slopes
from ccenv.runs.programs import program
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.machine import machine, versions
from ccenv.runs.store.seal import sealed
from ccenv.runs.studies.estimators import curves, fitted, moments
from ccenv.runs.studies.estimators.problem import problem_of, read
from ccenv.simulator.simulator import Simulator

NAMES = {
    "moments": "estimator-moments",
    "curves": "estimator-curves",
    "policies": "table-policies",
}
"""Part -> kind and name of its result."""
BATCH = 16
"""Inputs that are differentiated at once."""


def record_slopes(table: MaskTable, limit: int, out: Path) -> None:
    """Differentiates a table's network at every mask of its first inputs.

    Raises:
        ValueError: if the network or the data are not the table's.
    """
    header = table.header
    simulator = Simulator(
        1, network=header.network, dataset=header.dataset, split=header.split, **header.settings
    )
    check_is_of(header, simulator.network, simulator.data)
    parts = [
        slopes_of(simulator.network, *batch)[0] for batch in batches(simulator.data, limit, BATCH)
    ]
    write_slopes(out, table, np.concatenate(parts))


def rows_of(part: str, options: argparse.Namespace) -> tuple[Any, Iterator[dict[str, Any]]]:
    """Sizes of a part, and its rows as they come."""
    table = read(options.table)
    if part == "policies":
        if options.judge is None:
            raise ValueError("expected --judge TABLE, of inputs that training never sees")
        sizes = fitted.Sizes()
        data = fitted.data_of(table, read(options.judge), sizes.choosing)
        return sizes, fitted.fitted_rows(data, sizes)
    problem = problem_of(table, options.slopes, options.inputs, options.price)
    if part == "moments":
        return moments.Sizes(), moments.moment_rows(problem, moments.Sizes())
    return curves.Sizes(), curves.curve_rows(problem, curves.Sizes())


def record(part: str, options: argparse.Namespace) -> Path:
    """Measures a part row by row and writes its result."""
    began, rows = time.process_time(), []
    sizes, made = rows_of(part, options)
    for row in made:
        rows.append(row)
        print(json.dumps(row)[:120], file=sys.stderr, flush=True)
    tables = [options.table, options.judge] if part == "policies" else [options.table]
    settings = dataclasses.asdict(sizes)
    if part != "policies":
        settings |= {"inputs": options.inputs, "price": options.price}
    content = {
        "kind": NAMES[part],
        "name": NAMES[part],
        "settings": settings,
        "tables": [said_of(read(path)) for path in tables],
        "cpu_seconds": round(time.process_time() - began, 1),
        "versions": versions(),
        "machine": machine(),
        "rows": rows,
    }
    path = Path(options.results_dir) / f"{NAMES[part]}.json"
    run_folder.write_json(path, sealed(run_folder.finite(content)))
    return path


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}


@program("ccenv.runs.studies.estimators.record", (ValueError, OSError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Records a part of the study; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m ccenv.runs.studies.estimators.record", description=__doc__
    )
    parser.add_argument("part", choices=("slopes", *NAMES))
    parser.add_argument("--table", type=Path, required=True, help="of all masks; it fits policies")
    parser.add_argument("--judge", type=Path, help="table of other inputs, which judge policies")
    parser.add_argument("--slopes", type=Path, help="file of slopes; written by the part slopes")
    parser.add_argument("--inputs", type=int, default=128, help="the table's first so many")
    parser.add_argument("--price", type=float, default=1.5, help="of dense MACs, in nats")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.part == "slopes":
        if options.slopes is None:
            raise ValueError("expected --slopes FILE, where slopes are written")
        record_slopes(read(options.table), options.inputs, options.slopes)
        print(f"slopes of {options.inputs} inputs in {options.slopes}")
        return 0
    print(record(options.part, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
