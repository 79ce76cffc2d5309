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

from ccenv import PRESETS
from ccenv.agents.base import Agent, LayerScores
from ccenv.data import Split, load_split
from ccenv.networks.mlp import GatedMLP
from ccenv.runs.engine.run import build
from ccenv.runs.plan.settings import make_plan
from ccenv.runs.show.tables import formatted
from ccenv.runs.studies.quickstart import MNIST_CONDNET, MNIST_RLOO
from ccenv.runs.timing.speed import noise
from ccenv.runs.timing.turns import quartiles_of_ratio, seconds_in_turns
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
    """of `ccenv.runs.train`, for the agent and for the dense network."""
    gated: Mapping[str, Any]
    """the agent's own."""
    dense: Mapping[str, Any]
    """the dense network's own."""
    start_density: float | None = None
    """share of blocks that the policy keeps from its first update on; None leaves it as it is."""


def noise_like_mnist(split: str) -> Split:
    """Noise in MNIST's shape."""
    return noise(split, (1, 28, 28), 4000)


def noise_like_cifar10(split: str) -> Split:
    """Noise in CIFAR-10's shape."""
    return noise(split, (3, 32, 32), 4000)


def mnist_training() -> Training:
    """The recorded `mnist-rloo` sweep's rloo, beside the dense network of the same width."""
    (rloo,) = (cell for cell in MNIST_RLOO.cells if cell.label == "rloo")
    return Training(
        name="rloo, MNIST 784, 32 x 8 with 2 kept, 10; 8 masks an image",
        agent="rloo",
        settings=MNIST_RLOO.settings,
        gated=rloo.settings,
        dense={"num_blocks": (1,), "block_size": 256},
    )


def cifar_training(density: float) -> Training:
    """The paper's policy on its CIFAR-10 network, at the density that it is to have."""
    return Training(
        name="condnet, CIFAR-10 3072, 10 x 64, 10 x 64, 10",
        agent="condnet",
        settings={**MNIST_CONDNET.settings, "env": "BlockSelectionCIFAR10-v0"},
        gated={"target_density": density},
        dense={"num_blocks": (1, 1), "block_size": 640},
        start_density=density,
    )


def with_data(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose images are there: noise of the same shape where the data set is absent."""
    dataset = str(PRESETS[settings["env"]].get("dataset", "digits"))
    try:
        load_split(dataset, "train")
    except FileNotFoundError:
        return {**settings, "dataset": f"{__name__}:noise_like_{dataset}"}
    return {**settings, "dataset": dataset}


def make_agents(training: Training) -> dict[str, Agent]:
    """An agent in an environment of its own for each route."""
    gated, dense = (
        with_data({**training.settings, **own}) for own in (training.gated, training.dense)
    )
    plans = {
        KERNELS: make_plan(training.agent, gated),
        MASKED: make_plan(training.agent, {**gated, "network": f"{__name__}:MaskedDenseMLP"}),
        DENSE: make_plan("dense", dense),
    }
    agents = {route: build(plan)[1] for route, plan in plans.items()}
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
    """Every training in turn."""
    yield mnist_training()
    if not quick:
        yield from (cifar_training(density) for density in (1 / 16, 0.18))


@dataclass(frozen=True)
class TrainingSpeed:
    """One way to train, beside the others in the same rounds."""

    training: str
    """what is trained."""
    route: str
    """"kernels", "masked dense" or "dense"."""
    dataset: str
    """a name, or the function that made noise of the same shape where the data are absent."""
    num_images: int
    """different images of an update."""
    num_rows: int
    """rows of an update: images times masks of each."""
    density: float
    """share of blocks kept, realised, mean over gated layers."""
    images_per_second: float
    """median."""
    speedup: float
    """time of the loop by masked dense products over time, median over rounds."""
    speedup_low: float
    """lower quartile."""
    speedup_high: float
    """upper quartile."""
    dense_speedup: float
    """time of the dense network's loop over time, median over rounds."""
    rollout_milliseconds: float
    """of an update, in the environment: images, observations, policy, network, rewards; median."""
    agent_milliseconds: float
    """of an update, in the agent's own update; median."""
    network_milliseconds: float
    """of an update, in the network's forward, backward and optimiser; median."""


def time_training(training: Training, repeats: int, seconds: float) -> list[TrainingSpeed]:
    """Times all routes of a training in turns.

    Args:
        training: what to train.
        repeats: rounds, at least two.
        seconds: length of one timing.
    """
    agents = make_agents(training)
    # One image asked for is one batch: a whole batch is always finished.
    loops = {route: partial(agent.learn, 1) for route, agent in agents.items()}
    times = seconds_in_turns(loops, repeats, seconds)
    return [speed(training.name, route, agent, times) for route, agent in agents.items()]


def speed(
    name: str, route: str, agent: Agent, times: Mapping[str, Sequence[float]]
) -> TrainingSpeed:
    """One route's row."""
    simulator = agent.simulator
    low, middle, high = quartiles_of_ratio(times[MASKED], times[route])
    stages, density = stage_seconds(agent)
    images = simulator.num_images // simulator.group_size
    rollout, update, network = (1e3 * second for second in stages)
    return TrainingSpeed(
        training=name,
        route=route,
        dataset=str(simulator.dataset),
        num_images=images,
        num_rows=simulator.num_images,
        density=density,
        images_per_second=images / statistics.median(times[route]),
        speedup=middle,
        speedup_low=low,
        speedup_high=high,
        dense_speedup=quartiles_of_ratio(times[DENSE], times[route])[1],
        rollout_milliseconds=rollout,
        agent_milliseconds=update,
        network_milliseconds=network,
    )


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
        kept = [v for k, v in rollout.means.items() if k.startswith("density_")]
        densities.append(statistics.mean(kept))
    return [statistics.median(stage) for stage in zip(*rows, strict=True)], statistics.mean(
        densities
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Training speeds in Markdown; trainings on noise are marked."""
    return formatted(COLUMNS, [shown(row) for row in rows])


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what the table says beside it."""
    noise = " (noise)" if ":" in row["dataset"] else ""
    per_second = row["images_per_second"] * row["num_rows"] / row["num_images"]
    return {**row, "training": row["training"] + noise, "rows_per_second": per_second}
