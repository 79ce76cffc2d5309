"""The score of a task, kept by the environment: (masks, step by step) -> `score.json`.

An extension of the simulator (`ccenv.simulator.step.Extension`), so that an agent of any library is
scored while it learns, and sees nothing of it. What counts is the expected return of each episode,
of the masks that were chosen; chance that no policy can foresee, such as wrong labels, is averaged
out by the problem itself.

Inputs and their order are the task's. A reset before the first step of an episode begins the same
one again. A reset behind its first step leaves it: it counts, as the worst one. A seed is taken
before the very first step, and changes nothing later. Episodes that a copy judges before the budget
is spent earn nothing. The file counts all of these.

What keeps a score is neither copied nor pickled, and its folder holds no other score. What happens
outside of it is not seen: another environment of the task, its data and network read directly,
attributes that Python code sets. Then what the file says is its author's word.
"""

import dataclasses
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.annexes.tasks.catalogue import PARTS, SAID, SCORE, TASKS, VERSION
from ccenv.base.files import sealed, write_whole
from ccenv.base.registry import check_names
from ccenv.base.values import as_settings, shown
from ccenv.mdp.dynamics import StepOutcome
from ccenv.simulator.settings import EXTENSIONS
from ccenv.simulator.simulator import ImageOrder
from ccenv.simulator.step import Extension, SimulatorParts

