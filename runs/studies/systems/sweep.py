"""The systems that came after the paper, each on the same images, network and three budgets.

Every agent has three settings at the middle budget and seed 0; the one with the least validation
error goes on to all budgets and seeds. What a row is there for stands beside it in `SYSTEMS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep
from ccenv.runs.studies.systems.places import PLACES, Budget

SEEDS = (0, 1, 2)
Tried = tuple[dict[str, Any], ...]
Asks = Callable[[Budget], dict[str, Any]]


def keep(budget: Budget) -> dict[str, Any]:
    """Exactly k blocks."""
    return {"num_kept": budget.kept}


def coins(budget: Budget) -> dict[str, Any]:
    """Coins of that density."""
    return {"target_density": budget.share}


def price(budget: Budget) -> dict[str, Any]:
    """A price that moves until masks cost so much."""
    return {"reward": "lagrangian", "cost_limit": budget.cost}


def over(name: str, *values: Any) -> Tried:
    """One setting's values."""
    return tuple({name: value} for value in values)


@dataclass(frozen=True)
class System:
    """An agent at one place."""

    agent: str
    """its name."""
    asks: Asks
    """budget -> the settings that ask for it."""
    tried: Tried = ({},)
    """settings, of which one is chosen."""
    why: str = ""
    """the sentence that the row supports."""


RATES = over("learning_rate", 0.003, 0.01, 0.03)
LOSS_RATES = over("learning_rate", 0.001, 0.005, 0.02)
PPO_RATES = over("learning_rate", 0.001, 0.003, 0.01)
PAPER_RATES = over("learning_rate", 5e-5, 5e-4, 5e-3)
TABLES: Tried = (
    {"tables": 8, "probes": 4},
    {"tables": 2, "probes": 16},
    {"tables": 8, "probes": 4, "keys": "units"},
)
SAME_RATE = RATES[2:]
"""What was best on the fully connected network; not chosen anew."""
RANDOM = "chance: what choosing must beat"
STATIC = "static: the same blocks for everybody, what choosing by input must beat"

CHOOSERS: dict[str, System] = {
    "rloo": System("rloo", keep, RATES, "k of n by reward, against other masks of the image"),
    "noisy_topk": System("noisy_topk", keep, LOSS_RATES, "k of n by the loss, through gate values"),
    "dynamic_gate": System("dynamic_gate", keep, LOSS_RATES, "k of n by the loss, through masks"),
    "wta_retrieval": System(
        "wta_retrieval",
        lambda budget: {"min_kept": budget.kept, "max_kept": budget.kept},
        TABLES,
        "k of n by look-up, nothing learned",
    ),
    "gumbel": System("gumbel", coins, LOSS_RATES, "coins by the loss"),
    "condnet": System("condnet", coins, PAPER_RATES, "the paper: coins by REINFORCE"),
    "reinforce": System("reinforce", price, RATES, "coins by reward, a price for a budget"),
    "sb3_ppo": System("sb3_ppo", price, PPO_RATES, "the same by a library's agent"),
    "allocation": System(
        "allocation",
        lambda budget: {"cost_limit": budget.cost},
        over("num_offers", 3, 5, 9),
        "how many blocks, not which, by imitation",
    ),
}
AT_ONCE = System(
    "blockdrop", price, over("alpha", 0.8, 0.95, 0.99), "all coins at once, before the first gate"
)
HYBRID = System("skipnet", price, RATES, "coins by the loss first, then by reward")
CHANCE = System("block_dropout", lambda b: {"keep_probability": b.share}, why=RANDOM)


def searched(budget: Budget) -> dict[str, Any]:
    """The best static mask under a budget."""
    limit = {"cost_limit": budget.cost, "cost_weight": 10.0}
    return {"reward": "budget_hinge", "reward_kwargs": limit}


def one_block(budget: Budget) -> dict[str, Any]:
    """A dense network of as many units: static masks of a network that learns along are such."""
    return {"num_blocks": (1, 1), "block_size": 16 * budget.kept}


def one_expert(budget: Budget) -> dict[str, Any]:
    """The same with one expert."""
    size = {"num_experts": 1, "expert_size": 16 * budget.kept}
    return {"network_kwargs": {**PLACES["experts"].settings["network_kwargs"], **size}}


def by_knob(name: str, *values: float) -> Asks:
    """One value of a setting for each budget, where nothing can be asked for a cost."""

    def ask(budget: Budget) -> dict[str, Any]:
        places = (PLACES["exits"].budgets, values)
        return next({name: value} for found, value in zip(*places, strict=True) if found == budget)

    return ask


SYSTEMS: dict[str, dict[str, System]] = {
    "mlp": {
        **CHOOSERS,
        "blockdrop": AT_ONCE,
        "skipnet": HYBRID,
        "block_dropout": CHANCE,
        "static": System("dense", one_block, why=STATIC),
    },
    "exits": {
        "act": System("act", by_knob("time_weight", 0.1, 0.03, 0.01), why="halting values"),
        "pondernet": System("pondernet", by_knob("prior_rate", 0.8, 0.6, 0.4), why="halting coins"),
        "confidence": System(
            "confidence", lambda b: {"stop_shares": b.share}, why="a rule that learns nothing"
        ),
        "allocation": System(
            "allocation", lambda b: {"cost_limit": b.cost}, why="exits from the first look"
        ),
        "reinforce": System("reinforce", price, SAME_RATE, "exits by reward"),
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
        name: CHOOSERS[name]
        for name in ("rloo", "dynamic_gate", "gumbel", "reinforce", "wta_retrieval", "allocation")
    }
    | {
        "block_dropout": CHANCE,
        "static": System("fixed_mask", searched, why=STATIC),
    },
}
"""Place -> label -> what is run. `noisy_topk` needs weights that learn under gate values; units of
depth (`blockdrop`, `skipnet`) are coins of one gate where there are experts, as `reinforce` is."""
CHOSEN: dict[str, dict[str, int]] = {
    "mlp": {
        "rloo": 2,
        "noisy_topk": 2,
        "dynamic_gate": 0,
        "wta_retrieval": 0,
        "gumbel": 2,
        "condnet": 2,
        "reinforce": 2,
        "sb3_ppo": 1,
        "allocation": 2,
        "blockdrop": 0,
        "skipnet": 2,
    },
    "exits": {},
    "experts": {},
    "strips": {},
    "cifar10": {},
}
"""Place -> label -> position of the setting with the least validation error."""


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


SYSTEMS_SWEEP = Sweep(
    name="systems",
    description=(
        "Systems that choose blocks, experts, exits and refreshes on the same images at three "
        "budgets, one setting of three each, beside chance, static masks and the paper."
    ),
    settings={"batch_size": 128, "reward": "negative_nll"},
    cells=tuple(cell for place in SYSTEMS for name in SYSTEMS[place] for cell in rows(place, name)),
    minutes=60,
    seeds=SEEDS,
)
