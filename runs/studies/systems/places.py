"""Where the systems are compared: a network, its images, three budgets, and what asks for each."""

from dataclasses import dataclass
from typing import Any

from ccenv.runs.studies.front_mnist import mean_cost

IMAGES = 64_000
"""Training images of a run: 1.28 passes over MNIST. Fewer images, so that no agent is left out."""
LEARNED = {"learning_rate": 4e-3, "schedule_updates": "run"}
"""How a network learns along: AdamW, down to 0 along a cosine."""
MNIST: dict[str, Any] = {
    "dataset": "mnist",
    "transforms": ("halve",),
    "weights": "cotrain",
    "weights_kwargs": LEARNED,
    "images": IMAGES,
    "eval_every": IMAGES,
}


@dataclass(frozen=True)
class Budget:
    """One cost, and what asks each kind of agent for it."""

    name: str
    """in labels."""
    share: float
    """of blocks kept, of inputs that stop at an exit, or of strips that refresh."""
    cost: float
    """compute cost of the network at that share."""
    kept: int = 0
    """blocks of a gate."""


@dataclass(frozen=True)
class Place:
    """A network and its images."""

    title: str
    """in tables."""
    settings: dict[str, Any]
    """of every row."""
    budgets: tuple[Budget, Budget, Budget]
    """the second one is where settings are chosen."""
    always: float = 0.0
    """share of the bill that is there without any block."""

    @property
    def dearest(self) -> float:
        """What a setting may cost that is chosen: twice the blocks of the middle budget."""
        return 2 * self.budgets[1].cost - self.always


def of_layers(kept: int) -> Budget:
    """Blocks kept of 16 in both layers: 196 inputs, 2 x 256 units, 10 answers.

    >>> of_layers(4)
    Budget(name='4 of 16', share=0.25, cost=0.146, kept=4)
    """
    units = 16 * kept
    cost = (196 * units + units**2 + 10 * units) / (196 * 256 + 256**2 + 2560)
    return Budget(f"{kept} of 16", kept / 16, round(cost, 3), kept)


def of_experts(kept: int, always: float) -> Budget:
    """Experts kept of 32.

    Args:
        kept: k.
        always: share of the bill that is there without any.

    >>> of_experts(4, 0.09)
    Budget(name='4 of 32', share=0.125, cost=0.204, kept=4)
    """
    cost = always + (1 - always) * kept / 32
    return Budget(f"{kept} of 32", kept / 32, round(cost, 3), kept)


def three_of_experts(always: float) -> tuple[Budget, Budget, Budget]:
    """2, 4 and 8 of 32; see `of_experts`."""
    return of_experts(2, always), of_experts(4, always), of_experts(8, always)


EXIT_CHANNELS, EXIT_UNITS = (4, 12), (64,)


def of_exits(share: float) -> Budget:
    """A share of those that get to an exit stops there."""
    cost = mean_cost((EXIT_CHANNELS, EXIT_UNITS), share)
    return Budget(f"{share:.0%} stop", share, round(cost, 3))


def of_strips(share: float) -> Budget:
    """A share of the strips refreshes."""
    return Budget(f"{share:.0%} refreshed", share, round(STANDING + (1 - STANDING) * share, 3))


def of_units(share: float) -> Budget:
    """A share of the residual units is kept; units cost the same but for two.

    >>> of_units(0.5)
    Budget(name='50% of units', share=0.5, cost=0.517, kept=0)
    """
    return Budget(f"{share:.0%} of units", share, round(RESNET + (1 - RESNET) * share, 3))


STANDING = 0.3145
"""Share of the bill of `streaming` that is there without refreshes."""
MNIST_EXPERTS, CIFAR_EXPERTS = 0.0898, 0.3024
"""Shares of the bills of `experts` that are there without any."""
RESNET = 0.0332
"""Share of the bill of the residual network that is there without units."""

PLACES: dict[str, Place] = {
    "mlp": Place(
        "MNIST, two layers of 16 blocks of 16 units, learning along",
        {**MNIST, "num_blocks": (16, 16), "block_size": 16, "observation": "summary"},
        (of_layers(2), of_layers(4), of_layers(8)),
    ),
    "exits": Place(
        "MNIST, two convolutions and a layer with exits between them, learning along",
        {
            **MNIST,
            "network": "early_exit",
            "network_kwargs": {"channels": EXIT_CHANNELS, "units": EXIT_UNITS},
            "observation": "layer_input",
            # Convolutions' own rate, and more images: exits of a network that has hardly
            # learned say nothing about where to stop.
            "weights_kwargs": LEARNED | {"learning_rate": 0.012},
            "images": 4 * IMAGES,
            "eval_every": 4 * IMAGES,
        },
        (of_exits(0.8), of_exits(0.6), of_exits(0.4)),
    ),
    "experts": Place(
        "MNIST, 32 experts of 16 units, learning along",
        {
            **MNIST,
            "network": "experts",
            "network_kwargs": {"channels": (4, 8), "first_units": 8},
            "observation": "layer_input",
        },
        three_of_experts(MNIST_EXPERTS),
        MNIST_EXPERTS,
    ),
    "strips": Place(
        "MNIST in 14 strips, seven to a patch, answered behind each, learning along",
        {
            **MNIST,
            "network": "streaming",
            "network_kwargs": {
                "patch_size": 7,
                "width": 32,
                "local_units": 16,
                "head_units": 16,
                "hidden": 64,
            },
            "observation": "layer_input",
        },
        (of_strips(0.1), of_strips(0.25), of_strips(0.5)),
        STANDING,
    ),
    "cifar10": Place(
        "CIFAR-10, 32 experts as they are shipped",
        {
            "dataset": "cifar10",
            "transforms": ("halve",),
            "network": "experts",
            "weights": "shipped",
            "observation": "layer_input",
            # The network stands still and steps are cheap; a price that moves needs a thousand.
            "images": 4 * IMAGES,
            "eval_every": 4 * IMAGES,
        },
        three_of_experts(CIFAR_EXPERTS),
        CIFAR_EXPERTS,
    ),
    "resnet": Place(
        "CIFAR-10 at half its size, a residual network of six units, learning along",
        {
            "dataset": "cifar10",
            "transforms": ("halve",),
            "network": "resnet",
            "network_kwargs": {"depth": 14, "width": 8},
            "weights": "cotrain",
            "weights_kwargs": LEARNED,
            "observation": "layer_input",
            "images": IMAGES,
            "eval_every": IMAGES,
        },
        (of_units(0.25), of_units(0.5), of_units(0.75)),
        RESNET,
    ),
}
