"""Data sets and networks of tasks by name: `dataset="ccenv.annexes.tasks.inputs:depth-8"`."""

from typing import Any

from ccenv.annexes.tasks.catalogue import TASKS
from ccenv.base.registry import check_names


def __getattr__(name: str) -> Any:
    """The data set of a task: the name of a split -> its inputs."""
    if name not in TASKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return TASKS[name].problem.split


def network(input_shape: tuple[int, ...], num_classes: int, task: str) -> Any:
    """The network of a task, which fits its own data set alone; ValueError of another name."""
    check_names([task], TASKS, "task")
    return TASKS[task].network()
