"""The next byte of text, agents tuned alike: five settings each, then five seeds of the best one.

256 thousand places, 32 blocks of 16 units of which 2 are kept, or as much compute in the mean.
A setting is chosen by the bits of its most probable masks on validation text, seed 0.
"""

from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep
from ccenv.runs.studies.text import SYMBOLS
from ccenv.runs.studies.text import TEXT as LONG

PLACES = 256_000
BLOCKS, SIZE, KEPT = 32, 16, 2
SHARE = KEPT / BLOCKS
OWN: dict[str, Any] = {**SYMBOLS, "embedding_size": 8}
"""A policy that embeds the last symbols itself."""
SHOWN: dict[str, Any] = {"observation": "layer_input"}
"""A policy that cannot: it looks at the network's embeddings."""
PRICED: dict[str, Any] = {"reward": "lagrangian", "cost_limit": SHARE}
"""Coins for each block, under a price that moves until they cost as much as k of n."""
KEEP: dict[str, Any] = {"num_kept": KEPT}
COINS: dict[str, Any] = {"target_density": SHARE}

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
SLOW_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
Tried = tuple[dict[str, Any], ...]


def over(name: str, values: tuple[float, ...]) -> Tried:
    """One setting's values."""
    return tuple({name: value} for value in values)


AGENTS: dict[str, tuple[str, dict[str, Any], Tried]] = {
    "rloo": ("rloo", {**OWN, **KEEP, "group_size": 8}, over("learning_rate", RATES)),
    "rloo_budget": ("rloo_budget", {**OWN, "cost_limit": SHARE}, over("learning_rate", RATES)),
    "topk": ("topk", {**OWN, **KEEP}, over("learning_rate", SLOW_RATES)),
    "topk, bias": (
        "topk",
        {**OWN, **KEEP, "balance_weight": 0.0, "learning_rate": 0.01},
        over("bias_rate", SLOW_RATES),
    ),
    "gumbel, ordered": (
        "gumbel",
        {**OWN, **KEEP, "draw": "ordered"},
        over("learning_rate", SLOW_RATES),
    ),
    "gumbel": ("gumbel", {**OWN, **COINS}, over("learning_rate", SLOW_RATES)),
    "straight_through": (
        "straight_through",
        {**OWN, **COINS, "draw": "threshold"},
        over("learning_rate", SLOW_RATES),
    ),
    "reinforce": ("reinforce", {**OWN, **PRICED}, over("learning_rate", RATES)),
    "actor_critic": ("actor_critic", {**OWN, **PRICED}, over("learning_rate", RATES)),
    "disarm": (
        "disarm",
        {**OWN, **PRICED, "group_size": 8, "start_density": SHARE},
        over("learning_rate", RATES),
    ),
    "condnet": (
        "condnet",
        {**SHOWN, **COINS},
        over("learning_rate", (5e-6, 5e-5, 5e-4, 5e-3, 5e-2)),
    ),
    "sb3_ppo": ("sb3_ppo", {**SHOWN, **PRICED}, over("learning_rate", SLOW_RATES)),
    "sb3_a2c": ("sb3_a2c", {**SHOWN, **PRICED}, over("learning_rate", SLOW_RATES)),
}
"""Label -> agent, what holds for all its rows, and the settings tried."""
FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "hash": ("hash", KEEP),
    "block_dropout": ("block_dropout", {"keep_probability": SHARE}),
}
"""Rows without a setting to choose."""
CHOSEN: dict[str, tuple[int, int]] = {
    "rloo": (1, 5),
    "rloo_budget": (2, 5),
    "topk": (1, 5),
    "topk, bias": (1, 5),
    "gumbel, ordered": (3, 5),
    "gumbel": (3, 5),
    "straight_through": (3, 5),
    "reinforce": (2, 5),
    "actor_critic": (2, 5),
    "disarm": (2, 5),
    "condnet": (3, 5),
    "sb3_ppo": (2, 5),
    "sb3_a2c": (3, 5),
}
"""Label -> position of the setting that was best on validation text, and its seeds so far."""


def rows(label: str) -> tuple[Cell, ...]:
    """An agent's settings: all seeds of the chosen one, one of the others."""
    agent, shared, tried = AGENTS[label]
    best, seeds = CHOSEN[label]
    return tuple(
        Cell(
            f"{label}, {' '.join(f'{name} {value:g}' for name, value in setting.items())}",
            agent,
            {**shared, **setting},
            tuple(range(seeds)) if position == best else (0,),
        )
        for position, setting in enumerate(tried)
    )


TEXT_AGENTS = Sweep(
    name="text-agents",
    description=(
        "The next byte of Python's standard library, 256 thousand places, 2 of 32 blocks: agents "
        "tuned alike, five settings each, beside hashing and random masks."
    ),
    settings={
        **LONG.settings,
        "dataset": "python_sample",
        "images": PLACES,
        "eval_every": PLACES,
        "network_kwargs": {"num_blocks": BLOCKS, "block_size": SIZE},
    },
    cells=(
        *(row for label in AGENTS for row in rows(label)),
        *(Cell(label, agent, settings) for label, (agent, settings) in FIXED.items()),
    ),
    minutes=38,
    seeds=(0, 1, 2, 3, 4),
    mini=LONG.mini,
)
