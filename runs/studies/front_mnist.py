"""MNIST on halved images: what is left of choosing beside pruning, convolutions and cascades.

Dense rows and rloo's are those of `equal-cost-mnist`, trained alike; the rivals are one fixed
network each, or two of which the second runs where the first is unsure.
"""

import dataclasses
import itertools
from typing import Any

from ccenv.networks.models.early import early_exit
from ccenv.runs.plan.sweep import Cell, Sweep
from ccenv.runs.studies.equal_cost.mnist import EQUAL_COST_MNIST

NOTE = "half size"
TRAINED: dict[str, Any] = {
    "transforms": ("halve",),
    "weights_kwargs": {"learning_rate": 4e-3, "weight_decay": 0.1, "schedule_updates": "run"},
}
"""As the rows on halved images of `equal-cost-mnist`."""
CONVOLVED = {"learning_rate": 0.012, "weight_decay": 0.01, "schedule_updates": "run"}
"""How convolutions learn."""
PRUNED = ((2_200, (128, 64)), (4_900, (128, 64)), (10_500, (256, 64)), (17_800, (256, 64)))
"""MACs that are left, and the units of the network that is pruned."""
CONVOLUTIONS = ((2, 6), (3, 8), (4, 12), (8, 16), (12, 20))
"""Channels of a 5 x 5 and a 3 x 3 convolution of stride 2, without padding; tried with one seed:
padded ones of 3 x 3, which have 3.4 to 3.9 % at 4.9 thousand MACs."""
CASCADES = (
    *(((8, 32), (64, 64), 0.9), ((12, 64), (64, 64), 0.935), ((16, 64), (128, 64), 0.9)),
    *(((24, 64), (128, 64), 0.85), ((32, 64), (256, 64), 0.8)),
)
"""Units of the small network and of the large one, and the share that stops at the small one."""


def named(units: tuple[int, ...]) -> str:
    """Sizes as labels say them.

    >>> named((12, 64))
    '12, 64'
    """
    return ", ".join(map(str, units))


def pruned(macs: int, units: tuple[int, ...]) -> Cell:
    """One fixed network, its smallest weights given up while it learns."""
    network = {"network": "pruned", "network_kwargs": {"units": units, "macs": macs}}
    return Cell(f"pruned {named(units)} to {macs:,}", "dense", {**TRAINED, **network})


def convolution(channels: tuple[int, ...]) -> Cell:
    """A small convolutional network, at the rate and decay that suit its norms."""
    sizes = {"channels": channels, "kernel": (5, 3), "padded": False}
    own = {**TRAINED, "weights_kwargs": CONVOLVED, "network": "small_conv", "network_kwargs": sizes}
    return Cell(f"convolutions {named(channels)}", "dense", own)


def cascade(first: tuple[int, ...], then: tuple[int, ...], share: float) -> Cell:
    """A small network, and a larger one where it is unsure."""
    label = f"cascade {named(first)} / {named(then)}, {share:.1%} stop"
    sizes = {"network": "cascade", "network_kwargs": {"first": first, "then": then}}
    return Cell(label, "confidence", {**TRAINED, **sizes, "stop_shares": share})


INSIDE = (
    *((4, 16, 1, 5_600), (8, 16, 2, 13_000), (8, 16, 2, 20_000)),
    *((16, 32, 2, 58_000), (16, 32, 4, 58_000)),
)
"""Blocks, units of a block, blocks kept, and weights that are left of all of them."""
Layers = tuple[tuple[int, ...], tuple[int, ...]]
"""Channels of convolutions and units of fully connected layers, an exit between all of them."""
EXITS: tuple[tuple[Layers, float], ...] = (
    *((((8, 16), ()), 0.8), (((4,), (24, 64)), 0.7), (((4, 12), (64,)), 0.7)),
    (((8, 16), (64,)), 0.7),
)
"""Layers, and the share that stops at each exit."""
ONE_EXIT: tuple[tuple[Layers, tuple[int, int]], ...] = (
    (((8, 16), (64,)), (1, 0)),
    *((((4,), (24, 64)), (0, 1)), (((4,), (24, 64)), (0, 0))),
    *((((4, 12), (64,)), (0, 1)), (((4, 12), (64,)), (0, 0))),
    (((8, 16), (64,)), (0, 1)),
)
"""Layers, and where all stop: 1 at an exit, 0 at none."""


