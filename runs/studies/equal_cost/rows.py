"""Dense networks against conditional ones at equal total MACs, everything else alike.

AdamW, cosine schedule, as many epochs and the same images for all rows of a sweep.
"""

from collections.abc import Mapping
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep, dense

WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 256, 640)
FIFTH = "mlp-dropout-0.2"
SHIFTED = ("copies=7", "shift=2", "standardise")
"""More to train on, drawn once, so that a batch is the same whoever looks at it; standardised
because on pixels as they are, all of them positive, small networks hardly learn SVHN."""
MIRRORED = ("copies=7", "shift=2", "mirror", "standardise")
"""Where mirror images mean the same."""
PRICED = {"draw": "independent", "reward": "nll_minus_cost"}
"""Coins instead of k of n: an image may keep as many blocks as are worth their price in nats."""
Sizes = tuple[int, int, int]
"""Blocks, units of a block, blocks kept."""


def training(images: int, learning_rate: float, **environment: Any) -> dict[str, Any]:
    """What all rows of a sweep share.

    Args:
        images: to train on.
        learning_rate: AdamW's at the start.
        **environment: settings of the environment.
    """
    return {
        "activation": "relu",
        "reward": "negative_nll",
        "weights": "cotrain",
        "weights_kwargs": {
            "learning_rate": learning_rate,
            "weight_decay": 0.01,
            "schedule_updates": "run",
        },
        "batch_size": 128,
        "images": images,
        **environment,
    }


def gated(agent: str, sizes: Sizes, head: int = 0, note: str = "", **settings: Any) -> Cell:
    """An agent that chooses blocks of one layer.

    Args:
        agent: its name.
        sizes: blocks, units of a block, blocks kept.
        head: units of a dense layer behind the gated one; 0 for none.
        note: added to the label.
        **settings: of the agent or the environment.
    """
    blocks, size, kept = sizes
    how_many = {
        "straight_through": {"target_density": kept / blocks, "density_weight": 64.0},
        "block_dropout": {"keep_probability": kept / blocks},
    }.get(agent, {"num_kept": kept})
    label = f"{agent} {blocks} x {size}, {kept} kept"
    label += f", then {head}" if head else ""
    layers = {"num_blocks": (blocks,), "block_size": size, "head_units": (head,) if head else ()}
    return Cell(label + (f", {note}" if note else ""), agent, {**layers, **how_many, **settings})


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "16 masks": {"group_size": 16},
    "price 1": {**PRICED, "reward_kwargs": {"cost_weight": 1.0}},
    "price 3": {**PRICED, "reward_kwargs": {"cost_weight": 3.0}},
    "normalised": {"advantage": "normalised"},
    "self-critical": {"advantage": "self_critical"},
    "one shared": {"always_on": 1},
    "annealed": {"anneal_share": 0.3},
    "dense first": {"dense_share": 0.1},
    "16 hidden": {"hidden_units": 16},
}
"""Other policies and trainings of rloo; all of them are tried on MNIST."""


def other_ways(sizes: Sizes, head: int = 0, **settings: Any) -> tuple[Cell, ...]:
    """The same network by other policies and trainings: what policy gradient gains or loses."""
    return (
        *(gated("rloo", sizes, head, name, **{**settings, **VARIANTS[name]}) for name in VARIANTS),
        *(gated(agent, sizes, head) for agent in ("topk", "straight_through", "block_dropout")),
    )


def two_layers(first: Sizes, second: Sizes, **settings: Any) -> Cell:
    """Rloo on two gated layers."""
    (blocks, sizes, kept) = zip(first, second, strict=True)
    label = " and ".join(f"{n} x {size}, {k} kept" for n, size, k in (first, second))
    layers = {"num_blocks": blocks, "block_size": sizes, "num_kept": kept}
    return Cell(f"rloo {label}", "rloo", {**layers, **settings})


MNIST_SIZES: tuple[Sizes, ...] = ((32, 8, 1), (32, 8, 2), (32, 8, 4), (16, 16, 1), (64, 4, 4))

EQUAL_COST_MNIST = Sweep(
    name="equal-cost-mnist",
    description=(
        "MNIST, 20 epochs: dense networks of 8 to 640 units beside conditional ones of equal total "
        "MACs, the policy's own included."
    ),
    settings=training(20 * 50_000, 2e-3, env="BlockSelectionMNIST-v0"),
    cells=(
        *dense(*WIDTHS[:-1]),
        *(gated("rloo", sizes) for sizes in MNIST_SIZES),
        two_layers((32, 8, 2), (16, 4, 4)),
        *other_ways((32, 8, 2)),
    ),
    minutes=95,
    seeds=(0, 1, 2, 3, 4),
)


COLOUR_CELLS = dense(*WIDTHS, num_layers=2)
"""Rows of the sweeps on 32 x 32 colour images; their policies cost 192 MACs a block."""

EQUAL_COST_CIFAR10 = Sweep(
    name="equal-cost-cifar10",
    description=(
        "CIFAR-10, standardised, with flips and shifts, 40 epochs: dense networks of two layers of "
        "8 to 640 units beside conditional ones of equal total MACs, the policy's own included."
    ),
    settings=training(40 * 40_000, 1e-3, dataset="cifar10", transforms=MIRRORED),
    cells=COLOUR_CELLS,
    minutes=95,
)

EQUAL_COST_SVHN = Sweep(
    name="equal-cost-svhn",
    description=(
        "SVHN, standardised, with shifts, 60 epochs of 11,520 images: dense networks of two layers "
        "of 8 to 640 units beside conditional ones of equal total MACs, the policy's own included."
    ),
    settings=training(60 * 11_520, 1e-3, dataset="svhn", transforms=SHIFTED),
    cells=COLOUR_CELLS,
    minutes=70,
    seeds=(0, 1, 2, 3, 4),
)

EQUAL_COST_MIXED = Sweep(
    name="equal-cost-mixed",
    description=(
        "MNIST, CIFAR-10 and SVHN in one, 30 classes, standardised, with shifts, 40 epochs of "
        "34,560 images: dense networks of two layers of 8 to 640 units beside conditional ones of "
        "equal total MACs, the policy's own included."
    ),
    settings=training(40 * 34_560, 1e-3, dataset="mixed", transforms=SHIFTED),
    cells=COLOUR_CELLS,
    minutes=140,
    seeds=(0, 1, 2, 3, 4),
)
