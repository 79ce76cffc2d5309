"""Sweeps as data: name -> labelled cells (an agent and its settings), each run with every seed.

A cell's settings are those of `python -m runs.train`; the sweep's own apply beneath them. A sweep
of yours is a `Sweep` in a module of yours: `python -m runs.compare my_module:MY_SWEEP`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ccenv.probe import PROBE_SETTINGS


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    label: str
    """what the row is called; different in every cell of a sweep."""
    agent: str
    """a name in `agents.AGENTS` or `module:Class`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings by name, as in `runs.train`."""


@dataclass(frozen=True)
class Sweep:
    """Cells that are compared with each other: every cell is run with every seed."""

    name: str
    """also the name of its report and of its recorded result."""
    description: str
    """one sentence above the table."""
    cells: tuple[Cell, ...]
    """rows, in the table's order."""
    minutes: float
    """how long all of it takes on two cores, for the forecast."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings of every cell, unless the cell says otherwise."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """one run each."""

    def runs(self) -> list[tuple[Cell, dict[str, Any]]]:
        """Each cell with the settings of each of its runs."""
        return [
            (cell, {**self.settings, **cell.settings, "seed": seed})
            for cell in self.cells
            for seed in self.seeds
        ]


def plain(*agents: str) -> tuple[Cell, ...]:
    """Agents as they are, labelled by their names."""
    return tuple(Cell(agent, agent) for agent in agents)


def dropout_rates(*rates: float) -> tuple[Cell, ...]:
    """The floor at several rates, so that there is a rate at every compute cost."""
    return tuple(
        Cell(f"block_dropout {rate}", "block_dropout", {"keep_probability": rate}) for rate in rates
    )


MNIST_IMAGES = 50_000
CONDNET_ON_DIGITS = {
    "target_density": 0.1,
    "sparsity_weight": 200.0,
    "variance_weight": 100.0,
    "l2_weight": 0.0,
    "learning_rate": 2e-3,
}
"""Frozen weights and 400 updates want larger steps than the paper's thousand epochs."""

QUICKSTART = Sweep(
    name="quickstart",
    description="Bundled digits, frozen weights, two gated layers of 10 blocks of 16 units.",
    settings={"images": 100_000},
    cells=(
        *plain("dense"),
        *dropout_rates(0.05, 0.1, 0.2, 0.3, 0.5),
        *plain("fixed_mask", "magnitude", "oracle"),
        *plain("reinforce", "rloo", "actor_critic"),
        Cell("condnet", "condnet", CONDNET_ON_DIGITS),
        *plain("sb3_a2c", "sb3_ppo"),
    ),
    minutes=3,
)

MNIST_RLOO = Sweep(
    name="mnist-rloo",
    description=(
        "MNIST, co-trained for 20 epochs with AdamW and a cosine schedule, one hidden layer of "
        "ReLU units: 32 blocks of 8 of which 2 are kept, beside dense networks trained alike."
    ),
    settings={
        "env": "BlockSelectionMNIST-v0",
        "activation": "relu",
        "reward": "negative_nll",
        "weights": "cotrain",
        "weights_kwargs": {
            "learning_rate": 2e-3,
            "weight_decay": 0.01,
            "schedule_updates": "run",
        },
        "batch_size": 128,
        "images": 20 * MNIST_IMAGES,
    },
    cells=(
        Cell("rloo", "rloo", {"num_blocks": (32,), "block_size": 8, "num_kept": 2}),
        *(
            Cell(f"dense {units}", "dense", {"num_blocks": (1,), "block_size": units})
            for units in (16, 32, 48)
        ),
    ),
    minutes=15,
)

MNIST_CONDNET = Sweep(
    name="mnist-condnet",
    description=(
        "MNIST, the paper's policy and settings as in the authors' code, 300 epochs: 16 blocks of "
        "16, target density 1/16, batches of 128, plain gradient descent."
    ),
    settings={
        "env": "BlockSelectionMNIST-v0",
        "reward": "negative_nll",
        "weights": "cotrain",
        # The authors sum over the batch: see CoTrainer for the conversion.
        "weights_kwargs": {
            "optimizer": "sgd",
            "learning_rate": 0.128,
            "weight_decay": 7.8125e-5,
        },
        "batch_size": 128,
        "images": 300 * MNIST_IMAGES,
        "eval_every": 10 * MNIST_IMAGES,
    },
    cells=plain("condnet"),
    minutes=25,
)

SMOKE = Sweep(
    name="smoke",
    description="The probe, whose best masks are known: a test of the programs, not of agents.",
    settings={**PROBE_SETTINGS, "images": 2048, "batch_size": 128},
    cells=(*plain("dense"), *dropout_rates(0.25, 0.75), *plain("reinforce")),
    minutes=0.2,
    seeds=(0, 1),
)

SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep for sweep in (QUICKSTART, SMOKE, MNIST_RLOO, MNIST_CONDNET)
}
