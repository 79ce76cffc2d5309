"""Pondering by difficulty: a record of `act` on parity, and its figure.

Vectors of six entries, of which one to six are not zero, and whether the number of ones is odd
(Graves 2016, section 3.1, with 6 entries for 64): steps taken and errors by the number of entries,
at three prices of a step.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ccenv.agents.act import Act
from ccenv.data.toy import NUM_ENTRIES
from ccenv.runs.experiment import Experiment
from ccenv.runs.tables.drawing import Drawn, legend_below, legend_height, look, new_figure
from ccenv.runs.tables.sweep_table import markdown
from ccenv.simulator.rollout import walk
from ccenv.simulator.settings import make_simulator

NAME = "parity-steps"
"""Kind and name of the result."""
SEEDS, PRICES, INPUTS, ROWS = (0, 1, 2), (0.005, 0.02, 0.08), 300_000, 512
NETWORK: dict[str, Any] = {
    "dataset": "ccenv.data.toy:parity",
    "network": "pondering",
    "network_kwargs": {"units": 32, "num_steps": 6, "loss_weight": 0.3},
    "weights": "cotrain",
    "weights_kwargs": {"learning_rate": 0.005},
    "observation": "layer_input",
}
# A hidden layer sees how sure a step's answer is, which no affine unit does of two classes.
UNITS: dict[str, Any] = {"hidden_units": 16, "halting_bias": 0.0, "learning_rate": 0.01}
Row = Mapping[str, Any]


def measured(
    seeds: Sequence[int] = SEEDS, prices: Sequence[float] = PRICES, inputs: int = INPUTS
) -> Iterator[dict[str, Any]]:
    """A row for each price, seed and number of entries that are not zero.

    Args:
        seeds: of agent and network.
        prices: nats of a step.
        inputs: that are learned from.
    """
    for price in prices:
        for seed in seeds:
            simulator = make_simulator(ROWS, NETWORK)
            simulator.seed(seed)
            agent = Act(simulator, seed=seed, time_weight=price, **UNITS)
            agent.learn(inputs)
            number, wrong, entries = judged(simulator, agent)
            for k in range(1, NUM_ENTRIES + 1):
                own = entries == k
                yield {
                    "price": price,
                    "seed": seed,
                    "entries": k,
                    "steps": number[own].mean().item(),
                    "error": wrong[own].mean().item(),
                }


def judged(simulator: Any, agent: Act) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Steps taken, whether the answer is wrong, and entries that are not zero, of test inputs."""
    size = len(simulator.on_split("test", 1).data)
    test = simulator.on_split("test", size)
    which = torch.arange(size)
    _, _, steps = walk(test, agent, None, which)
    number = 1 + torch.stack([step.outcome.mask[:, 0].double() for step in steps]).sum(dim=0)
    logits = steps[-1].outcome.logits
    assert logits is not None
    wrong = logits.argmax(dim=1) != test.data.labels
    entries = (test.data.batch(which)[0] != 0).sum(dim=1)
    return number, wrong.double(), entries


def means(rows: Sequence[Row], price: float, what: str) -> list[float]:
    """Mean over seeds, by the number of entries."""
    numbers = sorted({row["entries"] for row in rows})
    return [
        statistics.fmean(r[what] for r in rows if (r["price"], r["entries"]) == (price, k))
        for k in numbers
    ]


def table(rows: Sequence[Row]) -> str:
    """A line for each price: steps by the number of entries, and the error of all."""
    numbers = sorted({row["entries"] for row in rows})
    columns = {"price of a step": "left"} | {f"steps of {k}": "right .2f" for k in numbers}
    lines = [
        [price, *means(rows, price, "steps"), 100 * statistics.fmean(means(rows, price, "error"))]
        for price in sorted({row["price"] for row in rows})
    ]
    return markdown(columns | {"error %": "right .1f"}, lines)


def parity_figure(rows: Sequence[Row]) -> Drawn:
    """Steps and errors over the number of entries, a line for each price."""
    prices = sorted({row["price"] for row in rows})
    numbers = sorted({row["entries"] for row in rows})
    names = [f"{price} nats a step" for price in prices]
    figure = new_figure(2.4 + legend_height(names))
    left, right = figure.subplots(1, 2)
    lines, said = [], []
    for place, price in enumerate(prices):
        style: Mapping[str, Any] = look(place) | {"ms": 3, "lw": 1.2}
        steps, errors = means(rows, price, "steps"), means(rows, price, "error")
        lines += left.plot(numbers, steps, **style)
        right.plot(numbers, [100 * error for error in errors], **style)
        told = ", ".join(f"{s:.2f} ({e:.1%})" for s, e in zip(steps, errors, strict=True))
        said.append(f"{price} nats a step: {told}")
    left.set(xlabel="entries that are not zero", ylabel="steps")
    right.set(xlabel="entries that are not zero", ylabel="test error %")
    legend_below(figure, lines, names)
    title = "Steps and errors by how many entries are not zero."
    return Drawn(figure, "steps", title, "Steps (error) of 1, 2, ... entries. " + "; ".join(said))


PARITY = Experiment(
    name=NAME,
    about="steps of adaptive computation by an input's difficulty",
    run=lambda options: measured(),
    pivot=table,
    settings={**NETWORK, **UNITS, "prices": PRICES, "inputs": INPUTS, "seeds": SEEDS},
    figure=parity_figure,
)
