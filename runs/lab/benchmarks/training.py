"""Speed of whole trainings: with the kernels, by dense products times masks, and of dense networks.

What is timed is the loop of a training run (`Agent.learn`): images, observations, the policy's
draws, the network's passes and rewards, the agent's update, then the network's own forward,
backward and optimiser. The route is the network's: the kernels, dense products times masks, or the
dense network's own.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.agents.base import Agent
from ccenv.agents.scores import LayerScores
from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.prepare import build_run
from ccenv.runs.lab.benchmarks.cases import Row, benchmark, ratio
from ccenv.runs.sweeps import SWEEPS
from ccenv.simulator.rollout import collect_rollout

KERNELS, MASKED, DENSE = "kernels", "masked dense", "dense"
NOTES = """\
Over masked dense: time of the same training loop by dense products times masks over time, in the
same round, median [quartiles]; over dense: the same of the dense network's loop. Rows: images times
masks of each, all of which train the network. Parts of an update, medians: rollout (images,
observations, policy, network, rewards), the agent's own update, the network's forward, backward and
optimiser. condnet starts at its target density, where the paper's training ends."""
COLUMNS = {
    "training": "<{training}",
    "route": "<{route}",
    "density": ">{density:.3f}",
    "images/s": ">{images_per_second:,.0f}",
    "rows/s": ">{rows_per_second:,.0f}",
    "over masked dense": "<{speedup:.2f} [{speedup_low:.2f}, {speedup_high:.2f}]",
    "over dense": ">{dense_speedup:.2f}",
    "rollout ms": ">{rollout_milliseconds:.1f}",
    "agent ms": ">{agent_milliseconds:.1f}",
    "network ms": ">{network_milliseconds:.1f}",
}


class MaskedDenseMLP(GatedMLP):
    """The same network, but every layer is a dense product times the mask, whatever is asked."""

    def gated_layer(
        self,
        index: int,
        x: Tensor,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        backend: str = "reference",
    ) -> Tensor:
        """See `GatedMLP.gated_layer`."""
        return super().gated_layer(index, x, in_mask, out_mask, "reference")

    def head(self, x: Tensor, in_mask: Tensor | None, backend: str = "reference") -> Tensor:
        """See `GatedMLP.head`."""
        return super().head(x, in_mask, "reference")


@dataclass(frozen=True)
class Training:
    """A training to time, beside the dense network's."""

    name: str
    """what is trained."""
    agent: str
    """a name in `ccenv.agents.AGENTS`."""
    settings: Mapping[str, Any]
    """of `ccenv train`, for the agent and for the dense network."""
    gated: Mapping[str, Any]
    """the agent's own."""
    dense: Mapping[str, Any]
    """the dense network's own."""
    start_density: float | None = None
    """share of blocks that the policy keeps from its first update on; None leaves it as it is."""


def make_agents(training: Training) -> dict[str, Agent]:
    """An agent in an environment of its own for each route."""
    gated = {**training.settings, **training.gated}
    plans = {
        KERNELS: make_plan(training.agent, gated),
        MASKED: make_plan(training.agent, {**gated, "network": f"{__name__}:MaskedDenseMLP"}),
        DENSE: make_plan("dense", {**training.settings, **training.dense}),
    }
    agents = {route: build_run(plan)[1] for route, plan in plans.items()}
    if training.start_density is not None:
        for route in (KERNELS, MASKED):
            keep_from_the_start(agents[route], training.start_density)
    return agents


def keep_from_the_start(agent: Any, density: float) -> None:
    """Lets `condnet` keep every block with one probability, as its regularizers want it to.

    Untrained it keeps half of the blocks and takes epochs to come down: the time of an update
    would be that of a policy that nobody wants.
    """
    scores: LayerScores = agent.scores
    # The authors' code bounds probabilities: see ccenv.agents.distributions.keep_probability.
    bias = torch.tensor((density - 0.01) / 0.98).logit()
    with torch.no_grad():
        for linear in scores.modules():
            if isinstance(linear, nn.Linear):
                linear.weight.zero_()
                linear.bias.copy_(bias.expand_as(linear.bias))


def all_trainings(*, quick: bool) -> Iterator[Training]:
    """The recorded `mnist-rloo` sweep's rloo; the paper's policy at densities that it is to have.

    Each beside the dense network of the same widths.
    """
    sweep = SWEEPS["mnist-rloo"]
    (rloo,) = (cell for cell in sweep.cells if cell.label == "rloo")
    yield Training(
        name="rloo, MNIST 784, 32 x 8 with 2 kept, 10; 8 masks an image",
        agent="rloo",
        settings=sweep.settings,
        gated=rloo.settings,
        dense={"num_blocks": (1,), "block_size": 256},
    )
    for density in () if quick else (1 / 16, 0.18):
        yield Training(
            name="condnet, CIFAR-10 3072, 10 x 64, 10 x 64, 10",
            agent="condnet",
            settings={**SWEEPS["mnist-condnet"].settings, "env": "BlockSelectionCIFAR10-v0"},
            gated={"target_density": density},
            dense={"num_blocks": (1, 1), "block_size": 640},
            start_density=density,
        )


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """All routes of every training in turns."""
    for training in all_trainings(quick=quick):
        yield from time_training(training, rounds, seconds=0.02 if quick else 0.3)


def time_training(training: Training, rounds: int, seconds: float) -> list[Row]:
    """Times all routes of a training in turns."""
    agents = make_agents(training)
    # One image asked for is one batch: a whole batch is always finished.
    loops = {route: partial(agent.learn, 1) for route, agent in agents.items()}
    times = seconds_in_turns(loops, rounds, seconds)
    return [
        {"training": training.name, "route": route, **speed(agent, times, route)}
        for route, agent in agents.items()
    ]


def speed(agent: Agent, times: Mapping[str, Sequence[float]], route: str) -> Row:
    """One route's rates beside the others of the same rounds; `NOTES` tells what they say."""
    simulator = agent.simulator
    stages, density = stage_seconds(agent)
    images = simulator.num_images // simulator.group_size
    row = {
        "dataset": str(simulator.dataset),
        "num_images": images,
        "num_rows": simulator.num_images,
        "density": density,
        "images_per_second": images / statistics.median(times[route]),
        **ratio("speedup", times[MASKED], times[route]),
        "dense_speedup": quartiles_of_ratio(times[DENSE], times[route])[1],
    }
    names = ("rollout", "agent", "network")
    return row | {f"{k}_milliseconds": 1e3 * v for k, v in zip(names, stages, strict=True)}


def stage_seconds(agent: Agent, updates: int = 10) -> tuple[list[float], float]:
    """Median seconds of rollout, agent's and network's update; mean density; of some updates."""
    rows, densities = [], []
    for _ in range(updates):
        marks = [time.perf_counter()]
        rollout = collect_rollout(agent.simulator, agent, agent.generator)
        marks.append(time.perf_counter())
        agent.update(rollout)
        marks.append(time.perf_counter())
        agent.simulator.update_network()
        marks.append(time.perf_counter())
        rows.append([b - a for a, b in itertools.pairwise(marks)])
        densities += [v for k, v in rollout.means.items() if k.startswith("density_")]
    medians = [statistics.median(stage) for stage in zip(*rows, strict=True)]
    return medians, statistics.mean(densities)


TRAINING = benchmark(
    "training",
    "whole training loops with the kernels and without",
    measured,
    COLUMNS,
    kind="training",
    shown=lambda row: {
        "rows_per_second": row["images_per_second"] * row["num_rows"] / row["num_images"]
    },
    recorded_as="training-speed",
    notes=NOTES,
)
