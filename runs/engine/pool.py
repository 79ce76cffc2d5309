"""Many runs at once: (tasks, workers) -> results as they come; one failure loses no other run."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Semaphore
from typing import Any

from tqdm import tqdm

from ccenv.sparse.cpu.codegen.compiled import announcement


@dataclass(frozen=True)
class RunRequest:
    """One run, in words that travel between processes."""

    label: str
    """row of the table."""
    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    settings: dict[str, Any]
    """see `ccenv.runs.config.settings`."""
    reuse: bool = True
    """take the result that is there, if another process was faster."""
    shared: frozenset[str] = frozenset()
    """settings that all runs of its comparison share."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    task: RunRequest
    """which one."""
    error: str | None
    """a sentence, a place in the user's code or a traceback, None where all went well."""


def do_task(task: RunRequest) -> Outcome:
    """Carries one task out."""
    from ccenv.runs.config.settings import make_plan
    from ccenv.runs.engine.errors import CannotStartError, StoppedError, in_users_code
    from ccenv.runs.engine.prepare import Options
    from ccenv.runs.engine.run import run

    try:
        plan, options = make_plan(task.agent, task.settings), Options(shared=task.shared)
        run(plan, reuse=task.reuse, options=options)
    except (CannotStartError, StoppedError) as error:
        return Outcome(task, str(error))
    except Exception as error:
        message = in_users_code(error) or "".join(traceback.format_exception(error))
        return Outcome(task, message)
    return Outcome(task, None)


def run_all(
    tasks: Sequence[RunRequest],
    num_workers: int,
    function: Callable[[RunRequest], Outcome] = do_task,
) -> Generator[Outcome]:
    """Runs tasks in processes of their own and yields outcomes as they come.

    When a process dies (out of memory, a crash in a library) the task at fault is unknown: all
    tasks that were lost with it are run once more, each in its own process.

    Args:
        tasks: what to do.
        num_workers: processes at most.
        function: does one.
    """
    num_workers = min(num_workers, len(tasks))
    lost: list[RunRequest] = []
    for outcome in run_in_pool(tasks, num_workers, function):
        if isinstance(outcome, RunRequest):
            lost.append(outcome)
        else:
            yield outcome
    for task in lost:
        for outcome in run_in_pool([task], 1, function):
            if isinstance(outcome, RunRequest):
                outcome = Outcome(task, "its process died, twice")
            yield outcome


def run_here(tasks: Sequence[RunRequest]) -> Generator[Outcome]:
    """Runs tasks in this process: of agents that no other one can import."""
    for task in tasks:
        yield do_task(task)


def run_in_pool(
    tasks: Sequence[RunRequest], num_workers: int, function: Callable[[RunRequest], Outcome]
) -> Generator[Outcome | RunRequest]:
    """Yields an outcome for each task, or the task itself where its process died."""
    # Processes are spawned, not forked: forked ones would inherit torch's threads in any state.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    # Whoever takes it first says that kernels are compiled; none where this process has said so.
    ticket = context.Semaphore(0 if announcement.is_done else 1)
    pool = ProcessPoolExecutor(num_workers, context, prepare_worker, (ticket,))
    try:
        with no_script():
            futures = {pool.submit(function, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield futures[future]
    except BaseException:
        # On Ctrl-C whoever still runs is stopped; its folder holds no result.
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    pool.shutdown()


@contextlib.contextmanager
def no_script() -> Iterator[None]:
    """Starts processes without the user's script, which Python would have each of them run again.

    What a script defines is run in its own process (`run_here`), so that a script needs no
    `if __name__ == "__main__"`.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def prepare_worker(ticket: Semaphore) -> None:
    """Leaves Ctrl-C to the parent, dies with it, and keeps to one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    announcement.may_say = functools.partial(ticket.acquire, block=False)
    # A bar's own lock is shared between processes: one that is killed would leave it behind.
    tqdm.set_lock(threading.RLock())
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    # So that a killed program leaves no process behind.
    threading.Thread(target=end_with_parent, daemon=True).start()
