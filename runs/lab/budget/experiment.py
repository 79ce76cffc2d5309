"""A network under a budget: network, data -> a menu of masks, and policies that choose from it.

A menu of masks is made, judged on inputs that fit, choose and judge (see `parts`), and policies
choose from it (see `policies`); the result is `budget-NETWORK`. With `--table` the menu is the best
mask of each size on that table's inputs, with `--judge` all inputs are a table's. Recorded results
hold rows of times (`timed`), too, which a program of earlier versions added.
"""

import argparse
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names
from ccenv.mask_table.checks import network_digest
from ccenv.mask_table.table import MaskTable, read_table
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.budget import show
from ccenv.runs.lab.budget.parts import Parts, Sizes, by_chains, by_table, by_tables
from ccenv.runs.lab.budget.policies import Data, Learning, placed_rows
from ccenv.runs.lab.mask_tables.at_cost import AtCost
from ccenv.runs.lab.mask_tables.learning import main_parts, said_of
from ccenv.runs.store.provenance import data_of
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator


def menu_rows(parts: Parts) -> Iterator[Row]:
    """A row for each mask: units left out, error, nll and cost on inputs that judge."""
    for number, mask in enumerate(parts.masks):
        error, nll, cost = parts.judge.found[:, :, number].mean(axis=1).tolist()
        skipped = (~mask).nonzero()[:, 0].tolist()
        row = {"mask": number, "skipped": skipped, "error": error, "nll": nll, "cost": cost}
        if parts.sized:
            row |= {"size": parts.sized[number].size, "ways": list(parts.sized[number].ways)}
        yield row


def policy_rows(parts: Parts, sizes: Sizes) -> Iterator[Row]:
    """A row for each budget, form of policy and learner."""
    masks, own = parts.masks, (parts.fit, parts.choose, parts.judge)
    seen = main_parts(sizes.columns, *(part.looks for part in own))
    fit, choose, judge = (part.outcomes(masks) for part in own)
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
    return placed_rows(data, sizes.budgets, sizes.seeds, sizes.hidden, learning)


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
    """Settings of the simulator that options give."""
    given = parse_pairs(options.settings)
    check_names(given, setting_defaults(), "setting")
    return {"network": options.network, "dataset": options.dataset, **given}


def asked_sizes(options: Options) -> Sizes:
    """How much, as options say."""
    names = ("inputs", "budgets", "updates", "random", "fit_batch", "batch")
    asked = {name: getattr(options, name) for name in names}
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in asked.items()}
    return Sizes(**sizes)


def asked_tables(options: Options) -> list[MaskTable]:
    """The tables that options name."""
    if options.judge is not None and options.table is None:
        raise ValueError("expected --table beside --judge: inputs that choose the menu and fit")
    return [read_table(path) for path in (options.table, options.judge) if path is not None]


def run(options: Options) -> Iterator[Row]:
    """The menu's rows and those of policies, of the network that options name."""
    environment, sizes = asked_environment(options), asked_sizes(options)
    tables, seed = asked_tables(options), options.seed

    @functools.cache
    def split(name: str) -> Simulator:
        return Simulator(1, split=name, **environment)

    weights = network_digest(split("test").network)
    for table in tables:
        if table.header.weights != weights:
            raise ValueError(f"expected a table of weights {weights}, got {table.header.weights}")
    if len(tables) > 1:
        parts = by_tables(tables[0], tables[1], sizes)
    elif tables:
        parts = by_table(split, tables[0], sizes, seed, progress=True)
    else:
        parts = by_chains(split, sizes, seed, progress=True)
    yield from menu_rows(parts)
    yield from policy_rows(parts, sizes)


def head(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded result says of its network, data, tables and sizes."""
    environment = asked_environment(options)
    said = {name: environment.pop(name) for name in ("network", "dataset")}
    network = Simulator(1, split="test", **said, **environment).network
    return {
        "settings": {**said, **dataclasses.asdict(asked_sizes(options))},
        "environment": environment,
        "seed": options.seed,
        "weights": network_digest(network),
        "data": data_of(options.dataset),
        "tables": [said_of(table) for table in asked_tables(options)],
    }


def recorded_as(options: Options) -> str:
    """The name of a network's result."""
    return f"budget-{options.network.replace('_', '-')}"


BUDGET = Experiment(
    name="budget",
    about="static masks of a network and policies that choose among them, at budgets of MACs",
    run=run,
    pivot=show.table,
    recorded_as=recorded_as,
    add_options=add_options,
    head=head,
)
