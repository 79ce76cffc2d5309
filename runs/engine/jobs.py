"""A sweep's jobs: every row and seed -> a plan; shares of them for several machines."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.mask_words import BOTH_WORDS
from ccenv.runs.config.plan import OF_CODE, Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Cell, Sweep


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    label: str
    """row that it belongs to."""
    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    settings: dict[str, Any]
    """as given."""
    plan: Plan
    """as resolved."""

    @property
    def run(self) -> tuple[str, int]:
        """Which one of its sweep: label and seed."""
        return self.label, self.plan.program.seed

    @property
    def names_main(self) -> bool:
        """Whether it needs code of the script that runs, which no other process can import."""
        return any(name.startswith("__main__:") for name in names_of_code(self.plan))


def make_jobs(sweep: Sweep, log_dir: str) -> list[Job]:
    """Resolves every run of a sweep."""
    counts = Counter(cell.label for cell in sweep.cells)
    twice = sorted(label for label, count in counts.items() if count > 1)
    if twice:
        raise ValueError(label_twice(sweep, twice[0]))
    plans: dict[str, Plan] = {}
    jobs = []
    for cell, settings in sweep.runs():
        settings = {"log_dir": log_dir} | settings
        if cell.masks and cell.masks not in BOTH_WORDS:
            raise ValueError(
                f"{cell.origin or cell.label}: expected masks of "
                f"{' or '.join(BOTH_WORDS)} (greedy), "
                f"got {cell.masks!r}"
            )
        try:
            # Seeds of a row differ in nothing else.
            first = plans.get(cell.label)
            plan = first.with_seed(settings["seed"]) if first else make_plan(cell.agent, settings)
        except ValueError as error:
            raise ValueError(f"{place_of(sweep, cell)}: {error}") from error
        plans.setdefault(cell.label, plan)
        jobs.append(Job(cell.label, cell.agent, settings, plan))
    return jobs


def place_of(sweep: Sweep, cell: Cell) -> str:
    """Where a cell whose settings are wrong stands; at settings of all rows if those are.

    Args:
        sweep: whose.
        cell: of it.
    """
    place = cell.origin or f"sweep {sweep.name!r}"
    try:
        make_plan(cell.agent, dict(cell.settings))
    except ValueError:
        return f"{place} ({cell.label})"
    return f"{place} ({cell.label}), by [settings] of all rows"


def label_twice(sweep: Sweep, label: str) -> str:
    """Says which rows have one label, and what would tell them apart."""
    one, other, *_ = (cell for cell in sweep.cells if cell.label == label)
    names = [*dict.fromkeys([*one.settings, *other.settings])]
    apart = [n for n in names if one.settings.get(n) != other.settings.get(n)]
    second = other.origin.rpartition(": ")[2]
    where = one.origin if one.origin == other.origin else f"{one.origin} and {second}"
    hint = f'; give label = "{one.agent} {{{apart[0]}}}"' if apart else "; leave one out"
    place = where or f"sweep {sweep.name!r}"
    return f"{place}: expected different labels, got {label!r} twice{hint}"


def names_of_code(plan: Plan) -> tuple[str, ...]:
    """Agent, reward, network and observation by name."""
    return plan.agent, *(plan.environment[name] for name in OF_CODE)


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of a sweep.

    A run's shard follows from its place in the sweep alone, not from what is missing: machines that
    look at different times never share a run, and together they run all.
    """

    number: int
    """from 1 on."""
    of: int
    """how many there are."""

    def share(self, jobs: Sequence[Job], todo: Iterable[Job]) -> list[Job]:
        """Those of `todo` that are this shard's.

        Neighbouring runs go to different shards: seeds of a row take equally long. Rows that are
        the same run under two names go to one shard.
        """
        keys = dict.fromkeys(job.plan.key() for job in jobs)
        shares = {key for n, key in enumerate(keys) if n % self.of == self.number - 1}
        return [job for job in todo if job.plan.key() in shares]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"
