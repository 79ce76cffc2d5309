"""Records the study of estimators: python -m ccenv.runs.studies.estimators.record PART ... -> JSON.

Parts: `slopes` differentiates a network by its gates, for a table's first inputs, `behind` keeps
what is seen behind every prefix of masks; `moments`, `curves`, `policies`, `agents` and `looks` are
results for `runs/results`.
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
from ccenv.mask_table.building.identity import batches, check_is_of
from ccenv.mask_table.building.prefix_looks import joined, looks_behind, read_looks, write_looks
from ccenv.mask_table.building.slopes import slopes_of, write_slopes
from ccenv.runs.programs import program
from ccenv.runs.store import json_file
from ccenv.runs.store.machine import machine, versions
from ccenv.runs.studies.estimators import agents, curves, fitted, looks, moments
from ccenv.runs.studies.estimators.problem import problem_of, read
from ccenv.simulator.simulator import Simulator

NAMES = {
    "moments": "estimator-moments",
    "curves": "estimator-curves",
    "policies": "table-policies",
    "agents": "table-agents",
    "looks": "table-looks",
}
"""Part -> kind and name of its result."""
JUDGED = ("policies", "agents", "looks")
"""Parts in which another table judges."""
BATCH = 16
"""Inputs that are differentiated, or walked through all masks, at once."""
PLACES = 4
"""Places of a map that a look shows, of which the mean is kept."""


def record_slopes(table: MaskTable, limit: int, out: Path) -> None:
    """Differentiates a table's network at every mask of its first inputs.

    Raises:
        ValueError: if the network or the data are not the table's.
    """
    network, data = network_of(table)
    parts = [slopes_of(network, *batch)[0] for batch in batches(data, limit, BATCH)]
    write_slopes(out, table, np.concatenate(parts))


def network_of(table: MaskTable) -> tuple[Any, Any]:
    """A table's network and split, built anew.

    Raises:
        ValueError: if they are not the table's.
    """
    header = table.header
    simulator = Simulator(
        1, network=header.network, dataset=header.dataset, split=header.split, **header.settings
    )
    check_is_of(header, simulator.network, simulator.data)
    return simulator.network, simulator.data


def record_behind(table: MaskTable, out: Path) -> None:
    """Keeps what is seen behind every prefix of masks, of all inputs of a table.

    Raises:
        ValueError: if the network or the data are not the table's.
    """
    network, data = network_of(table)
    parts = [
        looks_behind(network, inputs, table.header.menus, PLACES)
        for inputs, _ in batches(data, table.header.num_images, BATCH)
    ]
    write_looks(out, table, joined(parts))


def seen_rows(options: argparse.Namespace) -> tuple[Any, Iterator[dict[str, Any]]]:
    """Sizes and rows of the part `looks`."""
    fitting, judging = read(options.table), read(options.judge)
    sizes = looks.Sizes()
    few = judging.first(min(sizes.judging, judging.header.num_images))
    masks = {"answer of no unit": 0, "answer of all units": fitting.header.num_masks - 1}
    seen = []
    for table, part in ((fitting, fitting), (judging, few)):
        network, split = network_of(table)
        seen.append(looks.seen_of(network, split, part, masks))
    later = None
    if options.behind:
        found = [
            read_looks(path, table)
            for path, table in zip(options.behind, (fitting, judging), strict=True)
        ]
        few_of = [len(fitting.right), len(few.right)]
        later = [
            np.concatenate([part.gates[gate][:n] for part, n in zip(found, few_of, strict=True)])
            for gate in range(1, len(fitting.header.gates))
        ]
    return sizes, looks.look_rows(fitting, judging, seen, later, sizes)


def rows_of(part: str, options: argparse.Namespace) -> tuple[Any, Iterator[dict[str, Any]]]:
    """Sizes of a part, and its rows as they come."""
    table = read(options.table)
    if part in JUDGED and options.judge is None:
        raise ValueError("expected --judge TABLE, of inputs that training never sees")
    if part == "agents":
        own = agents.Sizes()
        return own, agents.agent_rows(agents.Tables.made(table, read(options.judge), own), own)
    if part == "looks":
        return seen_rows(options)
    if part == "policies":
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
    tables = [options.table, options.judge] if part in JUDGED else [options.table]
    settings = dataclasses.asdict(sizes)
    if part not in JUDGED:
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
    json_file.write_sealed(path, content)
    return path


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}


@program("ccenv.runs.studies.estimators.record", (ValueError, OSError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Records a part of the study; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m ccenv.runs.studies.estimators.record",
        description=__doc__,
        allow_abbrev=False,
    )
    parser.add_argument("part", choices=("slopes", "behind", *NAMES))
    parser.add_argument("--table", type=Path, required=True, help="of all masks; it fits policies")
    parser.add_argument("--judge", type=Path, help="table of other inputs, which judge policies")
    parser.add_argument("--slopes", type=Path, help="file of slopes; written by the part slopes")
    parser.add_argument(
        "--behind",
        type=Path,
        nargs="*",
        help="files of looks behind prefixes: one that the part behind writes, or two to read",
    )
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
    if options.part == "behind":
        if len(options.behind or ()) != 1:
            raise ValueError("expected --behind FILE, where looks are written")
        record_behind(read(options.table), options.behind[0])
        print(f"looks behind all prefixes in {options.behind[0]}")
        return 0
    print(record(options.part, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
