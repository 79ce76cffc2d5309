"""The paper's training in the authors' units: (rates and weights as printed) -> settings.

The authors sum the loss over a batch of 128, here it is averaged: a rate r of theirs is 128 r, an
L2 weight w is a weight decay of 2 w / 128 (see `ccenv.networks.training.CoTrainer`).
"""

from typing import Any

from ccenv.runs.plan.sweep import Cell

BATCH = 128
HALF = "mlp-dropout-0.5"


def authors_training(env: str, l2_weight: float, images: int) -> dict[str, Any]:
    """Plain gradient descent at the authors' constant rate 0.001.

    Args:
        env: a preset.
        l2_weight: the paper's lambda_L2 of the network.
        images: to train on.
    """
    return {
        "env": env,
        "reward": "negative_nll",
        "weights": "cotrain",
        "weights_kwargs": authors_weights(l2_weight),
        "batch_size": BATCH,
        "images": images,
    }


def authors_weights(l2_weight: float, rate: float = 1.0) -> dict[str, Any]:
    """The network's part of `authors_training`, at a share of the authors' learning rate."""
    return {
        "optimizer": "sgd",
        "learning_rate": rate * BATCH * 1e-3,
        "weight_decay": 2 * l2_weight / BATCH,
    }


def condnet(label: str, num_blocks: tuple[int, ...], block_size: int, **settings: Any) -> Cell:
    """A network with the paper's policy."""
    sizes = {"num_blocks": num_blocks, "block_size": block_size}
    return Cell(label, "condnet", {**sizes, **settings})


def networks(*widths: int, l2_weight: float, rate: float = 1.0) -> tuple[Cell, ...]:
    """The paper's NN of given layers, with dropout one half: off at test, and left on.

    At another rate than the authors' the labels name it.

    The authors' script leaves dropout on at test and rescales nothing, which is block dropout with
    blocks of one unit.
    """
    name = f"NN {', '.join(map(str, widths))}" + (f" at {rate} of the rate" if rate != 1 else "")
    weights = {"weights_kwargs": authors_weights(l2_weight, rate)}
    layers = {"num_blocks": (1,) * len(widths), "block_size": widths, "network": HALF}
    units = {"num_blocks": widths, "block_size": 1, "keep_probability": 0.5}
    return (
        Cell(name, "dense", {**layers, **weights}),
        Cell(f"{name}, dropout left on", "block_dropout", {**units, **weights}),
    )
