"""Ways to train a row: (rows, settings by name) -> more rows, for both kinds of networks alike.

Whatever is tried on conditional networks is tried on dense ones too; validation error chooses (see
`ccenv.runs.stats.contests`).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep
from ccenv.runs.studies.equal_cost.rows import FIFTH

Ways = Mapping[str, Mapping[str, Any]]
"""Note on a row -> its settings; `weights_kwargs` are laid over those of the sweep."""


def taught(units: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """Half of the targets are the answers of a dense network that was trained before."""
    lesson = {"teacher_units": units, "distill_weight": 0.5, "teacher_temperature": 2.0}
    return {"weights_kwargs": {**lesson, **more}}


DECAYED: Mapping[str, Any] = {"weights_kwargs": {"weight_decay": 0.1}}
DROPPED: Mapping[str, Any] = {"network": FIFTH}


def halved(cells: Iterable[Cell], transforms: Sequence[str] = ()) -> tuple[Cell, ...]:
    """The same rows on images of half their height and width, averages over 2 x 2 pixels.

    A first layer then costs a quarter of its MACs, for dense networks and conditional ones alike.

    Args:
        cells: rows.
        transforms: of the sweep; images are moved first, and standardised as halves.
    """
    moves = [name for name in transforms if name != "standardise"]
    names = (*moves, "halve", *transforms[len(moves) :])
    return tuple(
        Cell(f"{cell.label}, half size", cell.agent, {**cell.settings, "transforms": names})
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
