"""The score of a task, kept by the environment: (masks, step by step) -> `score.json`.

An extension of the simulator (`ccenv.simulator.step.Extension`), so that an agent of any library is
scored while it learns, and sees nothing of it. What counts is the expected return of each episode,
of the masks that were chosen; chance that no policy can foresee, such as wrong labels, is averaged
out by the problem itself.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ccenv.base.files import write_whole
from ccenv.base.registry import check_names
from ccenv.base.values import as_settings
from ccenv.mdp.dynamics import StepOutcome
from ccenv.simulator.simulator import ImageOrder
from ccenv.simulator.step import Extension
from ccenv.tasks.catalogue import PARTS, SCORE, TASKS, VERSION

LATELY = 10
"""Parts over which the cost of a task with a limit is averaged, so that chance weighs little."""
ASKED = ("name", "folder", "agent", "seed")


class PhaseOrder(ImageOrder):
    """Passes over one phase of the data after the other, each for its share of the budget."""

    def __init__(self, order: ImageOrder, score: "TaskScore") -> None:
        """Goes on with an order's stream."""
        self.data, self.stream, self.rest = order.data, order.stream, order.rest
        self.score = score

    def draw(self, count: int) -> Tensor:
        """The next indices of the phase, int64 [count]."""
        phases = self.score.task.problem.phases
        share = self.score.episodes / self.score.task.episodes
        phase = min(int(share * phases), phases - 1)
        size = len(self.data) // phases
        if len(self.rest) and int(self.rest[0]) // size != phase:
            self.rest = self.rest[:0]
        while len(self.rest) < count:
            one = torch.randperm(size, generator=self.stream) + phase * size
            self.rest = torch.cat([self.rest, one])
        drawn, self.rest = self.rest[:count], self.rest[count:].clone()
        return drawn


class TaskScore(Extension):
    """Keeps the exact score of one task; the setting is its name, or a mapping of `ASKED`."""

    name = "task"
    over_sequences = True

    def __init__(self, asked: str | Mapping[str, Any]) -> None:
        """Reads the setting; ValueError of an unknown task or key."""
        given: Any = {"name": asked} if isinstance(asked, str) else as_settings(asked, "task")
        check_names(given, ASKED, "key of the setting task")
        check_names([given.get("name")], TASKS, "task")
        self.task = TASKS[given["name"]]
        self.folder = None if given.get("folder") is None else Path(given["folder"])
        self.agent, self.agent_seed = given.get("agent"), given.get("seed")
        self.episodes = 0
        """ended so far; not above the budget."""
        self.sums = np.zeros((2, PARTS))
        """of values and of costs, by parts of the budget."""
        self.counts = np.zeros(PARTS, np.int64)

    def attach(self, simulator: Any) -> None:
        """Refuses an environment that is not the task's (ValueError)."""
        if simulator.dataset != self.task.settings["dataset"]:
            raise ValueError(
                f"expected the settings of the task {self.task.name!r}, got another data set, "
                f"{simulator.dataset!r}; take gym.make_vec('ccenv:{self.task.id}')"
            )

    def seed(self, simulator: Any, seed: int) -> None:
        """Puts the data in the order of their phases; what was scored stays."""
        if self.task.problem.phases > 1 and simulator.split == "train":
            simulator.order = PhaseOrder(simulator.order, self)

    def begin(self, simulator: Any, num_inputs: int) -> None:
        """Nothing is earned yet."""
        rows, device = num_inputs * simulator.group_size, simulator.device
        self.value = torch.zeros(rows, dtype=torch.float64, device=device)
        self.cost = torch.zeros_like(self.value)

    def after_gate(self, simulator: Any, outcome: StepOutcome) -> dict[str, Tensor]:
        """Adds what a step is worth; tells nothing."""
        context = simulator.context
        price: Any = self.task.settings.get("reward_kwargs", {}).get("cost_weight", 1.0)
        if context is not None:
            price = context.values["cost_weight"]
        self.value += self.task.problem.value(outcome, price)
        self.cost += outcome.layer_cost / simulator.positions
        if outcome.is_last and simulator.position + 1 == simulator.positions:
            self.finish()
        return {}

    def finish(self) -> None:
        """Counts the episodes that have ended, as far as the budget goes."""
        budget = self.task.episodes
        count = min(len(self.value), budget - self.episodes)
        parts = (self.episodes + np.arange(count)) * PARTS // budget
        for row, values in enumerate((self.value, self.cost)):
            np.add.at(self.sums[row], parts, values.cpu().numpy()[:count])
        np.add.at(self.counts, parts, 1)
        before, self.episodes = self.episodes * PARTS // budget, self.episodes + count
        if self.episodes * PARTS // budget > before:
            self.write()

    def result(self) -> dict[str, Any]:
        """What the file holds: returns and costs are None of parts that have not ended."""
        task, ended = self.task, self.episodes * PARTS // self.task.episodes
        values, costs = self.sums[:, :ended] / self.counts[:ended]
        returns = [
            task.problem.earned(value, float(costs[max(0, part + 1 - LATELY) : part + 1].mean()))
            for part, value in enumerate(values.tolist())
        ]
        nothing = [None] * (PARTS - ended)
        return {
            "suite": VERSION,
            "task": task.name,
            "agent": self.agent,
            "seed": self.agent_seed,
            "optimum": task.optimum,
            "reference": task.reference,
            "budget": task.episodes,
            "episodes": self.episodes,
            "returns": [*returns, *nothing],
            "cost": [*costs.tolist(), *nothing],
        }

    def write(self) -> None:
        """Replaces the file; makes a folder of its own where none was named."""
        if self.folder is None:
            self.folder = new_folder(Path("runs", "suite", self.task.name))
        write_whole(self.folder / SCORE, json.dumps(self.result()) + "\n")

    def score(self, last: float = 1.0) -> float:
        """Mean score of the budget's last share as far as it was reached: 0 reference, 1 optimum.

        Raises:
            ValueError: if no part of it has ended.
        """
        returns = self.result()["returns"][round(PARTS * (1 - last)) :]
        found = [one for one in returns if one is not None]
        if not found:
            raise ValueError(
                f"expected at least a hundredth of {self.task.episodes:,} episodes, got "
                f"{self.episodes:,}; let the agent learn for longer"
            )
        mean = float(np.mean(found))
        return (mean - self.task.reference) / (self.task.optimum - self.task.reference)

    def state(self, *, begun: bool) -> dict[str, Any]:
        """What was scored so far."""
        return {
            "episodes": self.episodes,
            "sums": torch.from_numpy(self.sums.copy()),
            "counts": torch.from_numpy(self.counts.copy()),
        }

    def load_state(self, state: Any) -> None:
        """Goes on from there."""
        self.episodes = state["episodes"]
        self.sums, self.counts = state["sums"].numpy().copy(), state["counts"].numpy().copy()

    def for_judging(self) -> Self | None:
        """Judging is no learning, and counts for nothing."""
        return None


def new_folder(parent: Path) -> Path:
    """Makes the first folder of 0, 1, 2 and so on that is not there yet."""
    parent.mkdir(parents=True, exist_ok=True)
    number = len([*parent.iterdir()])
    while True:
        try:
            (parent / str(number)).mkdir()
        except FileExistsError:
            number += 1
        else:
            return parent / str(number)
