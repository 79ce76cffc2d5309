"""Experiments on estimators of a policy's gradient, on tables of all masks."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ccenv.mask_table import MaskTable
from ccenv.mask_table.building.checks import batches, check_is_of
from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.estimators import agents, curves, fitted, looks, moments, show
from ccenv.runs.lab.estimators.problem import Problem, problem_of, read
from ccenv.runs.lab.mask_tables.gate_gradients import slopes_of, write_slopes
from ccenv.runs.lab.mask_tables.prefix_looks import joined, looks_behind, read_looks, write_looks
from ccenv.runs.lab.table_studies import said_of
from ccenv.runs.store.untrusted_files import check_trusted
from ccenv.simulator.simulator import Simulator

BATCH = 16
"""Inputs that are differentiated, or walked through all masks, at once."""
PLACES = 4
"""Places of a map that a look shows, of which the mean is kept."""


def record_slopes(table: MaskTable, limit: int, out: Path, trusted: Sequence[str] = ()) -> None:
    """Differentiates a table's network at every mask of its first inputs.

    Raises:
        ValueError: if the network or the data are not the table's.
    """
    network, data = network_of(table, trusted)
    parts = [slopes_of(network, *batch)[0] for batch in batches(data, limit, BATCH)]
    write_slopes(out, table, np.concatenate(parts))


def network_of(table: MaskTable, trusted: Sequence[str] = ()) -> tuple[Any, Any]:
    """A table's network and split, built anew.

    Args:
        table: of a file, whose header names both.
        trusted: modules of the reader's own that it may name, see `ccenv.base.trust`.

    Raises:
        ValueError: if they are not the table's, or code that is not trusted.
    """
    header = table.header
    settings = {"network": header.network, "dataset": header.dataset, **header.settings}
    check_trusted(settings, trusted)
    simulator = Simulator(1, split=header.split, **settings)
    check_is_of(header, simulator.network, simulator.data)
    return simulator.network, simulator.data


def record_behind(table: MaskTable, out: Path, trusted: Sequence[str] = ()) -> None:
    """Keeps what is seen behind every prefix of masks, of all inputs of a table.

    Raises:
        ValueError: if the network or the data are not the table's.
    """
    network, data = network_of(table, trusted)
    parts = [
        looks_behind(network, inputs, table.header.menus, PLACES)
        for inputs, _ in batches(data, table.header.num_images, BATCH)
    ]
    write_looks(out, table, joined(parts))


@program("lab estimator-files")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a file that an experiment on estimators reads; see --help."""
    parser = argparse.ArgumentParser(
        prog="lab estimator-files", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("what", choices=("slopes", "behind"))
    parser.add_argument("--table", type=Path, required=True, help="of all masks")
    parser.add_argument("--out", type=Path, required=True, help="the file that is written")
    parser.add_argument("--inputs", type=int, default=128, help="of slopes: the table's first ones")
    takes_trust(parser, "the table names")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = read(options.table)
    if options.what == "slopes":
        record_slopes(table, options.inputs, options.out, options.trust)
    else:
        record_behind(table, options.out, options.trust)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())


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


EXPERIMENTS = (
    Experiment(
        name="estimator-moments",
        about="size, angle and noise of estimators of a policy's gradient",
        run=lambda options: moments.moment_rows(asked_problem(options), moments.Sizes()),
        pivot=show.moments_table,
        add_options=problem_options,
        head=head(moments, judged=False),
    ),
    Experiment(
        name="estimator-curves",
        about="regret of policies that learn by each estimator",
        run=lambda options: curves.curve_rows(asked_problem(options), curves.Sizes()),
        pivot=show.curves_table,
        add_options=problem_options,
        head=head(curves, judged=False),
        figure=show.curves_figure,
    ),
    Experiment(
        name="table-policies",
        about="policies fitted to one table of all masks, judged on another",
        run=policy_rows,
        columns=show.POLICIES,
        add_options=pair_options,
        head=head(fitted, judged=True),
        figure=show.policies_figure,
    ),
    Experiment(
        name="table-agents",
        about="agents in the environment of one table, judged on another",
        run=agent_rows,
        columns=show.AGENTS,
        add_options=pair_options,
        head=head(agents, judged=True),
    ),
    Experiment(
        name="table-looks",
        about="what other features at a gate would be worth",
        run=look_rows,
        columns=show.LOOKS,
        add_options=look_options,
        head=head(looks, judged=True),
        figure=show.looks_figure,
    ),
)
