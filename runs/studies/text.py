"""The next byte of text: dense networks, policies and simple rivals by bits and total MACs.

5.12 million of 26.5 million places of `python_text`, 24 symbols of context, embeddings of 8
numbers, one hidden layer; AdamW along a cosine. What was tried on validation text stands beside
what was chosen.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep

PLACES = 5_120_000
RATE = 0.01
SYMBOLS: dict[str, Any] = {"observation": "symbols"}
"""A policy that embeds the last symbols itself; it costs a policy no more than to look at the
network's own embeddings."""
Sizes = tuple[int, int, int]
"""Blocks, units of a block, blocks kept."""


def trained(rate: float = RATE) -> dict[str, Any]:
    """How a network learns."""
    weights = {"learning_rate": rate, "weight_decay": 0.01, "schedule_updates": "run"}
    return {"weights_kwargs": weights}


def dense_text(width: int, note: str = "", rate: float = RATE, **network: Any) -> Cell:
    """A dense network of one hidden layer.

    Args:
        width: hidden units.
        note: added to the label.
        rate: the network's.
        **network: of its builder.
    """
    label = f"dense {width}" + (f", {note}" if note else "")
    sizes = {"num_blocks": 1, "block_size": width, **network}
    return Cell(label, "dense", {"network_kwargs": sizes, **trained(rate)})


def gated_text(
    agent: str, sizes: Sizes, note: str = "", network: Mapping[str, Any] | None = None, **own: Any
) -> Cell:
    """An agent that chooses blocks of the hidden layer.

    Args:
        agent: its name.
        sizes: blocks, units of a block, blocks kept.
        note: added to the label.
        network: more of its builder.
        **own: settings of the agent or the environment.
    """
    blocks, size, kept = sizes
    how_many = {"block_dropout": {"keep_probability": kept / blocks}}.get(agent, {"num_kept": kept})
    label = f"{agent} {blocks} x {size}, {kept} kept" + (f", {note}" if note else "")
    built = {"num_blocks": blocks, "block_size": size, **(network or {})}
    return Cell(label, agent, {"network_kwargs": built, **how_many, **own})


def own_policy(agent: str, sizes: Sizes, note: str = "", **own: Any) -> Cell:
    """An agent with embeddings of its own."""
    return gated_text(agent, sizes, note, embedding_size=8, **(SYMBOLS | own))


CHOSEN: dict[str, Any] = {"group_size": 8, "learning_rate": 0.01}
"""Of rloo: masks of a place, and the policy's rate."""
WIDTHS = (24, 48, 96, 192, 384, 768)
GATED: tuple[Sizes, ...] = ((32, 16, 1), (32, 16, 2), (64, 16, 2), (64, 16, 4))

TEXT = Sweep(
    name="text",
    description=(
        "The next byte of Python's standard library, 5.12 million places: dense networks beside "
        "policies that choose blocks, hashing and counting, by bits and total MACs."
    ),
    settings={
        "dataset": "python_text",
        "network": "bytes",
        "reward": "negative_nll",
        "weights": "cotrain",
        "batch_size": 256,
        "images": PLACES,
        "eval_every": PLACES,
        **trained(),
    },
    cells=(
        *(dense_text(width) for width in WIDTHS),
        *(own_policy("rloo", sizes, **CHOSEN) for sizes in GATED),
        *(gated_text("hash", sizes) for sizes in GATED[:3]),
        gated_text("block_dropout", GATED[1]),
    ),
    minutes=240,
    seeds=(0, 1, 2, 3, 4),
    # Some text that every machine has, and little of it.
    mini={"dataset": argparse.__file__},
)
