"""The tasks of the suite by name: skill, level, budget of episodes, and the problem behind them.

Nothing here imports torch: names are listed, and ids registered, without it.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import register

from ccenv.base.registry import check_names, import_object

CHOICES = "ccenv.tasks.choices:Choices"
OWN = ("action", "autoreset_mode", "device", "group_size", "render_mode", "score_folder")
"""What a task leaves open."""


def own_part(path: str) -> Any:
    """What this file names and does not import, so that names are listed without torch."""
    return import_object(path, "part of the suite")


@dataclass(frozen=True)
class Task:
    """One environment of the suite, with what its best policy and its best blind rule earn.

    >>> task = TASKS["basic-4"]
    >>> task.optimum, task.reference, task.rule
    (0.875, 0.5, 'the best masks that are the same for all inputs')
    """

    skill: str
    """what is varied."""
    level: str
    """how hard it is."""
    episodes: int
    """budget."""
    kind: str
    """the problem's class, "module:name"."""
    arguments: Mapping[str, Any]
    """of the problem."""
    quick: bool = False
    """whether it is the level of its skill that `--quick` takes."""
    exact: bool = True
    """whether the optimum is one, and not the best that is known."""

    @property
    def name(self) -> str:
        """Skill and level."""
        return f"{self.skill}-{self.level}"

    @property
    def id(self) -> str:
        """Of the environment, for Gymnasium."""
        return f"suite/{self.name}-v0"

    @functools.cached_property
    def problem(self) -> Any:
        """Data, network and values, see `ccenv.tasks.problem.Problem`."""
        return own_part(self.kind)(**self.arguments)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of every view of the environment; all survive JSON."""
        return {
            "dataset": f"ccenv.tasks.inputs:{self.name}",
            "network": "ccenv.tasks.inputs:network",
            "network_kwargs": {"task": self.name},
            "observation": "layer_input",
            "task": self.name,
            **self.problem.settings(),
        }

    @functools.cached_property
    def optimum(self) -> float:
        """Expected return of the best policy, computed by the package."""
        return float(self.problem.optimum())

    @functools.cached_property
    def reference(self) -> float:
        """Expected return of the best rule that sees no input, likewise."""
        return float(self.problem.reference())

    @property
    def rule(self) -> str:
        """The reference in words."""
        return str(self.problem.rule)

    def make(self, **own: Any) -> Any:
        """The scalar environment, see `ccenv.tasks.making.make`."""
        return own_part("ccenv.tasks.making:make")(self.name, **own)

    def make_vec(self, num_envs: int = 1, **own: Any) -> Any:
        """The vector environment, see `ccenv.tasks.making.make_vec`."""
        return own_part("ccenv.tasks.making:make_vec")(num_envs, self.name, **own)

    def make_sb3(self, num_envs: int = 1, **own: Any) -> Any:
        """Stable-Baselines3's view, see `ccenv.tasks.making.make_sb3`."""
        return own_part("ccenv.tasks.making:make_sb3")(num_envs, self.name, **own)


@dataclass(frozen=True)
class Skill:
    """What is varied, and how hard."""

    text: str
    """in words."""
    episodes: int
    """budget of each level."""
    levels: Mapping[str, Mapping[str, Any]]
    """name -> arguments of the problem."""
    quick: str
    """the level of `--quick`."""
    kind: str = CHOICES
    """the problem's class."""
    exact: bool = True
    """see `Task`."""


SKILLS: dict[str, Skill] = {
    "basic": Skill(
        "one of D blocks is needed",
        20_000,
        {str(n): {"gates": (n,), "domains": n} for n in (4, 8, 16)},
        "8",
    ),
    "scale": Skill(
        "one of many blocks is needed",
        50_000,
        {str(n): {"gates": (n,), "domains": n} for n in (32, 128, 512)},
        "32",
    ),
    "depth": Skill(
        "one of 4 blocks is needed at each of L gates, and a wrong one anywhere loses the answer",
        50_000,
        {str(n): {"gates": (4,) * n} for n in (2, 4, 8)},
        "4",
    ),
    "together": Skill(
        "blocks of several gates pay together or not at all; one other block pays a little alone",
        50_000,
        {
            str(n): {"gates": (5, *[4] * (n - 1)), "safe": 0.3, "cost_weight": 1.5}
            for n in (2, 3, 4)
        },
        "2",
    ),
    "exploration": Skill(
        "blocks are so dear that all together are worse than none, and one pays",
        50_000,
        {str(n): {"gates": (n,), "domains": n, "cost_weight": n / 2} for n in (4, 16, 64)},
        "16",
    ),
}
"""In the order of tables."""

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            skill,
            level,
            found.episodes,
            found.kind,
            arguments,
            quick=level == found.quick,
            exact=found.exact,
        )
        for skill, found in SKILLS.items()
        for level, arguments in found.levels.items()
    )
}
"""Name -> task, in the order of skills and levels."""


class Suite:
    """All tasks: `for task in ccenv.suite(): ...`."""

    def __call__(self, skill: str | None = None, *, quick: bool = False) -> Iterator[Task]:
        """Iterates over tasks, of one skill if one is named, of one level a skill if `quick`.

        Raises:
            ValueError: if there is no such skill; the nearest one is named.

        >>> [task.name for task in Suite()("basic")]
        ['basic-4', 'basic-8', 'basic-16']
        """
        if skill is not None:
            check_names([skill], SKILLS, "skill")
        wanted = [one for one in TASKS.values() if skill in (None, one.skill)]
        return iter([one for one in wanted if one.quick or not quick])

    def __getitem__(self, name: str) -> Task:
        """A task by its name; ValueError that names the nearest one."""
        check_names([name], TASKS, "task")
        return TASKS[name]

    def report(self, folder: str | Path = "runs/suite") -> Any:
        """Tables of the scores in a folder, see `ccenv.runs.suite`."""
        return own_part("ccenv.runs.suite:report")(folder)


suite = Suite()


def register_tasks() -> None:
    """Registers the ids `suite/<skill>-<level>-v0`."""
    for task in TASKS.values():
        register(
            task.id,
            entry_point="ccenv.tasks.making:make",
            vector_entry_point="ccenv.tasks.making:make_vec",
            kwargs={"task": task.name},
        )
