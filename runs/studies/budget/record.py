"""Records a network under a budget: python -m ccenv.runs.studies.budget.record NETWORK DATASET.

A menu of masks is made, judged on inputs that fit, choose and judge (see `parts`), and policies
choose from it (see `policies`); the result goes to `runs/results/budget-NETWORK.json`. With
`--table` the menu is the best mask of each size on that table's inputs, with `--judge` all inputs
are a table's. Times are added to a result by `ccenv.runs.studies.budget.times`.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ccenv.base.registry import check_names
from ccenv.mask_table.answers.at_cost import AtCost
from ccenv.mask_table.building.identity import weights_digest
from ccenv.mask_table.table import MaskTable, read_table
from ccenv.runs.plan.values import parse_pairs
from ccenv.runs.programs import program
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.store.checksums import data_of
from ccenv.runs.store.machine import machine, versions
from ccenv.runs.studies.budget.measured import components
from ccenv.runs.studies.budget.parts import Parts, Sizes, by_chains, by_table, by_tables
from ccenv.runs.studies.budget.policies import Data, Learning, placed_rows
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator

KIND = "budget"


def rows_of(parts: Parts, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """The menu's rows, then those of policies."""
    masks = parts.masks
    yield from menu_rows(parts)
    looks = [part.looks for part in (parts.fit, parts.choose, parts.judge)]
    seen = components(looks[0], looks[1:], sizes.columns)
    fit, choose, judge = (part.outcomes(masks) for part in (parts.fit, parts.choose, parts.judge))
    data = Data(
        fit,
        seen[0],
        AtCost.made(choose, fit, parts.random),
        seen[1],
        AtCost.made(judge, fit, parts.random),
        seen[2],
        parts.judge.found[0, :, : len(masks)],
        parts.whole,
    )
    learning = Learning(sizes.updates, batch=sizes.fit_batch)
    yield from placed_rows(data, sizes.budgets, sizes.seeds, sizes.hidden, learning)


def menu_rows(parts: Parts) -> Iterator[dict[str, Any]]:
    """A row for each mask: units left out, error, nll and cost on inputs that judge."""
    for number, mask in enumerate(parts.masks):
        error, nll, cost = parts.judge.found[:, :, number].mean(axis=1).tolist()
        skipped = (~mask).nonzero()[:, 0].tolist()
        row = {"mask": number, "skipped": skipped, "error": error, "nll": nll, "cost": cost}
        if parts.sized:
            row |= {"size": parts.sized[number].size, "ways": list(parts.sized[number].ways)}
        yield row


def parts_of(
    split: Any, tables: Sequence[MaskTable], sizes: Sizes, seed: int, *, progress: bool
) -> Parts:
    """Menu and inputs; no table, one that chooses the menu, or that and one that judges."""
    if len(tables) > 1:
        return by_tables(tables[0], tables[1], sizes)
    if tables:
        return by_table(split, tables[0], sizes, seed, progress=progress)
    return by_chains(split, sizes, seed, progress=progress)


def record(
    environment: dict[str, Any],
    tables: Sequence[MaskTable],
    sizes: Sizes,
    seed: int,
    out: Path,
    *,
    progress: bool = False,
) -> Path:
    """Measures and writes the result.

    Args:
        environment: settings of the simulator: network, its weights, data.
        tables: see `parts_of`.
        sizes: how much.
        seed: of what is drawn.
        out: the file.
        progress: show bars, and rows as they come.

    Raises:
        ValueError: if tables are of something else, or too small.
        OSError: if it cannot be written.
    """
    run_folder.check_writable(out.parent)
    began, rows = time.process_time(), []

    @functools.cache
    def split(name: str) -> Simulator:
        return Simulator(1, split=name, **environment)

    weights = weights_digest(split("test").network)
    for table in tables:
        if table.header.weights != weights:
            raise ValueError(f"expected a table of weights {weights}, got {table.header.weights}")
    for row in rows_of(parts_of(split, tables, sizes, seed, progress=progress), sizes):
        rows.append(row)
        if progress:
            print(json.dumps(row)[:160], file=sys.stderr, flush=True)
    said = {k: v for k, v in environment.items() if k in ("network", "dataset")}
    content = {
        "kind": KIND,
        "name": out.stem,
        "settings": {**said, **dataclasses.asdict(sizes)},
        "environment": {k: v for k, v in environment.items() if k not in said},
        "seed": seed,
        "weights": weights,
        "data": data_of(environment["dataset"]),
        "tables": [said_of(table) for table in tables],
        "cpu_seconds": round(time.process_time() - began, 1),
        "versions": versions(),
        "machine": machine(),
        "rows": rows,
    }
    json_file.write_sealed(out, content)
    return out


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}


def result_path(network: str) -> Path:
    """Where a network's result lies."""
    return Path(f"runs/results/budget-{network.replace('_', '-')}.json")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ccenv.runs.studies.budget.record", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("network")
    parser.add_argument("dataset")
    own = parser.add_argument
    own("settings", nargs="*", metavar="key=value", help="of the simulator: weights=shipped")
    own("--seed", type=int, default=0)
    own("--table", type=Path, help="of all masks of some inputs, which choose the menu")
    own(
        "--judge", type=Path, help="of all masks of other inputs, which judge; all come from tables"
    )
    own("--inputs", type=int, nargs=3, default=Sizes.inputs, metavar="N")
    own("--budgets", type=float, nargs="+", default=Sizes.budgets)
    own("--random", type=int, default=Sizes.random, help="masks at each budget")
    own("--updates", type=int, nargs="+", default=Sizes.updates, help="where runs may stop")
    own("--fit-batch", type=int, help="inputs of an update; default: all")
    own("--batch", type=int, default=Sizes.batch, help="inputs that are walked at a time")
    own("--out", type=Path, help="default: runs/results/budget-NETWORK.json")
    return parser


@program("ccenv.runs.studies.budget.record", (ValueError, OSError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Records one network; see --help."""
    options = make_parser().parse_args(arguments)
    if options.judge is not None and options.table is None:
        raise ValueError("expected --table beside --judge: inputs that choose the menu and fit")
    torch.set_num_threads(1)
    names = ("random", "fit_batch", "batch")
    sizes = Sizes(
        inputs=tuple(options.inputs),
        budgets=tuple(options.budgets),
        updates=tuple(options.updates),
        **{name: getattr(options, name) for name in names},
    )
    given = parse_pairs(options.settings)
    check_names(given, setting_defaults(), "setting")
    environment = {"network": options.network, "dataset": options.dataset, **given}
    tables = [read_table(path) for path in (options.table, options.judge) if path is not None]
    out = options.out or result_path(options.network)
    print(record(environment, tables, sizes, options.seed, out, progress=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
