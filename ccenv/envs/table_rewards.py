"""Rewards without a memory or a network, in numpy: (what a mask did, settings) -> terms that sum.

The same numbers, bit for bit, as `ccenv.rewards.plain` gives in the simulated environment, where
each is explained; tables are played without torch.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.base.registry import check_names
from ccenv.base.values import shown

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Looked:
    """What one gate's mask did, looked up: a `StepOutcome` without a network."""

    is_last: bool
    """whether the episode has ended."""
    mask: NDArray[np.bool_]
    """[rows, num_blocks]; as executed."""
    layer_cost: F32
    """[rows]; this gate's share of the dense network's MACs."""
    compute_cost: F32
    """[rows]; so far."""
    right: F32
    """[rows]; 1 for a right answer, 0 for a wrong one or none yet."""
    nll: F32 | None
    """[rows] in nats, 0 before the end; None of bits alone."""
    num_gates: int
    """of the network."""


def log_likelihood(looked: Looked) -> F32:
    """Minus nll."""
    assert looked.nll is not None
    return -looked.nll


def at_the_end(looked: Looked, value: F32) -> F32:
    """A value on the last step, 0 before it."""
    return value if looked.is_last else np.zeros_like(value)


def accuracy_minus_cost(looked: Looked, cost_weight: float = 1.0) -> dict[str, F32]:
    """Pays one for a right answer and charges every gate when it is decided."""
    return {"accuracy": looked.right, "cost": -cost_weight * looked.layer_cost}


def nll_minus_cost(looked: Looked, cost_weight: float = 1.0) -> dict[str, F32]:
    """Pays the log-likelihood and charges every gate when it is decided."""
    return {"log_likelihood": log_likelihood(looked), "cost": -cost_weight * looked.layer_cost}


def negative_nll(looked: Looked) -> dict[str, F32]:
    """Pays the log-likelihood alone."""
    return {"log_likelihood": log_likelihood(looked)}


def terminal_cost(looked: Looked, cost_weight: float = 1.0) -> dict[str, F32]:
    """Pays one for a right answer and sends the whole bill with it."""
    return {
        "accuracy": looked.right,
        "cost": -cost_weight * at_the_end(looked, looked.compute_cost),
    }


def blockdrop(looked: Looked, wrong_penalty: float = 5.0) -> dict[str, F32]:
    """Pays a right answer the more the less it cost, and punishes a wrong one."""
    return {
        "accuracy": looked.right,
        "cost": -looked.right * (looked.compute_cost * looked.compute_cost),
        "wrong": -wrong_penalty * at_the_end(looked, 1 - looked.right),
    }


def skipnet(looked: Looked, skip_weight: float = 0.1) -> dict[str, F32]:
    """Pays the log-likelihood, and every gate for the blocks that it skips."""
    kept = looked.mask.sum(axis=1, dtype=np.float32) / np.float32(looked.mask.shape[1])
    return {
        "log_likelihood": log_likelihood(looked),
        "skipping": skip_weight / looked.num_gates * (1 - kept),
    }


def budget_hinge(
    looked: Looked, cost_limit: float = 0.25, cost_weight: float = 1.0
) -> dict[str, F32]:
    """Pays one for a right answer and charges only the compute above the budget."""
    before = looked.compute_cost - looked.layer_cost
    above = np.maximum(looked.compute_cost - cost_limit, 0) - np.maximum(before - cost_limit, 0)
    return {"accuracy": looked.right, "over_budget": -cost_weight * above}


def score_minus_cost(looked: Looked, cost_weight: float, score: str) -> dict[str, F32]:
    """Pays a score and charges every gate when it is decided: what a table pays by itself."""
    paid = looked.right if score == "right" else log_likelihood(looked)
    return {"score": paid, "cost": -cost_weight * looked.layer_cost}


RULES: dict[str, Callable[..., dict[str, F32]]] = {
    rule.__name__: rule
    for rule in (
        *(accuracy_minus_cost, nll_minus_cost, negative_nll, terminal_cost),
        *(blockdrop, skipnet, budget_hinge),
    )
}
NEED_NLL = ("nll_minus_cost", "negative_nll", "skipnet")


def check_rule(reward: str, settings: Mapping[str, Any], has_nll: bool) -> None:
    """Refuses a reward that a table cannot pay, and settings that it does not take.

    Args:
        reward: a name.
        settings: its keyword arguments.
        has_nll: whether the table holds more than bits.

    Raises:
        ValueError: saying what to do.
    """
    if reward not in RULES:
        raise ValueError(
            f"expected a reward without a memory or a network ({', '.join(RULES)}), got "
            f"{shown(reward)}; others need the simulated environment: BlockSelection-v0"
        )
    if reward in NEED_NLL and not has_nll:
        raise ValueError(
            f"expected a table with nll for the reward {reward!r}, got one of bits alone; choose "
            "another reward, or build the table: ccenv table build"
        )
    known = list(inspect.signature(RULES[reward]).parameters)[1:]
    check_names(settings, known, "setting in reward_kwargs")
    for name, value in settings.items():
        top = 1.0 if name == "cost_limit" else math.inf
        if not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= top):
            raise ValueError(f"expected {name} to be a number of 0..{top:g}, got {value!r}")
