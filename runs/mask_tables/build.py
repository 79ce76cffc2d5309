"""A network's table of all masks, built with other processes, and times of its units."""

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.base.annotations import annotations_of
from ccenv.base.clock import seconds_in_turns, wait_for, work_clock
from ccenv.base.machine import cpu_model
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.data import SPLITS
from ccenv.mask_table import MaskTable, build, drawn_menu, menus_of
from ccenv.mask_table.checks import MOST_BYTES, check_size, gates_of, num_rows
from ccenv.mask_table.times import UnitTimes, write_times
from ccenv.networks.core.protocol import through
from ccenv.networks.learning.bundled_weights import shipped_name
from ccenv.runs.config.values import checked, fits_json
from ccenv.runs.store.identity import canonical, same
from ccenv.runs.store.provenance import most_threads, versions
from ccenv.runs.tables.mask_table import plan_text
from ccenv.simulator.settings import EnvironmentSettings, setting_defaults
from ccenv.simulator.simulator import Simulator

SETTINGS = (
    "network_kwargs",
    "num_blocks",
    "block_size",
    "head_units",
    "activation",
    "weights",
    "transforms",
    "device",
)
"""Settings of the environment that a table depends on, apart from network and data set."""
ROUNDS = 15
"""In each of which everything is timed once; the least of them counts."""


def table_settings(network: str, dataset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks settings of the environment.

    Raises:
        ValueError: if a name is unknown, a value impossible, or the network would learn.
    """
    defaults = {name: v for name, v in setting_defaults().items() if name in SETTINGS}
    check_names(given, defaults, "setting")
    found = {"network": network, "dataset": dataset}
    found |= checked(dict(given), annotations_of(EnvironmentSettings), defaults)
    if "weights" not in given:
        found["weights"] = "frozen"
        # Refused where no weights come with the package.
        with contextlib.suppress(ValueError):
            kwargs: Any = found["network_kwargs"] or {}
            shipped_name(network, kwargs, dataset, found["transforms"])
            found["weights"] = "shipped"
    if found["weights"] == "cotrain":
        raise ValueError("expected a frozen network, got weights='cotrain': it learns")
    return found


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
        **settings: those of `SETTINGS`.

    Raises:
        ValueError: if a setting is wrong or the table too large.
        OSError: if the file cannot be written.
    """
    if not 1 <= processes <= most_threads():
        raise ValueError(f"expected processes in 1..{most_threads()}, got {processes}")
    environment = table_settings(network, dataset, settings)
    if environment["weights"] == "frozen":
        # Too large a table is refused before its network is trained, which may take minutes.
        untrained = open_simulator(environment | {"weights": "cotrain"}, split)
        menus = menus_of(untrained.network.gates, menus_drawn(untrained, menu, seed))
        check_size(menus, num_rows(untrained.data, limit), most_bytes)
    simulator, defaults = open_simulator(environment, split), setting_defaults()
    chosen = {
        name: canonical(value) if fits_json(value) else str(value)
        for name, value in environment.items()
        if name not in ("network", "dataset") and not same(value, defaults[name])
    }
    said = {
        "network": network,
        "dataset": dataset,
        "settings": chosen,
        "split": split,
        "made_with": versions() | {"cpu": cpu_model()},
    }
    with tqdm(unit="input", disable=None if progress else True) as bar:
        bar.total = len(simulator.data) if limit is None else limit
        return build(
            simulator.network,
            simulator.data,
            out,
            said=said,
            menus=menus_drawn(simulator, menu, seed),
            limit=limit,
            batch_size=batch_size,
            processes=processes,
            most_bytes=most_bytes,
            tell=lambda plan: bar.write(plan_text(plan), file=sys.stderr) if progress else None,
            progress=lambda done: bar.update(done - bar.n),
        )


def open_simulator(environment: Mapping[str, Any], split: str) -> Simulator:
    """The network on a split, with one thread."""
    check_names([split], SPLITS, "split")
    torch.set_num_threads(1)
    return Simulator(1, split=split, **environment)


def menus_drawn(simulator: Simulator, menu: int | None, seed: int) -> list[Any] | None:
    """At most so many masks for each gate; None for all."""
    if menu is None:
        return None
    generator = stream(seed, "menus of masks")
    return [drawn_menu(gate.num_blocks, menu, generator) for gate in simulator.network.gates]


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
    environment = table_settings(network, dataset, settings)
    torch.set_num_threads(threads)
    simulator = Simulator(1, split="test", **environment)
    rows = torch.arange(batch_size, device=simulator.device) % len(simulator.data)
    name = {"name": machine or cpu_model(), "cpu": cpu_model(), "threads": threads}
    times = time_parts(simulator.network, simulator.data.batch(rows)[0], name | versions())
    write_times(out, times)
    return times


@torch.no_grad()
def time_parts(
    network: Any, inputs: Tensor, machine: dict[str, Any], rounds: int = ROUNDS
) -> UnitTimes:
    """Times every gate with everything kept, and without each of its blocks.

    The least of some rounds counts, and of one thread its own processor time: other programs can
    only add to it.
    """
    calls: dict[Any, Callable[[], object]] = {"start": lambda: network.start(inputs)}
    rows = len(inputs)

    def choose(gate: int, hidden: Any) -> torch.Tensor:
        count = network.gates[gate].num_blocks
        whole = torch.ones(rows, count, dtype=torch.bool, device=inputs.device)
        for block in (None, *range(count)):
            mask = whole.clone()
            if block is not None:
                mask[:, block] = False
            calls[gate, block] = functools.partial(network.step, gate, hidden, mask)
        return whole

    last = through(network, inputs, choose)
    calls["head"] = lambda: network.logits(last)

    def awaited(call: Callable[[], object]) -> None:
        call()
        wait_for(inputs.device)

    timed = {name: functools.partial(awaited, call) for name, call in calls.items()}
    found = seconds_in_turns(timed, rounds, seconds=0.002, clock=work_clock())
    least = {name: min(seconds) / rows for name, seconds in found.items()}
    units, dense = [], least["start"] + least["head"]
    for gate, one in enumerate(network.gates):
        dense += least[gate, None]
        saved = [least[gate, None] - least[gate, block] for block in range(one.num_blocks)]
        units += [max(0.0, seconds) for seconds in saved]
    always = max(0.0, dense - sum(units))
    gates = gates_of(network)
    return UnitTimes(machine, gates, network.dense_macs, rows, always, tuple(units))
