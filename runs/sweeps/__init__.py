"""Sweeps as data: name -> labelled cells (an agent and its settings), each run with every seed.

A cell's settings are those of `python -m runs.train`; the sweep's own apply beneath them. A sweep
of yours is a `Sweep` in a module of yours: `python -m runs.compare my_module:MY_SWEEP`.
"""

from runs.plan.sweep import MINIATURE, Cell, Sweep, dense, dropout_rates, plain
from runs.studies.ablation.sweep import RLOO_WHY
from runs.studies.cost_limits import COST_LIMITS
from runs.studies.digits_settings import DIGITS_SETTINGS
from runs.studies.equal_cost.colour import EQUAL_COST_CIFAR10, EQUAL_COST_MIXED, EQUAL_COST_SVHN
from runs.studies.equal_cost.mnist import (
    EQUAL_COST_MNIST,
    EQUAL_COST_MNIST_LONGER,
    EQUAL_COST_MNIST_SHIFTED,
)
from runs.studies.low_density import LOW_DENSITY_MNIST
from runs.studies.paper.searches import (
    PAPER_FRONT,
    PAPER_LAMBDA_S,
    PAPER_LAMBDA_V,
    PAPER_MNIST_DENSITY,
)
from runs.studies.paper.tables import PAPER_CIFAR10, PAPER_MNIST, PAPER_SVHN
from runs.studies.quickstart import MNIST_CONDNET, MNIST_RLOO, QUICKSTART, SMOKE
from runs.studies.shapings import SHAPINGS, SHAPINGS_MNIST

SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        *(QUICKSTART, DIGITS_SETTINGS, SMOKE, MNIST_RLOO, MNIST_CONDNET),
        *(PAPER_MNIST, PAPER_MNIST_DENSITY, LOW_DENSITY_MNIST),
        *(PAPER_CIFAR10, PAPER_SVHN),
        *(PAPER_LAMBDA_S, PAPER_LAMBDA_V, PAPER_FRONT),
        *(EQUAL_COST_MNIST, EQUAL_COST_CIFAR10, EQUAL_COST_SVHN, EQUAL_COST_MIXED),
        *(EQUAL_COST_MNIST_LONGER, EQUAL_COST_MNIST_SHIFTED, RLOO_WHY, SHAPINGS, SHAPINGS_MNIST),
        COST_LIMITS,
    )
}

__all__ = [
    "MINIATURE",
    "MNIST_CONDNET",
    "MNIST_RLOO",
    "QUICKSTART",
    "SMOKE",
    "SWEEPS",
    "Cell",
    "Sweep",
    "dense",
    "dropout_rates",
    "plain",
]
