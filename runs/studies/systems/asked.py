"""Systems and how each is asked for a budget: (a budget) -> settings of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ccenv.runs.studies.systems.places import PLACES, Budget

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
    draw: str = ""
    """"sampled" or "mode" where the paper's use says so; empty for what validation prefers."""


RATES = over("learning_rate", 0.001, 0.003, 0.01, 0.03, 0.1)
LOSS_RATES = over("learning_rate", 0.0003, 0.001, 0.005, 0.02, 0.06)
PPO_RATES = over("learning_rate", 0.0003, 0.001, 0.003, 0.01, 0.03)
PAPER_RATES = over("learning_rate", 5e-5, 5e-4, 5e-3, 0.02, 0.05)
TABLES: Tried = (
    {"tables": 8, "probes": 4},
    {"tables": 2, "probes": 16},
    {"tables": 4, "probes": 8},
    {"tables": 16, "probes": 4},
    {"tables": 8, "probes": 4, "keys": "units"},
)
SAME_RATE = RATES[3:4]
"""What was best on the fully connected network; not chosen anew."""
RANDOM = "chance: what choosing must beat"
SMALLER = "a smaller dense network of the same cost, learned by itself"
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
        over("num_offers", 2, 3, 5, 9, 17),
        "how many blocks, not which, by imitation",
    ),
}
AT_ONCE = System(
    "blockdrop",
    price,
    over("alpha", 0.65, 0.8, 0.9, 0.95, 0.99),
    "all coins at once, before the first gate",
)
UNITS = System(
    "rloo_budget",
    lambda budget: {"cost_limit": budget.cost, "group_size": 4},
    over("number_learning_rate", 0.001, 0.003, 0.01, 0.03, 0.1),
    "units by reward, against three other masks of the image, a multiplier for a budget",
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


def smaller_residual(budget: Budget) -> dict[str, Any]:
    """A dense residual network of about that cost, shallower or narrower."""
    depth, width = {0.25: (8, 6), 0.5: (8, 8), 0.75: (14, 7)}[budget.share]
    return {"network_kwargs": {"depth": depth, "width": width}}


def by_knob(name: str, *values: float) -> Asks:
    """One value of a setting for each budget, where nothing can be asked for a cost."""

    def ask(budget: Budget) -> dict[str, Any]:
        places = (PLACES["exits"].budgets, values)
        return next({name: value} for found, value in zip(*places, strict=True) if found == budget)

    return ask