LATELY = 10
"""Parts over which the cost of a task with a limit is averaged, so that chance weighs little."""
ASKED = ("name", "folder", "agent", "seed")
FREE = ("task", "group_size", "device")
"""Settings of the simulator that are not the task's."""


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
        settings: Any = {"name": asked} if isinstance(asked, str) else as_settings(asked, "task")
        check_names(settings, ASKED, "key of the setting task")
        check_names([settings.get("name")], TASKS, "task")
        self.task = TASKS[settings["name"]]
        self.folder = None if settings.get("folder") is None else Path(settings["folder"])
        self.agent, self.agent_seed = settings.get("agent"), settings.get("seed")
        self.value = self.cost = torch.zeros(0, dtype=torch.float64)
        """of the episodes under way, float64 [batch] each."""
        self.sums = np.zeros((3, PARTS))
        """of values, of costs and of squares of values, by parts of the budget."""
        self.counts = np.zeros(PARTS, np.int64)
        """of episodes, likewise."""
        self.has_begun = False
        """whether there was a step: then the seed is taken."""
        self.is_under_way = False
        """whether there was one since the last reset, and none has ended the episodes."""
        self.resumes = False
        """whether the episodes that begin next are those of a stored state."""
        self.order: int | None = None
        """seed of the order of inputs."""
        self.resets = {"repeated": 0, "left": 0, "seeds": 0, "resumed": 0, "judged": 0}
        """resets that began the same again, or left episodes under way; seeds that were not taken;
        stored states that were gone on from; episodes that copies judged, see `Judged`."""
        self.has_file = False
        """whether it has written one, which no other score replaces."""

    @property
    def episodes(self) -> int:
        """Ended so far; not above the budget."""
        return int(self.counts.sum())

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuses copies and pickles (TypeError), also of whatever holds the score."""
        raise TypeError(
            f"expected no copy or pickle of an environment that keeps a score, got one of the task "
            f"{self.task.name!r}; make another environment from its id or its settings"
        )

    def check_beside(self, others: Sequence[Extension]) -> None:
        """Refuses extensions that are not the task's, or twice (ValueError)."""
        names = sorted(other.name for other in others)
        needed = sorted(self.task.settings.keys() & EXTENSIONS.keys() - {self.name})
        if names != needed:
            raise ValueError(
                f"expected the settings of the task {self.task.name!r}, with {needed or 'none'} of "
                f"{', '.join(EXTENSIONS)}, got {names}"
            )

    def attach(self, simulator: SimulatorParts) -> None:
        """Refuses an environment that is not the task's, or has a score's folder (ValueError)."""
        self.owner = weakref.ref(simulator)
        if self.folder is not None and os.path.lexists(self.folder / SCORE):
            raise already_scored(self.folder)
        asked = simulator.asked
        expected = type(asked)(**self.task.settings | {name: getattr(asked, name) for name in FREE})
        for name in (field.name for field in dataclasses.fields(asked)):
            if getattr(asked, name) != getattr(expected, name):
                raise ValueError(
                    f"expected the settings of the task {self.task.name!r}, got another {name}, "
                    f"{shown(getattr(asked, name))}; take gym.make_vec('ccenv:{self.task.id}')"
                )

    def takes_seed(self, simulator: SimulatorParts) -> bool:
        """Before the first step of all."""
        self.resets["seeds"] += self.has_begun
        return not self.has_begun

    def seed(self, simulator: SimulatorParts, seed: int) -> None:
        """Puts the data in the order of their phases."""
        self.order = seed
        if self.task.problem.phases > 1:
            simulator.order = PhaseOrder(simulator.order, self)

    def inputs(self, simulator: SimulatorParts, indices: Tensor | None) -> Tensor | None:
        """The same inputs again where no step was made; ValueError where some are asked for."""
        self.check_own(simulator)
        if self.resumes:
            self.resumes = False
            return indices
        if indices is not None:
            raise ValueError(
                "expected no indices in an environment of the suite, whose inputs are the task's, "
                f"got {len(indices)}; leave them out"
            )
        if self.is_under_way:
            self.resets["left"] += 1
            self.value = torch.zeros_like(self.value) + self.task.problem.worst(self.price)
            self.cost = torch.ones_like(self.value)
            self.finish()
        elif not simulator.is_over:
            self.resets["repeated"] += 1
            for extension in simulator.extensions:
                if extension is not self:
                    extension.load_state(extension.state(begun=True))
            return simulator.indices[:: simulator.group_size].cpu()
        return None

    def check_own(self, simulator: SimulatorParts) -> None:
        """Refuses a copy of the simulator (ValueError), which could look ahead."""
        if self.owner() is not simulator:
            raise ValueError(
                f"expected the simulator that was made for the task {self.task.name!r}, got a copy "
                "of it; use the environment itself"
            )

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Nothing is earned yet."""
        rows, device = num_inputs * simulator.group_size, simulator.device
        self.value = torch.zeros(rows, dtype=torch.float64, device=device)
        self.cost = torch.zeros_like(self.value)
        self.price: Any = self.task.settings.get("reward_kwargs", {}).get("cost_weight", 1.0)
        if simulator.context is not None:
            self.price = simulator.context.values["cost_weight"]

    def before_gate(
        self, simulator: SimulatorParts, mask: Tensor, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Refuses gate values (ValueError): optima are those of masks."""
        self.check_own(simulator)
        if values is not None:
            raise ValueError(
                "expected masks alone in an environment of the suite, got gate values; take an "
                "agent, or a setting of it, that gives masks"
            )
        self.has_begun = self.is_under_way = True
        return mask, values

    def after_gate(self, simulator: SimulatorParts, outcome: StepOutcome) -> dict[str, Tensor]:
        """Adds what a step is worth; tells nothing."""
        self.value += self.task.problem.value(outcome, self.price)
        self.cost += outcome.layer_cost / simulator.positions
        if outcome.is_last and simulator.position + 1 == simulator.positions:
            self.finish()
        return {}

    def finish(self) -> None:
        """Counts the episodes that have ended, as far as the budget goes."""
        self.is_under_way = False
        budget = self.task.episodes
        count = min(len(self.value), budget - self.episodes)
        parts = (self.episodes + np.arange(count)) * PARTS // budget
        for row, values in enumerate((self.value, self.cost, self.value**2)):
            np.add.at(self.sums[row], parts, values.cpu().numpy()[:count])
        before = self.episodes * PARTS // budget
        np.add.at(self.counts, parts, 1)
        if self.episodes * PARTS // budget > before:
            self.write()

    def result(self) -> dict[str, Any]:
        """What the file holds: numbers are None of parts that have not ended."""
        task, ended = self.task, self.episodes * PARTS // self.task.episodes
        counts = self.counts[:ended]
        values, costs, squares = self.sums[:, :ended] / counts
        errors = np.sqrt((squares - values**2).clip(min=0) / counts)
        returns = [
            task.problem.earned(value, spent_lately(costs, part))
            for part, value in enumerate(values.tolist())
        ]
        nothing = [None] * (PARTS - ended)
        return {
            "suite": VERSION,
            "task": task.name,
            "agent": self.agent,
            "agent_is": None if self.agent is None else SAID,
            "seed": self.agent_seed,
            "order": self.order,
            "resets": dict(self.resets),
            "optimum": task.optimum,
            "reference": task.reference,
            "budget": task.episodes,
            "episodes": self.episodes,
            "returns": [*returns, *nothing],
            "errors": [*errors.tolist(), *nothing],
            "cost": [*costs.tolist(), *nothing],
        }

    def write(self) -> None:
        """Replaces its file; makes a folder of its own where none was named.

        Raises:
            ValueError: if another environment has written there meanwhile.
        """
        if self.folder is None:
            self.folder = new_folder(Path("runs", "suite", self.task.name))
        if not self.has_file:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                (self.folder / SCORE).touch(exist_ok=False)
            except FileExistsError:
                raise already_scored(self.folder) from None
            self.has_file = True
        write_whole(self.folder / SCORE, json.dumps(sealed(self.result())) + "\n")

    def score(self, last: float = 1.0) -> float:
        """Mean score of the budget's last share as far as it was reached: 0 reference, 1 optimum.

        Raises:
            ValueError: if no part of it has ended.
        """
        returns = self.result()["returns"][round(PARTS * (1 - last)) :]
        reached = [one for one in returns if one is not None]
        if not reached:
            raise ValueError(
                f"expected at least a hundredth of {self.task.episodes:,} episodes, got "
                f"{self.episodes:,}; let the agent learn for longer"
            )
        mean = float(np.mean(reached))
        return (mean - self.task.reference) / (self.task.optimum - self.task.reference)

    def state(self, *, begun: bool) -> dict[str, Any]:
        """What was scored so far."""
        return {
            "begun": begun,
            "has_begun": self.has_begun,
            "resets": dict(self.resets),
            "sums": torch.from_numpy(self.sums.copy()),
            "counts": torch.from_numpy(self.counts.copy()),
        }

    def load_state(self, state: Any) -> None:
        """Goes on from there; ValueError in an environment whose episodes have begun."""
        if self.has_begun:
            raise ValueError(
                "expected a task that has not begun, for a stored state, got one under way; put "
                "it into a new environment"
            )
        # An older state does not count what was judged.
        self.resets = self.resets | state["resets"] | {"resumed": state["resets"]["resumed"] + 1}
        self.has_begun, self.resumes = state["has_begun"], state["begun"]
        self.sums, self.counts = state["sums"].numpy().copy(), state["counts"].numpy().copy()

    def for_judging(self) -> "Judged":
        """Judging earns nothing, and is counted."""
        return Judged(self)


class Judged(Extension):
    """Counts the episodes of a copy that judges: what they tell, a policy may learn from."""

    name = "task"
    over_sequences = True

    def __init__(self, score: TaskScore) -> None:
        """Counts for the score of the environment that was copied."""
        self.score = score

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Counts, until the budget is spent."""
        if self.score.episodes < self.score.task.episodes:
            self.score.resets["judged"] += num_inputs * simulator.group_size


def already_scored(folder: Path) -> ValueError:
    """The error for a folder in which another score lies."""
    return ValueError(
        f"expected a score_folder without a score, got {folder}, which holds "
        f"{SCORE}; name another folder"
    )


def spent_lately(costs: NDArray[np.float64], part: int) -> float:
    """Mean compute cost of the last parts up to one, which a limit is on; costs are [parts]."""
    return float(costs[max(0, part + 1 - LATELY) : part + 1].mean())


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
