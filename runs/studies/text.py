"""The next byte of text: dense networks, policies and simple rivals by bits and total MACs.

5.12 million of 26.5 million places of `python_text`, embeddings of 8 numbers; AdamW along a cosine.
Networks have the layers, rates and contexts that were best on validation text (`text-settings`).
"""

import argparse
from collections.abc import Mapping
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep, with_seeds

PLACES = 5_120_000
RATE = 0.01
SYMBOLS: dict[str, Any] = {"observation": "symbols"}
"""A policy that looks the last symbols up itself."""
NEAR: dict[str, Any] = {"context": 8}
"""What layers read: of 6, 8, 12 and 24 symbols the best for dense networks."""
Sizes = tuple[int | tuple[int, ...], int, int]
"""Blocks of the gated layer or of each, units of a block, blocks kept in each layer."""


def trained(rate: float = RATE) -> dict[str, Any]:
    """How a network learns."""
    weights = {"learning_rate": rate, "weight_decay": 0.01, "schedule_updates": "run"}
    return {"weights_kwargs": weights}


def dense_text(width: int, note: str = "", rate: float = RATE, **network: Any) -> Cell:
    """A dense network of one hidden layer.

    Args:
        width: hidden units.
        note: added to the label, as context and another rate are.
        rate: the network's.
        **network: of its builder.
    """
    label = noted(f"dense {width}", note, read(network), "" if rate == RATE else f"rate {rate}")
    sizes = {"num_blocks": 1, "block_size": width, **network}
    return Cell(label, "dense", {"network_kwargs": sizes, **trained(rate)})


def noted(label: str, *notes: str) -> str:
    """A label with what is special about its row."""
    return ", ".join([label, *filter(None, notes)])


def read(network: Mapping[str, Any]) -> str:
    """For a label: that layers read a part of the window only."""
    return f"context {network['context']}" if "context" in network else ""


def two_layers(first: int, then: int, note: str = "", rate: float = RATE, **network: Any) -> Cell:
    """A dense network of two hidden layers; arguments as those of `dense_text`."""
    sizes = {"num_blocks": (1, 1), "block_size": (first, then)}
    return dense_text(first, noted(f"then {then}", note), rate, **sizes, **network)


def gated_text(
    agent: str, sizes: Sizes, note: str = "", network: Mapping[str, Any] | None = None, **own: Any
) -> Cell:
    """An agent that chooses blocks of the hidden layer, or of each of them.

    Args:
        agent: its name.
        sizes: blocks, units of a block, blocks kept in a layer.
        note: added to the label, as the context is.
        network: more of its builder.
        **own: settings of the agent or the environment.
    """
    blocks, size, kept = sizes
    layers = blocks if isinstance(blocks, tuple) else (blocks,)
    share = {"keep_probability": kept / layers[0]}
    how_many = share if agent == "block_dropout" else {"num_kept": kept}
    built = {"num_blocks": blocks, "block_size": size, **(network or {})}
    label = noted(f"{agent} {','.join(map(str, layers))} x {size}, {kept} kept", note, read(built))
    return Cell(label, agent, {"network_kwargs": built, **how_many, **own})


def own_policy(
    agent: str, sizes: Sizes, note: str = "", network: Mapping[str, Any] | None = None, **own: Any
) -> Cell:
    """An agent with embeddings of its own; arguments as those of `gated_text`."""
    return gated_text(agent, sizes, note, network, embedding_size=8, **(SYMBOLS | own))


def pruned_text(macs: int, units: tuple[int, ...], rate: float = 0.005, **more: Any) -> Cell:
    """One fixed dense network that reads what others read, its smallest weights given up.

    Args:
        macs: weights that are left.
        units: of each hidden layer, of all weights.
        rate: the network's.
        **more: of its builder.
    """
    label = f"pruned {', '.join(map(str, units))} to {macs:,}, {read(NEAR)}, rate {rate}"
    network = {"units": units, "macs": macs, **NEAR, **more}
    return Cell(
        label, "dense", {"network": "pruned_bytes", "network_kwargs": network, **trained(rate)}
    )


