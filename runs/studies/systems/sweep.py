"""The systems that came after the paper, each on the same images, network and three budgets.

Every agent has five settings at the middle budget and seed 0; the one with the least validation
error, of those whose blocks cost twice the budget's at most, goes on to all budgets and seeds. What
a row is there for stands beside it in `SYSTEMS`.
"""

import dataclasses
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep
from ccenv.runs.studies.systems.asked import (
    AT_ONCE,
    CHANCE,
    CHOOSERS,
    HYBRID,
    RANDOM,
    RATES,
    SAME_RATE,
    SMALLER,
    STATIC,
    UNITS,
    System,
    by_knob,
    one_block,
    one_expert,
    over,
    price,
    searched,
    smaller_residual,
)
from ccenv.runs.studies.systems.places import PLACES, Budget

SEEDS = (0, 1, 2, 3, 4)

ONE_BLOCK = ("gumbel", "condnet", "reinforce", "sb3_ppo", "allocation")
"""Agents of `CHOOSERS` that can leave a gate without any block."""
SYSTEMS: dict[str, dict[str, System]] = {
    "mlp": {
        **CHOOSERS,
        "blockdrop": AT_ONCE,
        "skipnet": HYBRID,
        "block_dropout": CHANCE,
        "static": System("dense", one_block, why=STATIC),
    },
    "exits": {
        "act": System(
            "act",
            by_knob("time_weight", 1.0, 0.1, 0.0),
            over("learning_rate", 0.05),
            why="halting values",
        ),
        "pondernet": System(
            "pondernet",
            by_knob("prior_rate", 0.8, 0.6, 0.4),
            over("prior_weight", 0.3),
            why="halting coins",
            draw="sampled",
        ),
        "confidence": System(
            "confidence", lambda b: {"stop_shares": b.share}, why="a rule that learns nothing"
        ),
        "allocation": System(
            "allocation", lambda b: {"cost_limit": b.cost}, why="exits from the first look"
        ),
        "reinforce": System("reinforce", price, RATES[1::2], "exits by reward"),
        "block_dropout": System(
            "block_dropout", lambda b: {"keep_probability": 1 - b.share}, why=RANDOM
        ),
    },
    "experts": {
        **CHOOSERS,
        "block_dropout": CHANCE,
        "static": System("dense", one_expert, why=STATIC),
    },
    "strips": {
        "entropy_threshold": System(
            "entropy_threshold", lambda b: {"target_rate": b.share}, why="doubt as a trigger"
        ),
        "reinforce": System("reinforce", price, SAME_RATE, "a learned trigger"),
        "block_dropout": CHANCE,
    },
    "cifar10": {
        **CHOOSERS,
        "block_dropout": CHANCE,
        "static": System("fixed_mask", searched, why=STATIC),
    },
    "resnet": {
        **{name: CHOOSERS[name] for name in ONE_BLOCK},
        "rloo_budget": UNITS,
        "blockdrop": AT_ONCE,
        "skipnet": HYBRID,
        "block_dropout": CHANCE,
        "static": System("dense", smaller_residual, why=SMALLER),
    },
}
"""Place -> label -> what is run. Where the blocks are experts of one gate, `blockdrop` and
`skipnet` are what `reinforce` is; of a residual unit, a gate of one block, there is no k of n."""
CHOSEN: dict[str, dict[str, int]] = {
    "mlp": {
        "rloo": 3,
        "noisy_topk": 3,
        "dynamic_gate": 0,
        "wta_retrieval": 3,
        "gumbel": 4,
        "condnet": 4,
        "reinforce": 3,
        "sb3_ppo": 4,
        "allocation": 4,
        "blockdrop": 0,
        "skipnet": 4,
    },
    "exits": {"reinforce": 0},
    "experts": {
        "rloo": 1,
        "noisy_topk": 2,
        "dynamic_gate": 4,
        "wta_retrieval": 1,
        "gumbel": 3,
        "condnet": 4,
        "reinforce": 1,
        "sb3_ppo": 2,
        "allocation": 4,
    },
    "strips": {},
    "cifar10": {
        "rloo": 0,
        "noisy_topk": 1,
        "condnet": 2,
        "sb3_ppo": 4,
        "dynamic_gate": 1,
        "gumbel": 3,
        "reinforce": 0,
        "wta_retrieval": 3,
        "allocation": 4,
    },
    "resnet": {
        "sb3_ppo": 3,
        "rloo_budget": 2,
        "gumbel": 3,
        "condnet": 4,
        "reinforce": 3,
        "allocation": 2,
        "blockdrop": 2,
        "skipnet": 1,
    },
}
"""Place -> label -> position of the setting that was chosen on validation."""


def label_of(place: str, name: str, budget: Budget, setting: dict[str, Any]) -> str:
    """What a row is called."""
    own = "".join(f", {key} {value}" for key, value in setting.items())
    return f"{place}: {name} {budget.name}{own}"


def row(place: str, name: str, budget: Budget, setting: dict[str, Any]) -> Cell:
    """One cell with all seeds."""
    system = SYSTEMS[place][name]
    settings = PLACES[place].settings | system.asks(budget) | setting
    return Cell(label_of(place, name, budget, setting), system.agent, settings, SEEDS)


def rows(place: str, name: str) -> list[Cell]:
    """A system's cells: settings tried at the middle budget, then the chosen one at the others."""
    system, (low, middle, high) = SYSTEMS[place][name], PLACES[place].budgets
    best = CHOSEN[place].get(name, 0 if len(system.tried) == 1 else None)
    found = []
    for position, setting in enumerate(system.tried):
        cell = row(place, name, middle, setting)
        if position != best:
            cell = Cell(cell.label, cell.agent, cell.settings, SEEDS[:1])
        found.append(cell)
    if best is None:
        return found
    setting = system.tried[best]
    return [*found, *(row(place, name, budget, setting) for budget in (low, high))]


PLANNED = Sweep(
    name="systems",
    description=(
        "Systems that choose blocks, experts, exits and refreshes on the same images at three "
        "budgets, one setting of five each, beside chance, static masks and the paper."
    ),
    settings={"batch_size": 128, "reward": "negative_nll"},
    cells=tuple(cell for place in SYSTEMS for name in SYSTEMS[place] for cell in rows(place, name)),
    minutes=143,
    seeds=SEEDS,
)

RUN = {
    **dict.fromkeys(("mlp", "experts"), 5),
    **dict.fromkeys(("exits", "cifar10", "resnet", "strips"), 3),
}
"""Place -> seeds so far."""


def so_far(cell: Cell) -> Cell:
    """A row with the seeds that were run."""
    place, _ = cell.label.split(": ")
    return dataclasses.replace(cell, seeds=(cell.seeds or SEEDS)[: RUN[place]])


SYSTEMS_SWEEP = dataclasses.replace(PLANNED, cells=tuple(map(so_far, PLANNED.cells)))
"""As far as it has been run; `ccenv compare ccenv.runs.studies.systems.sweep:PLANNED` goes on."""
