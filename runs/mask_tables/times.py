"""Times of a network's units: (network, data set, file) -> seconds on this machine, written."""

from pathlib import Path
from typing import Any

import torch

from ccenv.base.processor import cpu_model
from ccenv.mask_table.building.timing import measured
from ccenv.mask_table.times import UnitTimes, write_times
from ccenv.runs.mask_tables.settings import read_settings
from ccenv.runs.store.machine import versions
from ccenv.simulator.simulator import Simulator


def time_units(
    network: str,
    dataset: str,
    out: Path,
    *,
    batch_size: int = 1,
    machine: str | None = None,
    threads: int = 1,
    **settings: Any,
) -> UnitTimes:
    """Measures a frozen or shipped network's units here; the same as the command line.

    Args:
        network: as the environment's; see `build_table`.
        dataset: as the environment's; its first test inputs go through.
        out: the file.
        batch_size: inputs of a pass.
        machine: its name in the file; None for the processor's.
        threads: torch's.
        **settings: those of `SETTINGS`.

    Raises:
        ValueError: if a setting is wrong.
        OSError: if the file cannot be written.
    """
    if batch_size < 1 or threads < 1:
        raise ValueError(f"expected batch and threads of at least 1, got {batch_size}, {threads}")
    environment = read_settings(network, dataset, settings)
    torch.set_num_threads(threads)
    simulator = Simulator(1, split="test", **environment)
    rows = torch.arange(batch_size, device=simulator.device) % len(simulator.data)
    name = {"name": machine or cpu_model(), "cpu": cpu_model(), "threads": threads}
    times = measured(simulator.network, simulator.data.batch(rows)[0], name | versions())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_times(out, times)
    return times
