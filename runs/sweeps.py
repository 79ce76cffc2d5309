"""Sweeps as data: name -> labelled cells (an agent and its settings), each run with every seed.

A cell's settings are those of `python -m runs.train`; the sweep's own apply beneath them. A sweep
of yours is a `Sweep` in a module of yours: `python -m runs.compare my_module:MY_SWEEP`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    label: str
    """what the row is called; different in every cell of a sweep."""
    agent: str
    """a name in `agents.AGENTS` or `module:Class`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings by name, as in `runs.train`."""


@dataclass(frozen=True)
class Sweep:
    """Cells that are compared with each other: every cell is run with every seed."""

    name: str
    """also the name of its report and of its recorded result."""
    description: str
    """one sentence above the table."""
    cells: tuple[Cell, ...]
    """rows, in the table's order."""
    minutes: float
    """how long all of it takes on two cores, for the forecast."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings of every cell, unless the cell says otherwise."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """one run each."""

    def runs(self) -> list[tuple[Cell, dict[str, Any]]]:
        """Each cell with the settings of each of its runs."""
        return [
            (cell, {**self.settings, **cell.settings, "seed": seed})
            for cell in self.cells
            for seed in self.seeds
        ]


def plain(*agents: str) -> tuple[Cell, ...]:
    """Agents as they are, labelled by their names."""
    return tuple(Cell(agent, agent) for agent in agents)


def dropout_rates(*rates: float) -> tuple[Cell, ...]:
    """The floor at several rates, so that there is a rate at every compute cost."""
    return tuple(
        Cell(f"block_dropout {rate}", "block_dropout", {"keep_probability": rate}) for rate in rates
    )


QUICKSTART = Sweep(
    name="quickstart",
    description="Bundled digits, frozen weights, two gated layers of 10 blocks of 16 units.",
    settings={"images": 100_000},
    cells=(
        *plain("dense"),
        *dropout_rates(0.05, 0.1, 0.2, 0.3, 0.5),
        *plain("fixed_mask", "magnitude", "oracle"),
        *plain("reinforce", "rloo", "actor_critic", "condnet", "sb3_a2c", "sb3_ppo"),
    ),
    minutes=3,
)

SMOKE = Sweep(
    name="smoke",
    description="The probe, whose best masks are known: a test of the programs, not of agents.",
    settings={
        "dataset": "probe",
        "network": "probe",
        "num_blocks": (4, 4),
        "block_size": 2,
        "activation": "relu",
        "images": 2048,
        "batch_size": 128,
    },
    cells=(*plain("dense"), *dropout_rates(0.25, 0.75), *plain("reinforce")),
    minutes=0.2,
    seeds=(0, 1),
)

SWEEPS: dict[str, Sweep] = {sweep.name: sweep for sweep in (QUICKSTART, SMOKE)}
