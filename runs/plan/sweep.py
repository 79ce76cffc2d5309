"""What a sweep is made of: labels, agents and settings -> runs, and the same runs in miniature."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ccenv.base.registry import check_names

MINIATURE: Mapping[str, Any] = {
    "dataset": "synthetic",
    "transforms": (),
    "images": 256,
    "batch_size": 64,
    "eval_every": 256,
}
"""What makes a run of hours one of seconds: a few updates on data that need no files."""


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    label: str
    """what the row is called; different in every cell of a sweep."""
    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings by name, as in `ccenv train`."""
    seeds: tuple[int, ...] | None = None
    """one run each; None: those of the sweep."""


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
    mini: Mapping[str, Any] = field(default_factory=dict)
    """settings of the miniature where `MINIATURE` does not fit."""

    def runs(self) -> list[tuple[Cell, dict[str, Any]]]:
        """Each cell with the settings of each of its runs."""
        return [
            (cell, {**self.settings, **cell.settings, "seed": seed})
            for cell in self.cells
            for seed in (self.seeds if cell.seeds is None else cell.seeds)
        ]

    def miniature(self) -> "Sweep":
        """One row of each kind with one seed, in about a minute: shows that they run, no more.

        Rows are of one kind if they differ in numbers alone.
        """
        small = {**MINIATURE, **self.mini}
        cells = tuple(
            dataclasses.replace(cell, settings={**cell.settings, **small}, seeds=None)
            for cell in self.cells
        )
        first = {kind(cell): cell for cell in reversed(cells)}
        cells = tuple(cell for cell in cells if cell in first.values())
        return dataclasses.replace(
            self, name=f"{self.name}-miniature", cells=cells, seeds=self.seeds[:1], minutes=1.0
        )


def with_seeds(sweep: Sweep, fewer: Mapping[int, Iterable[str]], minutes: float) -> Sweep:
    """A sweep of which some rows have fewer seeds than the others; those of none are left out.

    Args:
        sweep: all rows with all seeds.
        fewer: number of seeds -> labels of the rows that have so many.
        minutes: of the runs that are left, on two cores.

    Raises:
        ValueError: if a label is none of the sweep's.
    """
    counts = {label: count for count, labels in fewer.items() for label in labels}
    check_names(counts, [cell.label for cell in sweep.cells], f"row of {sweep.name}")
    cells = tuple(
        dataclasses.replace(cell, seeds=sweep.seeds[: counts[cell.label]])
        if cell.label in counts
        else cell
        for cell in sweep.cells
    )
    kept = tuple(cell for cell in cells if cell.seeds != ())
    return dataclasses.replace(sweep, cells=kept, minutes=minutes)


def kind(cell: Cell) -> str:
    """What a row is, but for its numbers: agent, names of settings, words and inner names.

    >>> kind(Cell("a", "rloo", {"num_kept": 2, "draw": "ordered"}))
    "rloo draw='ordered' num_kept"
    """
    words = [in_words(name, value) for name, value in sorted(cell.settings.items())]
    return " ".join([cell.agent, *words])


def in_words(name: str, value: Any) -> str:
    """A setting without its numbers."""
    if isinstance(value, Mapping):
        return f"{name}({', '.join(sorted(value))})"
    return f"{name}={value!r}" if isinstance(value, str) else name


def plain(*agents: str) -> tuple[Cell, ...]:
    """Agents as they are, labelled by their names."""
    return tuple(Cell(agent, agent) for agent in agents)


def dropout_rates(*rates: float) -> tuple[Cell, ...]:
    """The floor at several rates, so that there is a rate at every compute cost."""
    return tuple(
        Cell(f"block_dropout {rate}", "block_dropout", {"keep_probability": rate}) for rate in rates
    )


def dense(*widths: int, num_layers: int = 1, head: int = 0, **settings: Any) -> tuple[Cell, ...]:
    """Dense networks of several widths, each layer one block that is always kept.

    Args:
        *widths: units of a layer, one row each.
        num_layers: layers of that width.
        head: units of one more layer behind them; 0 for none.
        **settings: of the environment.
    """
    behind = {"head_units": (head,)} if head else {}
    return tuple(
        Cell(
            f"dense {', '.join([str(width)] * num_layers)}" + (f", then {head}" if head else ""),
            "dense",
            {"num_blocks": (1,) * num_layers, "block_size": width, **behind, **settings},
        )
        for width in widths
    )