def inside(blocks: int, size: int, kept: int, macs: int) -> Cell:
    """Blocks chosen by a policy, whose weights are pruned while both learn."""
    sizes = {"num_blocks": blocks, "block_size": size, "macs": macs}
    own = {"num_kept": kept, "group_size": 16, "diversity_weight": 0.3}
    label = f"rloo in pruned {blocks} x {size}, {kept} kept, to {macs:,}"
    return Cell(
        label, "rloo", {**TRAINED, "network": "pruned_blocks", "network_kwargs": sizes, **own}
    )


def exits(layers: Layers, share: float, agent: str = "confidence") -> Cell:
    """Layers that stop where they are sure, or where a policy says so that sees how sure they are.

    Args:
        layers: channels and units.
        share: that stops at each exit; a policy may choose where, at the same mean cost.
        agent: "confidence" or "rloo_budget".
    """
    own: dict[str, Any] = {"stop_shares": share}
    if agent == "rloo_budget":
        cost_limit = round(mean_cost(layers, share), 3)
        own = {"observation": "certainty", "group_size": 4, "cost_limit": cost_limit}
    return stopping(f"{agent}, exits", agent, layers, f"{share:.0%} stop", own)


def one_exit(layers: Layers, shares: tuple[int, int]) -> Cell:
    """The same layers, learned alike, where all inputs stop at one exit or at none."""
    where = f"all stop at {shares.index(1) + 1}" if any(shares) else "none stops"
    return stopping("one exit", "confidence", layers, where, {"stop_shares": shares})


def stopping(kind: str, agent: str, layers: Layers, where: str, own: dict[str, Any]) -> Cell:
    """A row of layers with an exit between all of them; its label: kind, sizes, where they stop."""
    channels, units = layers
    network = {
        "network": "early_exit",
        "network_kwargs": {"channels": channels, "units": units},
        "weights_kwargs": CONVOLVED,
    }
    label = f"{kind} in {named(channels)} / {named(units)}, {where}"
    return Cell(label, agent, {**TRAINED, **network, **own})


def mean_cost(layers: Layers, share: float) -> float:
    """Mean compute cost, of everything, where a share stops at each exit."""
    channels, units = layers
    network = early_exit((1, 14, 14), 10, units, channels)
    going_on = itertools.accumulate(
        network.fixed_macs, lambda left, _: left * (1 - share), initial=1 - share
    )
    spent = sum(left * macs for left, macs in zip(going_on, network.fixed_macs, strict=False))
    return (network.start_macs + spent) / network.dense_macs


SHARED = tuple(
    dataclasses.replace(cell, settings={**EQUAL_COST_MNIST.settings, **cell.settings})
    for cell in EQUAL_COST_MNIST.cells
    if NOTE in cell.label and cell.seeds is None and cell.agent in ("dense", "rloo")
)

FRONT_MNIST = Sweep(
    name="front-mnist",
    description=(
        "MNIST at half its size: dense networks and policies, which were trained for "
        "equal-cost-mnist, beside pruned and convolutional networks and cascades."
    ),
    settings={
        "dataset": "mnist",
        "reward": "negative_nll",
        "weights": "cotrain",
        "batch_size": 128,
        "images": 1_000_000,
    },
    cells=(
        *SHARED,
        *(pruned(*row) for row in PRUNED),
        *(convolution(row) for row in CONVOLUTIONS),
        *(cascade(*row) for row in CASCADES),
        *(inside(*row) for row in INSIDE),
        *(exits(*row) for row in EXITS),
        *(exits(*row, "rloo_budget") for row in EXITS),
        *(one_exit(*row) for row in ONE_EXIT),
    ),
    minutes=171,
    seeds=(0, 1, 2, 3, 4),
)
