"""The tasks of the suite by name: skill, level, budget of episodes, and the problem behind them.

Nothing here imports torch: names are listed, and ids registered, without it.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import register

from ccenv.base.registry import check_names, import_object
from ccenv.base.values import check_flag

VERSION = 1
"""Of the suite, in every `score.json`."""
PARTS = 100
"""Of the budget; of each the mean return is kept."""
SCORE = "score.json"
"""Name of the file that an environment writes."""
SAID = "said by the caller"
"""Of an agent's name there, which nothing checks."""
CHOICES = "ccenv.annexes.tasks.choices:Choices"
LOADING = "ccenv.annexes.tasks.loading:Loading"
OWN = ("autoreset_mode", "device", "group_size", "render_mode", "score_folder")
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
        """Data, network and values, see `ccenv.annexes.tasks.problem.Problem`."""
        kind = own_part(self.kind)
        check_names(self.arguments, [one.name for one in fields(kind)], f"argument of {self.name}")
        return kind(**self.arguments)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of every view of the environment; all survive JSON."""
        return {
            "dataset": f"ccenv.annexes.tasks.inputs:{self.name}",
            "network": "ccenv.annexes.tasks.inputs:network",
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
        """Expected return of the best rule that sees no input, likewise.

        ValueError if the best policy earns no more: nothing could be scored.
        """
        reference = float(self.problem.reference())
        if not self.optimum > reference:
            raise ValueError(
                f"expected {self.name} to have an optimum above its reference {reference:g}, got "
                f"{self.optimum:g}; choose other arguments"
            )
        return reference

    def network(self) -> Any:
        """A new network of the task, which says what it is a model of."""
        network, of_block = self.problem.network(), self.problem.block_macs
        if of_block is not None:
            network.modelled_macs = of_block * sum(network.num_blocks)
        return network

    @functools.cached_property
    def dense_macs(self) -> int:
        """MACs of the network that the task models, for one input or position, all kept."""
        network = self.network()
        return int(network.modelled_macs or network.dense_macs)

    @property
    def rule(self) -> str:
        """The reference in words."""
        return str(self.problem.rule)

    def make(self, **settings: Any) -> Any:
        """The scalar environment, see `ccenv.annexes.tasks.making.make`."""
        return own_part("ccenv.annexes.tasks.making:make")(self.name, **settings)

    def make_vec(self, num_envs: int = 1, **settings: Any) -> Any:
        """The vector environment, see `ccenv.annexes.tasks.making.make_vec`."""
        return own_part("ccenv.annexes.tasks.making:make_vec")(num_envs, self.name, **settings)

    def make_sb3(self, num_envs: int = 1, **settings: Any) -> Any:
        """Stable-Baselines3's view, see `ccenv.annexes.tasks.making.make_sb3`."""
        return own_part("ccenv.annexes.tasks.making:make_sb3")(num_envs, self.name, **settings)


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
    budgets: Mapping[str, int] = field(default_factory=dict)
    """of levels whose budget is another."""

    def __post_init__(self) -> None:
        """Refuses the name of a level that there is not (ValueError)."""
        check_names([self.quick, *self.budgets], self.levels, "level")


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
    "noise": Skill(
        "a share of the labels is wrong",
        50_000,
        {
            f"{100 * p:.0f}": {"gates": (8,), "domains": 8, "flips": p, "cost_weight": 0.1}
            for p in (0.1, 0.3, 0.45)
        },
        "30",
    ),
    "price": Skill(
        "the cost weight is drawn for each input, and shown",
        50_000,
        {
            level: {"gates": (16,), "sizes": (1, 2, 4, 8), "prices": prices}
            for level, prices in (
                ("narrow", (2.0, 8.0)),
                ("medium", (1.0, 16.0)),
                ("wide", (0.5, 32.0)),
            )
        },
        "medium",
    ),
    "budget": Skill(
        "cost is limited on average, not for each input",
        50_000,
        {
            f"{100 * limit:.0f}": {"gates": (16,), "sizes": (2, 6, 10, 16), "cost_limit": limit}
            for limit in (0.1, 0.3, 0.5)
        },
        "30",
    ),
    "memory": Skill(
        "what is needed at the last gate is seen at the first one, n gates before",
        50_000,
        {
            str(n): {"gates": (1,) * n + (4,), "only_last": True, "cost_weight": 0.2 * (n + 4)}
            for n in (2, 4, 8)
        },
        "2",
    ),
    "drift": Skill(
        "the signs of domains change places n times",
        50_000,
        {str(n): {"gates": (8,), "domains": 8, "changes": n, "inputs": 1024} for n in (1, 4, 16)},
        "4",
    ),
    "cotraining": Skill(
        "experts learn along, each best from one domain",
        50_000,
        {str(n): {"domains": n} for n in (4, 8, 16)},
        "4",
        "ccenv.annexes.tasks.cotraining:CoTrained",
        exact=False,
    ),
    "generalisation": Skill(
        "few inputs to learn from, with 60 numbers that say nothing",
        50_000,
        {str(n): {"gates": (4,), "distractors": 60, "inputs": n} for n in (64, 256, 1024)},
        "256",
    ),
    "loads": Skill(
        "the S experts used last lie in fast memory, and others cost loading",
        8_000,
        {str(n): {"memory": n} for n in (1, 2, 4)},
        "2",
        LOADING,
    ),
    "refresh": Skill(
        "a summary grows stale unseen, in patches of n positions",
        8_000,
        {str(n): {"patch": n} for n in (8, 16, 32)},
        "8",
        "ccenv.annexes.tasks.refreshing:Refreshing",
        budgets={"16": 4_000, "32": 2_000},
    ),
    "updates": Skill(
        "two of n positions matter, for an answer at the end",
        8_000,
        {str(n): {"positions": n} for n in (16, 64, 256)},
        "16",
        "ccenv.annexes.tasks.updating:Updating",
        budgets={"64": 4_000, "256": 1_000},
    ),
    "sharing": Skill(
        "requests of a batch share what one of them has loaded",
        8_000,
        {str(n): {"memory": 8, "tokens": n, "load_price": 0.075 * n} for n in (4, 16, 64)},
        "16",
        LOADING,
        budgets={"4": 20_000, "64": 4_000},
    ),
    "real": Skill(
        "tables of frozen networks; the scale ends where an estimate of what is attainable does",
        50_000,
        {
            name: {"table": name, "cost_weight": cost_weight}
            for name, cost_weight in (
                ("text", 1.0),
                ("mlp", 5.0),
                ("resnet20", 2.0),
                ("efficientnet", 3.0),
            )
        },
        "text",
        "ccenv.annexes.tasks.real:Real",
        exact=False,
        budgets={"resnet20": 20_000, "efficientnet": 20_000},
    ),
}
"""In the order of tables."""

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name,
            level,
            skill.budgets.get(level, skill.episodes),
            skill.kind,
            arguments,
            quick=level == skill.quick,
            exact=skill.exact,
        )
        for name, skill in SKILLS.items()
        for level, arguments in skill.levels.items()
    )
}
"""Name -> task, in the order of skills and levels."""


class Suite:
    """All tasks, in the order of `SKILLS`: iterate over them, or take one by its name.

    >>> [task.name for task in Suite()("basic")]
    ['basic-4', 'basic-8', 'basic-16']
    >>> envs = Suite()["basic-4"].make_vec(64, seed=0)
    >>> envs.unwrapped.score.episodes
    0
    """

    def __call__(self, skill: str | None = None, *, quick: bool = False) -> Iterator[Task]:
        """Iterates over tasks, of one skill if one is named, of one level a skill if `quick`.

        Raises:
            TypeError: if quick is neither True nor False.
            ValueError: if there is no such skill, whose nearest one is named.
        """
        if skill is not None:
            check_names([skill], SKILLS, "skill")
        check_flag(quick, "quick")
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
            entry_point="ccenv.annexes.tasks.making:make",
            vector_entry_point="ccenv.annexes.tasks.making:make_vec",
            # Of one environment: a task begins once, and later seeds do not start it over.
            nondeterministic=True,
            kwargs={"task": task.name},
        )
