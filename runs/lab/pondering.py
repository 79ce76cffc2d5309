"""Steps that `act` takes by kind of input: tasks of Graves 2016 and a text -> rows and a figure."""

import argparse
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.agents.systems.act import Act
from ccenv.data import load_split
from ccenv.data.toy import BASE, MOST_SORTED, NUM_ADDENDS, NUM_DIGITS
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.tables.drawing import COLORS, INK, Drawn, new_figure
from ccenv.simulator.rollout import walk
from ccenv.simulator.simulator import Simulator

BATCH = 512
JUDGED = 10_000
"""Test inputs of a task, at most."""
FEWEST = 10
"""Inputs of a kind that is drawn."""
Kinds = Callable[[Tensor], tuple[Sequence[str], Tensor]]
"""Inputs [n, ...] -> names of kinds, and the kind of each input, int64 [n]."""


@dataclass(frozen=True)
class Task:
    """What is learned, and how long."""

    dataset: str
    network: str
    images: int
    units: int
    num_steps: int
    learning_rate: float
    """of the network and of the halting units."""
    time_weight: float
    """nats for a step."""


TASKS = {
    "parity": Task("parity", "pondering", 400_000, 64, 8, 0.01, 0.003),
    "addition": Task("addition", "pondering", 200_000, 128, 6, 0.004, 0.003),
    "sorting": Task("sorting", "pondering", 200_000, 128, 6, 0.004, 0.003),
    "text": Task("python_bundled", "pondering_bytes", 400_000, 128, 6, 0.004, 0.01),
}
UNITS = {"parity": "entries", "addition": "addends", "sorting": "numbers", "text": "last symbol"}
"""Task -> what the kinds of its inputs are."""
LETTERS = {
    "space": " ",
    "newline": "\n",
    "letter": string.ascii_letters,
    "digit": string.digits,
    "punctuation": string.punctuation,
}


def by_number(counts: Tensor) -> tuple[Sequence[str], Tensor]:
    """Kinds of inputs by how much there is of each."""
    numbers, kinds = counts.long().unique(return_inverse=True)
    return [str(int(number)) for number in numbers], kinds


def by_letter(inputs: Tensor) -> tuple[Sequence[str], Tensor]:
    """Kinds of windows by their last symbol."""
    letters = load_split(TASKS["text"].dataset, "test").letters
    assert letters is not None
    table = np.full(len(letters), len(LETTERS))
    for kind, members in enumerate(LETTERS.values()):
        table[np.isin(letters, [ord(letter) for letter in members])] = kind
    return [*LETTERS, "other"], torch.from_numpy(table)[inputs[:, -1]]


KINDS: Mapping[str, Kinds] = {
    "parity": lambda inputs: by_number((inputs != 0).sum(dim=1)),
    "addition": lambda inputs: by_number(
        (inputs[:, : NUM_ADDENDS * NUM_DIGITS * BASE].unflatten(1, (NUM_ADDENDS, -1)) > 0)
        .any(dim=2)
        .sum(dim=1)
    ),
    "sorting": lambda inputs: by_number(inputs[:, MOST_SORTED : 2 * MOST_SORTED].sum(dim=1)),
    "text": by_letter,
}


def trained(task: Task, images: int, seed: int) -> Act:
    """Lets an agent and its network learn a task by the weighed answer alone, as in the paper."""
    simulator = Simulator(
        BATCH,
        dataset=task.dataset,
        network=task.network,
        network_kwargs={
            "units": task.units,
            "num_steps": task.num_steps,
            "loss_weight": 0.0,
        },
        weights="cotrain",
        weights_kwargs={
            "learning_rate": task.learning_rate,
            "schedule_updates": -(-images // BATCH),
        },
        observation="layer_input",
        reward="negative_nll",
    )
    simulator.seed(seed)
    agent = Act(
        simulator, seed=seed, learning_rate=task.learning_rate, time_weight=task.time_weight
    )
    agent.learn(images)
    return agent


def steps_by_kind(name: str, agent: Act) -> Iterator[Row]:
    """A row for all test inputs of a task, and one for each kind of them."""
    there = len(agent.simulator.on_split("test", 1).data)
    count = min(JUDGED, there)
    test = agent.simulator.on_split("test", count)
    # Even over a text, whose windows lie in its order.
    indices = torch.arange(count) * (there // count)
    _, _, episode = walk(test, agent, None, indices)
    outcome = episode[-1].outcome
    numbers = {
        "steps": 1 + torch.stack([step.outcome.mask[:, 0] for step in episode]).sum(dim=0).double(),
        "error": 1 - outcome.correct.double(),
        "nll": -outcome.log_likelihood.double(),
    }
    names, kinds = KINDS[name](test.data.batch(indices)[0])
    groups = {"all": torch.ones(count, dtype=torch.bool)}
    groups |= {kind: kinds == number for number, kind in enumerate(names)}
    for kind, rows in groups.items():
        if rows.any():
            means = {key: float(value[rows].mean()) for key, value in numbers.items()}
            yield {"task": name, "kind": kind, "inputs": int(rows.sum()), **means}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which tasks, and how long."""
    add = parser.add_argument
    add("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS], help="what is learned")
    add("--images", type=int, help="training inputs, in place of each task's own")
    add("--seed", type=int, default=0, help="of network and agent")


def measured(options: Options) -> Iterator[Row]:
    """Rows of each task."""
    for name in options.tasks:
        task = TASKS[name]
        agent = trained(task, options.images or task.images, options.seed)
        yield from steps_by_kind(name, agent)


def drawn(rows: Sequence[Row]) -> Drawn:
    """A panel a task: mean steps of each kind of input."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure = new_figure(1.5 * len(tasks))
    for place, name in enumerate(tasks):
        axes = figure.add_subplot(len(tasks), 1, place + 1)
        own = [row for row in rows if row["task"] == name]
        kinds = [r for r in own if r["kind"] != "all" and r["inputs"] >= FEWEST]
        places = range(len(kinds))
        axes.bar(places, [row["steps"] for row in kinds], color=COLORS[place], width=0.7)
        axes.axhline(own[0]["steps"], color=INK, lw=0.8, ls="--")
        axes.set_xticks(places, [row["kind"] for row in kinds])
        axes.set(ylabel="steps", xlabel=f"{name}: {UNITS[name]}", ylim=(0.0, None))
        axes.grid(visible=False, axis="x")
    caption = "Mean pondering steps by kind of input; dashed: of all inputs."
    ends = "; ".join(
        f"{row['task']}, {row['kind']}: {row['steps']:.2f}" for row in rows if row["kind"] != "all"
    )
    return Drawn(figure, "steps", caption, ends)


def shown(row: Row) -> dict[str, Any]:
    """Bits of an answer."""
    return {"bits": row["nll"] / np.log(2)}


PONDERING = Experiment(
    name="pondering",
    about="steps that act takes by kind of input, on tasks of Graves 2016 and on a text",
    run=measured,
    columns={
        "task": "<{task}",
        "kind of input": "<{kind}",
        "inputs": ">{inputs:,}",
        "steps": ">{steps:.2f}",
        "error %": ">{error:.1%}",
        "bits": ">{bits:.3f}",
    },
    shown=shown,
    settings={"batch_size": BATCH, "tasks": {name: asdict(task) for name, task in TASKS.items()}},
    add_options=add_options,
    key=("task",),
    figure=drawn,
)
