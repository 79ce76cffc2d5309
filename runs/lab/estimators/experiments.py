"""Experiments on estimators of a policy's gradient, on tables of all masks."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.mask_table import MaskTable
from ccenv.mask_table.building.walk import read_looks
from ccenv.runs.commands.frame import takes_trust
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.estimators import agents, curves, fitted, looks, moments, show
from ccenv.runs.lab.estimators.files import network_of
from ccenv.runs.lab.estimators.problem import Problem, problem_of, read


def problem_options(parser: argparse.ArgumentParser) -> None:
    """One table, its slopes, and the price of compute."""
    parser.add_argument("--table", type=Path, required=True, help="of all masks")
    parser.add_argument("--slopes", type=Path, help="file of slopes: lab estimator-files slopes")
    parser.add_argument("--inputs", type=int, default=128, help="the table's first so many")
    parser.add_argument("--price", type=float, default=1.5, help="of dense MACs, in nats")


def pair_options(parser: argparse.ArgumentParser) -> None:
    """A table that fits policies and one that judges them."""
    parser.add_argument("--table", type=Path, required=True, help="of all masks; it fits policies")
    parser.add_argument("--judge", type=Path, required=True, help="of inputs that training lacks")


def look_options(parser: argparse.ArgumentParser) -> None:
    """The same, and looks behind prefixes of masks."""
    pair_options(parser)
    parser.add_argument(
        "--behind", type=Path, nargs=2, help="looks of both tables: lab estimator-files behind"
    )
    takes_trust(parser, "tables name")


def asked_problem(options: Options) -> Problem:
    """The problem that options describe."""
    return problem_of(read(options.table), options.slopes, options.inputs, options.price)


def moment_rows(options: Options) -> Iterator[Row]:
    """Size, angle and noise of each estimator."""
    return moments.moment_rows(asked_problem(options), moments.Sizes())


def curve_rows(options: Options) -> Iterator[Row]:
    """Regret while learning by each estimator."""
    return curves.curve_rows(asked_problem(options), curves.Sizes())


def policy_rows(options: Options) -> Iterator[Row]:
    """Policies of several forms, fitted to one table and judged on the other."""
    sizes = fitted.Sizes()
    data = fitted.data_of(read(options.table), read(options.judge), sizes.choosing)
    return fitted.fitted_rows(data, sizes)


def agent_rows(options: Options) -> Iterator[Row]:
    """Agents in the tables' environment."""
    sizes = agents.Sizes()
    tables = agents.Tables.made(read(options.table), read(options.judge), sizes)
    return agents.agent_rows(tables, sizes)


def look_rows(options: Options) -> Iterator[Row]:
    """What other looks would be worth."""
    fitting, judging = read(options.table), read(options.judge)
    sizes = looks.Sizes()
    few = judging.first(min(sizes.judging, judging.header.num_images))
    masks = {"answer of no unit": 0, "answer of all units": fitting.header.num_masks - 1}
    seen = []
    for table, part in ((fitting, fitting), (judging, few)):
        network, split = network_of(table, options.trust)
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
    return looks.look_rows(fitting, judging, seen, later, sizes)


def head(part: Any, *, judged: bool) -> Callable[[Options, Mapping[str, Any]], dict[str, Any]]:
    """What a recorded result says of how much was done, and on which tables.

    Args:
        part: the module whose `Sizes` say how much.
        judged: whether a second table judges.
    """

    def said(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
        settings = dataclasses.asdict(part.Sizes())
        if not judged:
            settings |= {"inputs": options.inputs, "price": options.price}
        paths = [options.table, options.judge] if judged else [options.table]
        return {"settings": settings, "tables": [said_of(read(path)) for path in paths]}

    return said


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}


EXPERIMENTS = (
    Experiment(
        name="estimator-moments",
        about="size, angle and noise of estimators of a policy's gradient",
        measured=moment_rows,
        table=show.moments_table,
        add_options=problem_options,
        head=head(moments, judged=False),
    ),
    Experiment(
        name="estimator-curves",
        about="regret of policies that learn by each estimator",
        measured=curve_rows,
        table=show.curves_table,
        add_options=problem_options,
        head=head(curves, judged=False),
        figure=show.curves_figure,
    ),
    Experiment(
        name="table-policies",
        about="policies fitted to one table of all masks, judged on another",
        measured=policy_rows,
        table=show.policies_table,
        add_options=pair_options,
        head=head(fitted, judged=True),
        figure=show.policies_figure,
    ),
    Experiment(
        name="table-agents",
        about="agents in the environment of one table, judged on another",
        measured=agent_rows,
        table=show.agents_table,
        add_options=pair_options,
        head=head(agents, judged=True),
    ),
    Experiment(
        name="table-looks",
        about="what other features at a gate would be worth",
        measured=look_rows,
        table=show.looks_table,
        add_options=look_options,
        head=head(looks, judged=True),
        figure=show.looks_figure,
    ),
)
