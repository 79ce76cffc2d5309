"""What a sweep is made of: labels, agents and settings -> runs, and the same in miniature."""

import dataclasses
from collections import UserDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MINIATURE: Mapping[str, Any] = {
    "dataset": "synthetic",
    "transforms": (),
    "images": 256,
    "batch_size": 64,
    "eval_every": 256,
}
"""What makes a run of hours one of seconds: a few updates on data that need no files."""

MOST_RUNS = 10_000
"""Of a sweep: a file of a few words may ask for more than memory holds."""


@dataclass(frozen=True)
class Cell:
    """One row of a sweep: an agent and its settings.

    >>> Cell("reinforce, cost weight 2", "reinforce", {"reward_kwargs.cost_weight": 2.0}).agent
    'reinforce'
    """

    label: str
    """what the row is called; different in every cell of a sweep."""
    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings by name, as in `ccenv train`."""
    seeds: tuple[int, ...] | None = None
    """one run each; None: those of the sweep."""
    method: str = ""
    """what verdicts, Pareto fronts and figures count it to; "" where agent and network say that."""
    place: str = ""
    """where it is compared, such as a network; "" where that is the same everywhere."""
    budget: str = ""
    """what it may spend, in words; "" where rows have none."""
    setting: str = ""
    """what tells it from other rows of its method, in words; "" where nothing has to."""
    masks: str = ""
    """"which masks, as files say it, where they are always of one kind; "" where validation
    chooses."""
    added: bool = False
    """whether it stands among another's rows: it is named and shown first."""
    origin: str = ""
    """where it stands in a file, such as `mine.toml: [[rows]] number 2`; "" where in none."""


@dataclass(frozen=True)
class Sweep:
    """Rows that are compared with each other; each is run with every seed.

    >>> rows = (Cell("dense", "dense"), Cell("rloo", "rloo", {"num_kept": 2}))
    >>> Sweep("mine", "Two agents.", rows, minutes=1.0, seeds=(0, 1)).num_runs
    4
    """

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
    budgets: tuple[int, ...] = ()
    """MACs of an input at which the report compares methods, ascending."""
    memory_budgets: tuple[int, ...] = ()
    """the same in kB of network and policy."""
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """`Cell.place` -> what a report says of it."""
    measure: str = "error"
    """by what it compares them; a key of `ccenv.runs.stats.measures.MEASURES`."""

    @property
    def num_runs(self) -> int:
        """One for each row and seed."""
        return sum(len(self.seeds if c.seeds is None else c.seeds) for c in self.cells)

    def with_seeds(self, number: int) -> "Sweep":
        """Every row with seeds 0 to `number` - 1."""
        cells = tuple(dataclasses.replace(cell, seeds=None) for cell in self.cells)
        minutes = self.minutes * number * len(cells) / max(1, self.num_runs)
        return dataclasses.replace(self, cells=cells, seeds=tuple(range(number)), minutes=minutes)

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
        first = {row_kind(cell): cell for cell in reversed(cells)}
        cells = tuple(cell for cell in cells if cell in first.values())
        return dataclasses.replace(
            self, name=f"{self.name}-miniature", cells=cells, seeds=self.seeds[:1], minutes=1.0
        )


def check_run_count(runs: int) -> None:
    """Refuses more than `MOST_RUNS`."""
    if runs > MOST_RUNS:
        raise ValueError(f"expected at most {MOST_RUNS:,} runs, got more; make several sweeps")


def row_kind(cell: Cell) -> str:
    """What a row is, but for its numbers: agent, names of settings, words and inner names.

    >>> row_kind(Cell("a", "rloo", {"num_kept": 2, "sampling": "ordered"}))
    "rloo num_kept sampling='ordered'"
    """
    words = [in_words(name, value) for name, value in sorted(cell.settings.items())]
    return " ".join([cell.agent, *words])


def in_words(name: str, value: Any) -> str:
    """A setting without its numbers."""
    if isinstance(value, Mapping):
        return f"{name}({', '.join(sorted(value))})"
    return f"{name}={value!r}" if isinstance(value, str) else name


class OnUse(UserDict[str, Any]):
    """A mapping that knows its names at once, and makes each value once, on use.

    >>> lengths = OnUse(["one", "three"], len)
    >>> list(lengths), lengths["three"]
    (['one', 'three'], 5)
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], Any]) -> None:
        """Takes names and what makes a value of one."""
        super().__init__(dict.fromkeys(names))
        self.make = make

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            self.data[name] = self.make(name)
        return self.data[name]
