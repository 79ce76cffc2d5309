"""Engines by name: ("ray", its options) -> what runs many tasks at once, here or elsewhere."""

import importlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names, import_object
from ccenv.base.values import positive_int
from ccenv.runs.engine.machines import ENGINES, LOCAL
from ccenv.runs.engine.machines.pool import Outcome, Task, do_task, run_all
from ccenv.runs.engine.machines.remote import Terms, terms
from ccenv.runs.store.provenance import num_cores

RESULTS = "results"
SENT, SHARED = "sent", "shared"
USUAL = {"ray": SENT, "slurm": SHARED}
"""How results come back where nothing is said; Slurm needs a shared folder anyway."""


@dataclass(frozen=True)
class Setup:
    """What an engine is opened with."""

    num_jobs: int | None
    """runs at once, None for as many as there is room for."""
    log_dir: Path
    """folder of the runs."""
    options: Mapping[str, Any]
    """the engine's own, by name."""
    terms: Terms
    """what its workers must have in common with this process."""


@dataclass(frozen=True)
class Engine:
    """Many runs at once, somewhere."""

    workers: int
    """runs at once, for the forecast."""
    about: str
    """where, in words; nothing of this machine."""
    run: Callable[[Sequence[Task]], Generator[Outcome]]
    """yields outcomes as they come; closing it cancels what is left."""


HERE = Engine(1, "", lambda tasks: (do_task(task) for task in tasks))
"""This process, one run after the other: for agents that no other process can import."""
Opened = Callable[[Setup], AbstractContextManager[Engine]]


@contextmanager
def open_engine(
    name: str, num_jobs: int | None, log_dir: Path, options: Mapping[str, Any]
) -> Iterator[Engine]:
    """Opens an engine for a while.

    Args:
        name: "local" or one of `ENGINES`.
        num_jobs: runs at once, None for the engine's own choice.
        log_dir: folder of the runs.
        options: `results` ("sent" back or "shared" folder), and the engine's own.
    """
    check_names([name], [LOCAL, *ENGINES], "engine")
    if num_jobs is not None:
        positive_int(num_jobs, "jobs")
    if name == LOCAL:
        if options:
            raise ValueError(f"expected no --engine-option of the local pool, got {[*options]}")
        workers = num_jobs or num_cores()
        yield Engine(workers, "", lambda tasks: run_all(tasks, min(workers, len(tasks))))
        return
    results = options.get(RESULTS, USUAL[name])
    check_names([results], [SENT, SHARED], "way of results")
    others = {key: value for key, value in options.items() if key != RESULTS}
    opened: Opened = import_object(ENGINES[name], "engine")
    with (
        terms(log_dir if results == SHARED else None) as found,
        opened(Setup(num_jobs, log_dir, others, found)) as engine,
    ):
        yield engine


def library(name: str, extra: str) -> Any:
    """A library that not everybody needs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"expected {name} to be installed, got {error}; pip install 'ccenv[{extra}]'"
        ) from error
