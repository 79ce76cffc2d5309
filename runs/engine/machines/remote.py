"""One run on another machine: an order -> a delivery, and the delivery -> the run's own folder.

What travels is plain data and this module's functions by name: a worker has ccenv installed, and
refuses an order of another version.
"""

import functools
import hashlib
import io
import platform
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ccenv
from ccenv.base.modules_here import modules_of, passed_on
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.machines.pool import Outcome, Task
from ccenv.runs.engine.run import run
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.tensorboard.names import BOARD, check_curves, curves_folder


@dataclass(frozen=True)
class Terms:
    """What driver and workers must have in common."""

    version: str
    """see `own_version`."""
    marker: str | None
    """a file in the shared folder that a worker must see, None where results are sent back."""
    search_path: tuple[str, ...]
    """where the driver finds modules; places that a worker lacks lead nowhere."""
    modules_here: tuple[str, ...]
    """folder and names, see `ccenv.base.modules_here.passed_on`."""


@dataclass(frozen=True)
class Order:
    """A run as it is handed to a worker."""

    task: Task
    """what to do."""
    terms: Terms
    """on which terms."""
    folder: str | None
    """the run's folder, shared with the driver; None to send its files back."""


@dataclass(frozen=True)
class Delivery:
    """What comes back."""

    error: str | None = None
    """the worker's name and a traceback, None where all went well."""
    refused: str | None = None
    """why this worker must not take part, None where it may."""
    files: bytes | None = None
    """the run's folder as a tar archive, where it is sent back."""


@functools.cache
def own_version() -> str:
    """The package's version and a hash of all of its source, which identifies a checkout."""
    found = hashlib.sha256()
    parts = {"": ccenv, "agents": ccenv.agents, "runs": ccenv.runs}
    for name, package in parts.items():
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            inner = path.relative_to(root).as_posix()
            # A wheel holds two of them as folders in the first, a checkout as links or beside it.
            if name or inner.split("/")[0] not in parts:
                found.update(f"{name} {inner} ".encode() + path.read_bytes())
    try:
        number = version("ccenv")
    except PackageNotFoundError:
        number = "not installed"
    return f"{number}, source {found.hexdigest()[:12]}"


@contextmanager
def terms(shared: Path | None) -> Iterator[Terms]:
    """Terms for a while; a marker lies in the shared folder meanwhile."""
    path = tuple(place for place in sys.path if place)
    if shared is None:
        yield Terms(own_version(), None, path, passed_on())
        return
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=shared.resolve(), prefix=".ccenv-shared-") as marker:
        yield Terms(own_version(), marker.name, path, passed_on())


def refusal(given: Terms) -> str | None:
    """Why this process must not work on these terms, None where it may."""
    node = platform.node()
    if given.version != own_version():
        return (
            f"expected ccenv ({given.version}) on {node}, got ({own_version()}); "
            "install the version of this machine there"
        )
    if given.marker is not None and not Path(given.marker).exists():
        return (
            f"expected {Path(given.marker).parent} to be shared with {node}, where it is not; "
            "name a shared folder as --log-dir, or give --engine-option results=sent"
        )
    return None


def carry_out(order: Order) -> Delivery:
    """A worker's work; an error of the run is delivered, not raised."""
    if refused := refusal(order.terms):
        return Delivery(refused=refused)
    sys.path += [place for place in order.terms.search_path if place not in sys.path]
    task = order.task
    with (
        modules_of(*order.terms.modules_here) if order.terms.modules_here else nullcontext(),
        tempfile.TemporaryDirectory(prefix="ccenv-run-") as own,
    ):
        target = Path(order.folder or own)
        try:
            run(make_plan(task.agent, task.settings), reuse=task.reuse, folder=target)
        except Exception:
            return Delivery(error=f"on {platform.node()}: {traceback.format_exc()}")
        finally:
            if order.folder is None:
                # Of a folder that nobody will ever use again.
                run_folder.lock_path(target).unlink(missing_ok=True)
        return Delivery(files=archive_of(target) if order.folder is None else None)


def order_of(task: Task, given: Terms) -> Order:
    """A task as an order."""
    shared = given.marker is not None
    folder = make_plan(task.agent, task.settings).folder().resolve() if shared else None
    return Order(task, given, str(folder) if folder else None)


def needs(tasks: Sequence[Task]) -> tuple[int, int]:
    """Cores and GPUs that any of these runs needs: its threads, and one GPU for device=cuda."""
    plans = [make_plan(task.agent, task.settings) for task in tasks]
    gpu = any(str(plan.environment["device"]).startswith("cuda") for plan in plans)
    return max((plan.program.threads for plan in plans), default=1), int(gpu)


def accept(task: Task, delivery: Delivery) -> Outcome:
    """Stores what was sent back, as a run here would have; not if another one was faster."""
    if delivery.refused:
        raise ValueError(delivery.refused)
    if delivery.files is not None:
        plan = make_plan(task.agent, task.settings)
        with run_folder.locked(plan.folder(), wait=True):
            if not (task.reuse and run_folder.read_result(plan.folder())):
                check_curves(plan, plan.folder())
                unpack(delivery.files, plan)
    return Outcome(task, delivery.error)


def archive_of(folder: Path) -> bytes:
    """A run's files as an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, path.relative_to(folder).as_posix(), recursive=False)
    return buffer.getvalue()


def unpack(files: bytes, plan: Plan) -> None:
    """Puts a run's files in place, the result last, when the others are complete."""
    folder = plan.folder()
    curves = curves_folder(plan, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".arriving-") as arriving:
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(arriving, filter="data")
        run_folder.begin(folder, curves, json_file.check_json(Path(arriving) / run_folder.CONFIG))
        found = [path for path in Path(arriving).rglob("*") if path.is_file()]
        for path in sorted(found, key=lambda path: path.name == run_folder.RESULT):
            inner = path.relative_to(arriving)
            is_curve = inner.parts[0] == BOARD
            target = curves / inner.relative_to(BOARD) if is_curve else folder / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
