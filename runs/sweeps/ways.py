"""Ways to train a row: (rows, settings by name) -> more rows, for both kinds of networks alike.

Whatever is tried on conditional networks is tried on dense ones too; validation error chooses (see
`runs.page.against_dense`).
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from runs.sweeps.cells import Cell, Sweep
from runs.sweeps.equal_cost import FIFTH

Ways = Mapping[str, Mapping[str, Any]]
"""Note on a row -> its settings; `weights_kwargs` are laid over those of the sweep."""


def taught(units: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """Half of the targets are the answers of a dense network that was trained before."""
    lesson = {"teacher_units": units, "distill_weight": 0.5, "teacher_temperature": 2.0}
    return {"weights_kwargs": {**lesson, **more}}


DECAYED: Mapping[str, Any] = {"weights_kwargs": {"weight_decay": 0.1}}
DROPPED: Mapping[str, Any] = {"network": FIFTH}


def halved(cells: Iterable[Cell], dataset: str) -> tuple[Cell, ...]:
    """The same rows on images of half their height and width: see `runs.sweeps.halved`.

    Args:
        cells: rows.
        dataset: a function of that module.
    """
    name = f"runs.sweeps.halved:{dataset}"
    return tuple(
        Cell(f"{cell.label}, half size", cell.agent, {**cell.settings, "dataset": name})
        for cell in cells
    )


def in_ways(cells: Iterable[Cell], sweep: Sweep, ways: Ways) -> tuple[Cell, ...]:
    """Each row trained in each way, labelled by it."""
    base = sweep.settings["weights_kwargs"]
    found = []
    for cell in cells:
        for note, way in ways.items():
            settings = {**cell.settings, **way}
            if "weights_kwargs" in way:
                settings["weights_kwargs"] = {**base, **way["weights_kwargs"]}
            found.append(Cell(f"{cell.label}, {note}", cell.agent, settings))
    return tuple(found)


def extended(sweep: Sweep, cells: Iterable[Cell], minutes: float) -> Sweep:
    """A sweep with rows behind its own."""
    return dataclasses.replace(sweep, cells=(*sweep.cells, *cells), minutes=sweep.minutes + minutes)
