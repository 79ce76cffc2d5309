"""Trainings to time: names -> agents in environments of their own, one for each route.

The route is the network's: the kernels, dense products times masks, or the dense network's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.base import Agent, LayerScores
from ccenv import PRESETS
from ccenv.data import Split, load_split
from ccenv.networks import GatedMLP
from ccenv.seeding import stream
from runs.run import build
from runs.settings import make_plan
from runs.sweeps import MNIST_CONDNET, MNIST_RLOO

KERNELS, MASKED, DENSE = "kernels", "masked dense", "dense"


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
    """a name in `agents.AGENTS`."""
    settings: Mapping[str, Any]
    """of `runs.train`, for the agent and for the dense network."""
    gated: Mapping[str, Any]
    """the agent's own."""
    dense: Mapping[str, Any]
    """the dense network's own."""
    start_density: float | None = None
    """share of blocks that the policy keeps from its first update on; None leaves it as it is."""


def noise(split: str, *shape: int) -> Split:
    """4,000 random images of a shape and random labels."""
    generator = stream(0, f"noise {split}")
    images = torch.randint(256, (4000, *shape), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(10, (4000,), generator=generator), 10)


def noise_like_mnist(split: str) -> Split:
    """Noise in MNIST's shape."""
    return noise(split, 1, 28, 28)


def noise_like_cifar10(split: str) -> Split:
    """Noise in CIFAR-10's shape."""
    return noise(split, 3, 32, 32)


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
    # The authors' code bounds probabilities: see agents.masks.keep_probability.
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
