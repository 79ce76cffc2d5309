"""A network's table of all masks, built with other processes."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccenv.annexes.mask_table import BuildPlan, MaskTable, build, drawn_menu, menus_of
from ccenv.annexes.mask_table.checks import MOST_BYTES, check_size, num_rows
from ccenv.base.annotations import annotations_of
from ccenv.base.machine import cpu_model
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.data import SPLITS
from ccenv.networks.learning.bundled_weights import shipped_name
from ccenv.runs.config.values import checked, fits_json
from ccenv.runs.store.identity import canonical, same
from ccenv.runs.store.provenance import most_threads, versions
from ccenv.runs.tables.mask_table import size_text
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


def table_settings(network: str, dataset: str, requested: Mapping[str, Any]) -> dict[str, Any]:
    """Checks settings of the environment.

    Raises:
        ValueError: if a name is unknown, a value impossible, or the network would learn.
    """
    defaults = {name: v for name, v in setting_defaults().items() if name in SETTINGS}
    check_names(requested, defaults, "setting")
    settings = {"network": network, "dataset": dataset}
    settings |= checked(dict(requested), annotations_of(EnvironmentSettings), defaults)
    if "weights" not in requested:
        settings["weights"] = "frozen"
        # Refused where no weights come with the package.
        with contextlib.suppress(ValueError):
            kwargs: Any = settings["network_kwargs"] or {}
            shipped_name(network, kwargs, dataset, settings["transforms"])
            settings["weights"] = "shipped"
    if settings["weights"] == "cotrain":
        raise ValueError("expected a frozen network, got weights='cotrain': it learns")
    return settings


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
    header = {
        "network": network,
        "dataset": dataset,
        "settings": chosen,
        "split": split,
        "made_with": versions() | {"cpu": cpu_model()},
    }
    with tqdm(unit="input", disable=None if progress else True) as bar:

        def tell(plan: BuildPlan) -> None:
            if progress:
                size = size_text(plan.num_masks, plan.num_images)
                whole = f"{size}: {plan.num_bytes / 1e6:,.1f} MB"
                bar.write(f"{whole}; {plan.num_left:,} inputs are left", file=sys.stderr)

        bar.total = len(simulator.data) if limit is None else limit
        return build(
            simulator.network,
            simulator.data,
            out,
            said=header,
            menus=menus_drawn(simulator, menu, seed),
            limit=limit,
            batch_size=batch_size,
            processes=processes,
            most_bytes=most_bytes,
            tell=tell,
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