def cascade_text(first: tuple[int, ...], then: tuple[int, ...], share: float) -> Cell:
    """A small dense network, and a larger one where it is unsure.

    Args:
        first: units of each hidden layer of the small one.
        then: of the large one.
        share: of the windows that stop at the small one.
    """
    sizes = " / ".join(", ".join(map(str, units)) for units in (first, then))
    label = f"cascade {sizes}, {share:.1%} stop, {read(NEAR)}, rate 0.005"
    network = {"first": first, "then": then, **NEAR}
    own = {"network": "cascade_bytes", "network_kwargs": network, "stop_shares": share}
    return Cell(label, "confidence", {**own, **trained(0.005)})


def counted(max_pairs: int, order: int = 6, escape: float = 8.0, positions: int = PLACES) -> Cell:
    """Count tables of so many pairs from as many places as networks learn from."""
    network = {
        "positions": positions,
        "max_pairs": max_pairs,
        "order": order,
        "escape": escape,
    }
    frozen = {"weights": "frozen", "weights_kwargs": {}, "images": 256, "eval_every": 256}
    label = f"ngram, {max_pairs:,} pairs of at most {order} symbols"
    return Cell(label, "dense", {"network": "ngram", "network_kwargs": network, **frozen}, (0,))


def hashed(units: int, num_rows: int) -> Cell:
    """Rows of hashed n-grams and of single places, added up: one hidden layer of so many units."""
    network = {"units": units, "num_rows": num_rows}
    weights = {**trained()["weights_kwargs"], "optimizer": "adamw_fused"}
    own = {"network": "hashed_ngrams", "network_kwargs": network, "weights_kwargs": weights}
    return Cell(f"hashed n-grams, {num_rows:,} rows, {units} units", "dense", own)


def look_ups(
    agent: str, sizes: Sizes, note: str = "", network: Mapping[str, Any] | None = None, **own: Any
) -> Cell:
    """An agent whose scores are sums of look-ups; arguments as those of `gated_text`."""
    return gated_text(agent, sizes, note, network, embedding_size="one_hot", **(SYMBOLS | own))


CHOSEN: dict[str, Any] = {"group_size": 8, "learning_rate": 0.03}
"""Of rloo: masks of a place, and the policy's rate; what was tried is in `text-settings`."""
SLOWER = CHOSEN | {"learning_rate": 0.01}
"""Of rloo in rows from before other rates were tried."""
TABLES = "hidden,logits,pairs"
"""From the last byte to hidden biases and to logits, from the last two to logits."""
ONE_OF_32: Sizes = ((32, 32), 16, 1)
TWO_OF_32: Sizes = ((32, 32), 16, 2)
TWO_OF_64: Sizes = ((64, 64), 16, 2)
GATED = (ONE_OF_32, TWO_OF_32, TWO_OF_64)
TWO_LAST = "by two symbols"

AS_ONE_OF_32 = hashed(26, 14_100)
NOT_RUN = counted(427_000), hashed(56, 22_300)
PLANNED = Sweep(
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
        two_layers(48, 32, **NEAR),
        two_layers(96, 64, **NEAR),
        two_layers(256, 128, rate=0.005, **NEAR),
        two_layers(512, 256, rate=0.005, **NEAR),
        dense_text(2133, rate=0.005, **NEAR),
        *(look_ups("rloo", sizes, "", NEAR, **CHOSEN) for sizes in GATED),
        *(gated_text("hash", sizes, TWO_LAST, NEAR, num_hashed=2) for sizes in GATED),
        pruned_text(7_168, (96, 64), RATE),
        pruned_text(20_480, (256, 128), RATE),
        pruned_text(65_536, (512, 256)),
        look_ups("topk", TWO_OF_32, "", NEAR, learning_rate=0.003),
        gated_text("block_dropout", TWO_OF_32, "", NEAR),
        *(counted(pairs) for pairs in (50_000, 131_000, 400_000, 2_000_000)),
        # As many MACs and as much memory as one of 32 blocks twice, then as two of 64 twice.
        AS_ONE_OF_32,
        *NOT_RUN,
    ),
    minutes=180,
    seeds=(0, 1, 2, 3, 4),
    # Some text that every machine has, and little of it.
    mini={"dataset": argparse.__file__},
)
RUN = {3: {AS_ONE_OF_32.label}, 0: {cell.label for cell in NOT_RUN}}
TEXT = with_seeds(PLANNED, RUN, minutes=180)
"""As far as it has been run; `ccenv compare ccenv.runs.studies.text:PLANNED` goes on."""
