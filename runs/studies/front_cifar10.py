"""CIFAR-10 on halves: experts chosen by image beside dense networks of the same stem.

Two strided convolutions, first answers that always run, and k of 32 experts of 16 units that add to
them. A dense row is the same network with one expert, always kept, of as many units as make its
MACs those of the chosen experts and their policy.
"""

from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep

EPOCH = 40_000
MASKS = 8
"""Of an image, of every agent that draws."""
Channels = tuple[int, int]
STEMS: dict[Channels, tuple[tuple[int, int], ...]] = {
    (8, 16): ((4, 72),),
    (16, 32): ((4, 72), (8, 136)),
    (24, 48): ((8, 136),),
}
"""Channels of the stem -> experts kept, and units of the dense row beside them."""
MIDDLE, KEPT = (16, 32), 4
CONVOLUTIONS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    *(((8, 16), (64,)), ((12, 24, 48), (64,))),
    *(((16, 32), (104,)), ((24, 48), (170,))),
)
"""Channels and hidden units of small convolutional networks with norms."""
PRUNED = (((24, 48), 170, 61_000), ((24, 48), 170, 157_000), ((48, 96), 128, 340_000))
"""Channels and hidden units of convolutional networks with norms, and the MACs that are left."""


def chosen(agent: str, channels: Channels, kept: int, **own: Any) -> Cell:
    """An agent that chooses experts."""
    how_many: dict[str, Any] = {
        "block_dropout": {"keep_probability": kept / 32},
        "straight_through": {"target_density": kept / 32},
    }.get(agent, {"num_kept": kept})
    network = {"network_kwargs": {"channels": channels, "norms": True}}
    label = f"{agent} {kept} of 32, stem {channels[0]}, {channels[1]}"
    return Cell(label, agent, {**network, **how_many, **own})


def dense_experts(channels: Channels, units: int) -> Cell:
    """All of the same network, with as many units."""
    sizes = {"channels": channels, "norms": True, "num_experts": 1, "expert_size": units}
    label = f"dense {units}, stem {channels[0]}, {channels[1]}"
    return Cell(label, "dense", {"network_kwargs": sizes})


def convolution(channels: tuple[int, ...], units: tuple[int, ...]) -> Cell:
    """A small convolutional network."""
    sizes = {"channels": channels, "units": units}
    label = f"convolutions {', '.join(map(str, channels))}, hidden {units[0]}"
    return Cell(label, "dense", {"network": "small_conv", "network_kwargs": sizes})


def pruned(channels: tuple[int, ...], units: int, macs: int) -> Cell:
    """A convolutional network, its smallest weights given up while it learns."""
    sizes = {"channels": channels, "units": (units,), "macs": macs, "norms": True}
    label = f"pruned {', '.join(map(str, channels))}, hidden {units}, to {macs:,}"
    return Cell(label, "dense", {"network": "pruned", "network_kwargs": sizes})


FRONT_CIFAR10 = Sweep(
    name="front-cifar10",
    description=(
        "CIFAR-10 at half its size, 12 epochs: k of 32 experts on a convolutional stem beside "
        "dense networks of the same stem and MACs, and small or pruned convolutional networks."
    ),
    settings={
        "dataset": "cifar10",
        "transforms": ("mirror", "halve", "standardise"),
        "network": "experts",
        "observation": "layer_input",
        "reward": "negative_nll",
        "weights": "cotrain",
        "weights_kwargs": {
            "learning_rate": 5e-3,
            "weight_decay": 0.3,
            "schedule_updates": "run",
        },
        "batch_size": 128,
        "images": 12 * EPOCH,
        "eval_every": 12 * EPOCH,
    },
    cells=(
        *(
            row
            for channels, sizes in STEMS.items()
            for kept, units in sizes
            for row in (
                dense_experts(channels, units),
                chosen("rloo", channels, kept, group_size=MASKS, diversity_weight=0.3),
            )
        ),
        chosen("topk", MIDDLE, KEPT, group_size=MASKS),
        chosen("straight_through", MIDDLE, KEPT, group_size=MASKS),
        chosen("block_dropout", MIDDLE, KEPT),
        *(convolution(*row) for row in CONVOLUTIONS),
        *(pruned(*row) for row in PRUNED),
    ),
    minutes=50,
    seeds=(0, 1, 2, 3, 4),
)
