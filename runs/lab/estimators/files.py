"""Files that experiments on estimators read: a table -> slopes of its gates, looks at its gates.

`slopes` differentiates a network by its gates, for a table's first inputs; `behind` keeps what is
seen behind every prefix of masks.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ccenv.mask_table import MaskTable
from ccenv.mask_table.building.checks import batches, check_is_of
from ccenv.mask_table.building.gate_gradients import slopes_of, write_slopes
from ccenv.mask_table.building.walk import joined, looks_behind, write_looks
from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.lab.estimators.problem import read
from ccenv.runs.store.trust import check_trusted
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
