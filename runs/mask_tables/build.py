"""A network's table, built here or with other processes: (network, data set, file) -> written."""

import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccenv.base.ranks import ALONE, OneProcess, Ranks
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.data import SPLITS
from ccenv.mask_table import (
    MaskTable,
    build,
    drawn_menu,
)
from ccenv.mask_table.building.buildable import MOST_BYTES
from ccenv.mask_table.building.builder import help_build
from ccenv.runs.mask_tables.settings import read_settings, said_of
from ccenv.runs.show import mask_table
from ccenv.runs.store.machine import most_threads
from ccenv.simulator.simulator import Simulator


def build_table(
    network: str,
    dataset: str,
    out: Path,
    *,
    split: str = "test",
    limit: int | None = None,
    menu: int | None = None,
    seed: int = 0,
    processes: int = 1,
    batch_size: int = 64,
    most_bytes: int = MOST_BYTES,
    progress: bool = False,
    ranks: OneProcess = ALONE,
    **settings: Any,
) -> MaskTable:
    """Builds a table of a frozen or shipped network; the same as the command line.

    Args:
        network: as the environment's; with `weights` left out, shipped ones are used where there
            are any, else frozen ones.
        dataset: as the environment's.
        out: the file.
        split: train, validation or test.
        limit: the first so many inputs.
        menu: most masks a gate, drawn at all densities; None for all.
        seed: of the menus.
        processes: at once.
        batch_size: inputs at a time.
        most_bytes: of the file.
        progress: show a bar, and the size and time before it starts.
        ranks: processes that build it together; the others call `help_table` with the same.
        **settings: those of `SETTINGS`.

    Raises:
        ValueError: if a setting is wrong or the table too large.
        OSError: if the file cannot be written.
    """
    check_names([split], SPLITS, "split")
    if not 1 <= processes <= most_threads():
        raise ValueError(f"expected processes in 1..{most_threads()}, got {processes}")
    environment = read_settings(network, dataset, settings)
    torch.set_num_threads(1)
    simulator = Simulator(1, split=split, **environment)
    with tqdm(unit="input", disable=not progress) as bar:
        bar.total = len(simulator.data) if limit is None else limit
        return build(
            simulator.network,
            simulator.data,
            out,
            said=said_of(environment, split),
            menus=menus_drawn(simulator, menu, seed),
            limit=limit,
            batch_size=batch_size,
            processes=processes,
            ranks=ranks,
            most_bytes=most_bytes,
            tell=lambda plan: (
                bar.write(mask_table.plan_text(plan), file=sys.stderr) if progress else None
            ),
            progress=lambda done: bar.update(done - bar.n),
        )


def help_table(
    ranks: Ranks,
    network: str,
    dataset: str,
    *,
    split: str = "test",
    menu: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    **settings: Any,
) -> None:
    """Does a share of the table that rank 0 builds with the same settings.

    Raises:
        ValueError: if a setting is wrong.
        RanksError: if another rank ends.
    """
    check_names([split], SPLITS, "split")
    torch.set_num_threads(1)
    simulator = Simulator(1, split=split, **read_settings(network, dataset, settings))
    chosen = menus_drawn(simulator, menu, seed)
    help_build(simulator.network, simulator.data, ranks, menus=chosen, batch_size=batch_size)


def menus_drawn(simulator: Simulator, menu: int | None, seed: int) -> list[Any] | None:
    """At most so many masks for each gate; None for all."""
    if menu is None:
        return None
    generator = stream(seed, "menus of masks")
    return [drawn_menu(gate.num_blocks, menu, generator) for gate in simulator.network.gates]
