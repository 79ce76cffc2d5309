"""Sweeps of minutes, and those whose figures the README's first tables show."""

import argparse
from typing import Any

from ccenv.data.probe import PROBE_SETTINGS
from ccenv.runs.plan.sweep import Cell, Sweep, dropout_rates, plain
from ccenv.runs.studies.text import SYMBOLS, counted, dense_text, gated_text, own_policy, trained

MNIST_IMAGES = 50_000
CONDNET_ON_DIGITS = {
    "target_density": 0.1,
    "sparsity_weight": 800.0,
    "variance_weight": 400.0,
    "l2_weight": 0.0,
    "learning_rate": 8e-3,
}
"""Frozen weights and 400 updates want larger steps than the paper's thousand epochs; chosen by
`digits-settings`."""


def limited(agent: str, **own: Any) -> Cell:
    """An agent of text that tosses a coin a block, under a price that moves until two are kept."""
    network = {"network_kwargs": {"num_blocks": 32, "block_size": 16}}
    given = {"reward": "lagrangian", "cost_limit": 2 / 32, "learning_rate": 0.01}
    return Cell(f"{agent} 32 x 16, a limit of 2", agent, {**network, **given, **own})


DIGITS = Sweep(
    name="digits",
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

WINDOWS = 192_000
SMALL_BLOCKS = (32, 16, 2)
QUICKSTART = Sweep(
    name="quickstart",
    description=(
        "The next byte of Python's library (bundled), 192,000 places: 2 of 32 blocks of 16 hidden "
        "units, chosen by the last four bytes, beside networks that compute everything and simple "
        "rivals."
    ),
    settings={
        "dataset": "python_bundled",
        "network": "bytes",
        "reward": "negative_nll",
        "weights": "cotrain",
        "batch_size": 256,
        "images": WINDOWS,
        "eval_every": WINDOWS,
        **trained(),
    },
    cells=(
        dense_text(512),
        dense_text(32),
        gated_text("block_dropout", SMALL_BLOCKS),
        gated_text("hash", SMALL_BLOCKS),
        counted(50_000, positions=WINDOWS),
        own_policy("topk", SMALL_BLOCKS, learning_rate=0.01),
        own_policy("rloo", SMALL_BLOCKS, group_size=8, learning_rate=0.03),
        limited("disarm", group_size=8, start_density=2 / 32, **SYMBOLS, embedding_size=8),
        limited("sb3_ppo", observation="layer_input"),
    ),
    minutes=3,
    # Little of such a text.
    mini={"dataset": argparse.__file__},
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
