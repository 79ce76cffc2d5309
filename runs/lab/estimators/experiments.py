"""Experiments on estimators of a policy's gradient, on tables of all masks."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.mask_table import MaskTable
from ccenv.mask_table.checks import batches
from ccenv.mask_table.exact import FLOATS
from ccenv.runs.commands.frame import takes_trust
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.estimators import curves, moments, show
from ccenv.runs.lab.estimators.gate_gradients import slopes_of
from ccenv.runs.lab.estimators.problem import problem_of, read
from ccenv.runs.lab.mask_tables.learning import check_is_of, said_of
from ccenv.runs.store.untrusted_files import check_trusted
from ccenv.simulator.simulator import Simulator

BATCH = 16
"""Inputs that are differentiated at once."""


def slopes_by_nll(table: MaskTable, limit: int, trusted: Sequence[str] = ()) -> FLOATS:
    """Differentiates a table's network at every mask of its first inputs: [limit, masks, units]."""
    network, data = network_of(table, trusted)
    parts = [slopes_of(network, *batch)[0] for batch in batches(data, limit, BATCH)]
    return np.concatenate(parts).astype(np.float64)


def network_of(table: MaskTable, trusted: Sequence[str] = ()) -> tuple[Any, Any]:
    """A table's network and split, built anew."""
    header = table.header
    settings = {"network": header.network, "dataset": header.dataset, **header.settings}
    check_trusted(settings, trusted)
    simulator = Simulator(1, split=header.split, **settings)
    check_is_of(header, simulator.network, simulator.data)
    return simulator.network, simulator.data


def add_options(parser: argparse.ArgumentParser) -> None:
    """One table, and the price of compute."""
    add = parser.add_argument
    add("--table", type=Path, required=True, help="of all masks")
    add("--inputs", type=int, default=128, help="the table's first so many")
    add("--price", type=float, default=1.5, help="of dense MACs, in nats")
    takes_trust(parser, "the table names")


def study(
    name: str,
    about: str,
    part: Any,
    rows_of: Callable[..., Iterator[Row]],
    pivot: Callable[[Sequence[Row]], str],
    **shown: Any,
) -> Experiment:
    """An experiment on a problem that options describe."""

    def run(options: Options) -> Iterator[Row]:
        table = read(options.table)
        slopes = slopes_by_nll(table, options.inputs, options.trust)
        problem = problem_of(table, slopes, options.price)
        return rows_of(problem, part.Sizes())

    def head(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"inputs": options.inputs, "price": options.price}
        settings = dataclasses.asdict(part.Sizes()) | asked
        return {"settings": settings, "tables": [said_of(read(options.table))]}

    return Experiment(
        name=name,
        about=about,
        run=run,
        pivot=pivot,
        add_options=add_options,
        head=head,
        **shown,
    )


MOMENTS = study(
    "estimator-moments",
    "size, angle and noise of estimators of a policy's gradient",
    moments,
    moments.moment_rows,
    show.moments_table,
)
CURVES = study(
    "estimator-curves",
    "regret of policies that learn by each estimator",
    curves,
    curves.curve_rows,
    show.curves_table,
    figure=show.curves_figure,
)
