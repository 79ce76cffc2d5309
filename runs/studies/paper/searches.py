"""The paper's figures: lambda_s and lambda_v (Fig. 5), error against time (Fig. 3), density.

The architecture behind Fig. 5 is not known, nor are the ranges of the search behind Fig. 3.
"""

import math
from typing import Any

import torch

from ccenv.base.seeding import stream
from ccenv.runs.plan.sweep import Cell, Sweep, with_seeds
from ccenv.runs.studies.paper.faithful import authors_training, authors_weights, condnet
from ccenv.runs.studies.paper.tables import CIFAR10, CIFAR10_POLICY, CIFAR10_TRAINING, MNIST, SVHN

DENSITIES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.12)
NUM_CONDNETS, NUM_NETWORKS = 24, 12
"""The budget of the random search."""

LEARNED = (
    *((0.01, 100, 5, 0.005), (0.01, 20, 0.5, 0.02), (0.02, 10, 0.3, 0.02)),
    *((0.04, 10, 0.3, 0.02), (0.03, 5, 0.2, 0.02), (0.03, 4, 0.15, 0.03), (0.03, 3, 0.1, 0.04)),
    (0.06, 3, 0.1, 0.04),
)
"""Target density, lambda_s, lambda_v and learning rate that hold the policy to low densities.

Found by some forty trainings of 12 epochs, one seed, by validation error. At the paper's lambda_s
of 200 and rate of 5e-5 the policy keeps a fifth of the blocks, whatever its target; a larger
lambda_s alone brings the density down, but then the policy hardly learns from the network's loss
(11 % wrong at density 0.06 after 100 epochs). A smaller one with a larger rate does both."""


def low_policy(target: float, sparsity: float, variance: float, rate: float) -> dict[str, Any]:
    """Settings of the paper's policy by a line of `LEARNED`."""
    return {
        "target_density": target,
        "sparsity_weight": float(sparsity),
        "variance_weight": float(variance),
        "learning_rate": rate,
        "l2_weight": 0.0005,
    }


def learned_and_uniform() -> tuple[Cell, ...]:
    """The paper's policy held to low densities, and random blocks at the same: 64 of 16 units."""
    sizes = {"num_blocks": (64,), "block_size": 16}
    learned = [
        Cell(
            f"condnet 64 x 16, target {line[0]}, lambdas {line[1]:g}, {line[2]:g}",
            "condnet",
            {**sizes, **low_policy(*line)},
        )
        for line in LEARNED
    ]
    uniform = [
        Cell(
            f"uniform 64 x 16, {density}",
            "block_dropout",
            {**sizes, "keep_probability": density},
        )
        for density in DENSITIES
    ]
    return (*learned, *uniform)


def three_times_faster(settings: dict[str, Any]) -> dict[str, Any]:
    """The network's learning rate times three: of the few blocks kept each learns from few."""
    weights = settings["weights_kwargs"]
    return {
        **settings,
        "weights_kwargs": {**weights, "learning_rate": 3 * weights["learning_rate"]},
    }


THRICE = (
    "condnet 64 x 16, target 0.02, lambdas 10, 0.3",
    "condnet 64 x 16, target 0.04, lambdas 10, 0.3",
    "condnet 64 x 16, target 0.03, lambdas 5, 0.2",
    "condnet 64 x 16, target 0.03, lambdas 4, 0.15",
    "condnet 64 x 16, target 0.03, lambdas 3, 0.1",
    "condnet 64 x 16, target 0.06, lambdas 3, 0.1",
    "uniform 64 x 16, 0.1",
    "uniform 64 x 16, 0.12",
)
"""Rows of three seeds."""

PAPER_MNIST_DENSITY = with_seeds(
    Sweep(
        name="paper-mnist-density",
        description=(
            "Learned against uniform masks on MNIST at densities of 2 to 12 % (the author's "
            "thesis, Fig. 5.7), 60 epochs, 64 blocks of 16, by the authors' code; networks learn "
            "at three times their rate."
        ),
        settings=three_times_faster(authors_training("BlockSelectionMNIST-v0", 0.005, 60 * MNIST)),
        cells=learned_and_uniform(),
        minutes=55,
        seeds=(0, 1, 2, 3, 4),
    ),
    {3: THRICE, 4: ("uniform 64 x 16, 0.07",)},
    minutes=74,
)

