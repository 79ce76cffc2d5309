"""A network under a budget: network, data -> a menu of masks, and policies that choose from it.

A menu of masks is made, judged on inputs that fit, choose and judge (see `parts`), and policies
choose from it (see `policies`); the result is `budget-NETWORK`. With `--table` the menu is the best
mask of each size on that table's inputs, with `--judge` all inputs are a table's. Times are added
to a recorded result by the experiment `budget-times`.
"""

import argparse
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names
from ccenv.mask_table.building.checks import weights_digest
from ccenv.mask_table.evaluation.at_cost import AtCost
from ccenv.mask_table.table import MaskTable, read_table
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.budget import show
from ccenv.runs.lab.budget.measured import components
from ccenv.runs.lab.budget.parts import Parts, Sizes, by_chains, by_table, by_tables
from ccenv.runs.lab.budget.policies import Data, Learning, placed_rows
from ccenv.runs.store.provenance import data_of
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator


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


def network_rows(
    environment: Mapping[str, Any],
    tables: Sequence[MaskTable],
    sizes: Sizes,
    seed: int,
    *,
    progress: bool = False,
) -> Iterator[Row]:
    """The menu's rows and those of policies, of one network.

    Args:
        environment: settings of the simulator: network, its weights, data.
        tables: see `parts_of`.
        sizes: how much.
        seed: of what is drawn.
        progress: show bars.

    Raises:
        ValueError: if tables are of something else, or too small.
    """

    @functools.cache
    def split(name: str) -> Simulator:
        return Simulator(1, split=name, **environment)

    weights = weights_digest(split("test").network)
    for table in tables:
        if table.header.weights != weights:
            raise ValueError(f"expected a table of weights {weights}, got {table.header.weights}")
    yield from rows_of(parts_of(split, tables, sizes, seed, progress=progress), sizes)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Network, data, tables and sizes."""
    own = parser.add_argument
    own("network")
    own("dataset")
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


def asked_environment(options: Options) -> dict[str, Any]:
    """Settings of the simulator that options give.

    Raises:
        ValueError: if one is unknown.
    """
    given = parse_pairs(options.settings)
    check_names(given, setting_defaults(), "setting")
    return {"network": options.network, "dataset": options.dataset, **given}


def asked_sizes(options: Options) -> Sizes:
    """How much, as options say."""
    return Sizes(
        inputs=tuple(options.inputs),
        budgets=tuple(options.budgets),
        updates=tuple(options.updates),
        random=options.random,
        fit_batch=options.fit_batch,
        batch=options.batch,
    )


def asked_tables(options: Options) -> list[MaskTable]:
    """The tables that options name.

    Raises:
        ValueError: if a table judges and none chooses the menu.
    """
    if options.judge is not None and options.table is None:
        raise ValueError("expected --table beside --judge: inputs that choose the menu and fit")
    return [read_table(path) for path in (options.table, options.judge) if path is not None]


def measured(options: Options) -> Iterator[Row]:
    """Rows of the network that options name."""
    return network_rows(
        asked_environment(options),
        asked_tables(options),
        asked_sizes(options),
        options.seed,
        progress=True,
    )


def head(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded result says of its network, data, tables and sizes."""
    environment = asked_environment(options)
    said = {name: environment.pop(name) for name in ("network", "dataset")}
    network = Simulator(1, split="test", **said, **environment).network
    return {
        "settings": {**said, **dataclasses.asdict(asked_sizes(options))},
        "environment": environment,
        "seed": options.seed,
        "weights": weights_digest(network),
        "data": data_of(options.dataset),
        "tables": [said_of(table) for table in asked_tables(options)],
    }


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}


def recorded_as(options: Options) -> str:
    """The name of a network's result."""
    return f"budget-{options.network.replace('_', '-')}"


BUDGET = Experiment(
    name="budget",
    about="static masks of a network and policies that choose among them, at budgets of MACs",
    measured=measured,
    table=show.table,
    recorded_as=recorded_as,
    add_options=add_options,
    head=head,
)
