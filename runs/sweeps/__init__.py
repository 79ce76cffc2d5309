"""Sweeps as data: name -> labelled cells (an agent and its settings), each run with every seed.

A cell's settings are those of `python -m runs.train`; the sweep's own apply beneath them. A sweep
of yours is a `Sweep` in a module of yours: `python -m runs.compare my_module:MY_SWEEP`.
"""

from runs.sweeps.cells import MINIATURE, Cell, Sweep, dense, dropout_rates, plain
from runs.sweeps.choices import DIGITS_SETTINGS
from runs.sweeps.cost_limits import COST_LIMITS
from runs.sweeps.equal_cost_colour import EQUAL_COST_CIFAR10, EQUAL_COST_MIXED, EQUAL_COST_SVHN
from runs.sweeps.equal_cost_mnist import (
    EQUAL_COST_MNIST,
    EQUAL_COST_MNIST_LONGER,
    EQUAL_COST_MNIST_SHIFTED,
)
from runs.sweeps.first import MNIST_CONDNET, MNIST_RLOO, QUICKSTART, SMOKE
from runs.sweeps.low_density import LOW_DENSITY_MNIST
from runs.sweeps.paper_figures import (
    PAPER_FRONT,
    PAPER_LAMBDA_S,
    PAPER_LAMBDA_V,
    PAPER_MNIST_DENSITY,
)
from runs.sweeps.paper_tables import PAPER_CIFAR10, PAPER_MNIST, PAPER_SVHN
from runs.sweeps.rloo_why import RLOO_WHY
from runs.sweeps.shapings import SHAPINGS, SHAPINGS_MNIST

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