PAPER_LAMBDA_S = with_seeds(
    Sweep(
        name="paper-lambda-s",
        description=(
            "Fig. 5a: error and time against lambda_s on CIFAR-10, 10,10 blocks of 64, 60 epochs."
        ),
        settings=CIFAR10_TRAINING,
        cells=tuple(
            condnet(
                f"lambda_s {weight}",
                (10, 10),
                64,
                **{**CIFAR10_POLICY, "sparsity_weight": float(weight)},
            )
            for weight in (20, 100, 200, 300, 400, 500, 600, 700)
        ),
        minutes=55,
    ),
    {2: tuple(f"lambda_s {weight}" for weight in range(200, 800, 100))},
    minutes=76,
)

PAPER_LAMBDA_V = with_seeds(
    Sweep(
        name="paper-lambda-v",
        description=(
            "Fig. 5b: validation error by epoch for several lambda_v on CIFAR-10, 10,10 blocks of "
            "64, 60 epochs judged every two; lambda_s as the paper chose it in Fig. 5a."
        ),
        settings={**CIFAR10_TRAINING, "eval_every": 2 * CIFAR10},
        cells=tuple(
            condnet(
                f"lambda_v {weight}",
                (10, 10),
                64,
                **{**CIFAR10_POLICY, "sparsity_weight": 300.0, "variance_weight": float(weight)},
            )
            for weight in (16, 40, 100, 200, 370)
        ),
        minutes=35,
    ),
    {2: tuple(f"lambda_v {weight}" for weight in (40, 100, 200, 370))},
    minutes=36,
)


def between(low: float, high: float, generator: torch.Generator) -> float:
    """Draws a number whose logarithm is uniform between two ends, with two figures."""
    share = float(torch.rand((), generator=generator))
    return float(f"{low * math.exp(share * math.log(high / low)):.2g}")


def searched_condnets(count: int) -> tuple[Cell, ...]:
    """Condnets whose blocks, target density, weights and learning rates are drawn at random."""
    generator, cells = stream(0, "paper-front condnets"), []
    for number in range(count):
        settings = {
            "num_blocks": tuple(round(between(6, 32, generator)) for _ in range(2)),
            "block_size": (16, 32)[int(torch.randint(2, (), generator=generator))],
            "target_density": between(1 / 25, 1 / 4, generator),
            "sparsity_weight": between(10, 400, generator),
            "variance_weight": between(10, 400, generator),
            "learning_rate": tuple(between(1e-5, 1e-3, generator) for _ in range(2)),
            "l2_weight": 0.01,
        }
        cells.append(Cell(f"condnet {number}", "condnet", settings))
    return tuple(cells)


def searched_networks(count: int) -> tuple[Cell, ...]:
    """Dense networks of two layers of random widths, as the paper varied them."""
    generator = stream(0, "paper-front networks")
    draws = [[round(between(16, 1280, generator)) for _ in range(2)] for _ in range(count)]
    weights = {"weights_kwargs": authors_weights(0.001)}
    return tuple(
        Cell(
            f"NN {number}: {a}, {b}",
            "dense",
            {"num_blocks": (1, 1), "block_size": (a, b), **weights},
        )
        for number, (a, b) in enumerate(draws)
    )


PAPER_FRONT = Sweep(
    name="paper-front",
    description=(
        f"Fig. 3: a random search on SVHN, {NUM_CONDNETS} condnets and {NUM_NETWORKS} NN, one run "
        "each of 120 epochs of 11,520 images; time of a batch and of one image is in every result."
    ),
    settings=authors_training("BlockSelectionSVHN-v0", 0.01, 120 * SVHN),
    cells=(*searched_condnets(NUM_CONDNETS), *searched_networks(NUM_NETWORKS)),
    minutes=45,
    seeds=(0,),
)
