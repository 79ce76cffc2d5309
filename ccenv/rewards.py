"""Rewards: StepOutcome -> one reward per image, as named terms that sum to it.

A reward is a function of a `StepOutcome` and keyword arguments that returns a tensor [batch], or
a dict of such tensors: the terms, each of which appears in `info` as `reward/<term>`. A function
of yours is used by `module:name`; `describe` gives it a range and a formula for tables.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ccenv.dynamics import StepOutcome
from ccenv.registry import check_names, resolve

RewardFunction = Callable[..., Tensor | dict[str, Tensor]]
Reward = Callable[[StepOutcome], dict[str, Tensor]]


@dataclass(frozen=True)
class RewardDescription:
    """What a table says of a reward."""

    formula: str
    """the sum over an episode."""
    low: float
    """smallest sum over an episode, at the default arguments."""
    high: float
    """largest sum over an episode, at the default arguments."""


def describe(formula: str, low: float, high: float) -> Callable[[RewardFunction], RewardFunction]:
    """Attaches a `RewardDescription` to a reward function, as its attribute `description`."""

    def attach(function: RewardFunction) -> RewardFunction:
        function.description = RewardDescription(formula, low, high)  # type: ignore[attr-defined]
        return function

    return attach


def correct(outcome: StepOutcome) -> Tensor:
    """1 for a right answer, 0 for a wrong one or none yet: float32 [batch]."""
    if outcome.logits is None:
        return torch.zeros_like(outcome.layer_cost)
    return (outcome.logits.argmax(dim=1) == outcome.labels).float()


def log_likelihood(outcome: StepOutcome) -> Tensor:
    """Log-probability of the true class in nats, 0 before the end: float32 [batch]."""
    if outcome.logits is None:
        return torch.zeros_like(outcome.layer_cost)
    chosen = outcome.logits.gather(1, outcome.labels.unsqueeze(1)).squeeze(1)
    return chosen - outcome.logits.logsumexp(dim=1)


@describe("correct - cost_weight * compute_cost", low=-1.0, high=1.0)
def accuracy_minus_cost(outcome: StepOutcome, cost_weight: float = 1.0) -> dict[str, Tensor]:
    """Pays one for a right answer and charges every layer when it is computed."""
    return {"accuracy": correct(outcome), "cost": -cost_weight * outcome.layer_cost}


@describe("log p(label) - cost_weight * compute_cost", low=-math.inf, high=0.0)
def nll_minus_cost(outcome: StepOutcome, cost_weight: float = 1.0) -> dict[str, Tensor]:
    """Pays the log-likelihood of the label and charges every layer when it is computed."""
    return {"log_likelihood": log_likelihood(outcome), "cost": -cost_weight * outcome.layer_cost}


@describe("log p(label)", low=-math.inf, high=0.0)
def negative_nll(outcome: StepOutcome) -> dict[str, Tensor]:
    """Pays the log-likelihood of the label alone: the paper's (Bengio et al. 2015, section 3.1)."""
    return {"log_likelihood": log_likelihood(outcome)}


REWARDS: dict[str, Any] = {
    "accuracy_minus_cost": accuracy_minus_cost,
    "nll_minus_cost": nll_minus_cost,
    "negative_nll": negative_nll,
}


def make_reward(reward: str | RewardFunction, arguments: Mapping[str, Any] | None = None) -> Reward:
    """Finds a reward and binds its arguments.

    Args:
        reward: a name in `REWARDS`, `module:name`, or a function.
        arguments: its keyword arguments.

    Returns:
        A function from an outcome to the terms of the reward, float32 [batch] each.

    Raises:
        ValueError: if a name is unknown, or a number is not finite or is a negative weight.
    """
    function: RewardFunction = resolve(reward, REWARDS, "reward")
    arguments = dict(arguments or {})
    if not callable(function):
        raise ValueError(f"expected reward to be a name or a function, got {function!r}")
    parameters = list(inspect.signature(function).parameters.values())
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if not open_ended:
        check_names(arguments, [p.name for p in parameters[1:]], "setting in reward_kwargs")
    for name, value in arguments.items():
        check_number(name, value)
    try:
        inspect.signature(function).bind(None, **arguments)
    except TypeError as error:
        raise ValueError(
            f"expected reward_kwargs for reward(outcome, **reward_kwargs), got {arguments}: {error}"
        ) from error
    return functools.partial(reward_terms, function, arguments)


def check_number(name: str, value: Any) -> None:
    """Refuses numbers that are not finite, and weights below zero."""
    if isinstance(value, Real) and not math.isfinite(value):
        raise ValueError(f"expected {name} to be finite, got {value}")
    if name.endswith("_weight") and not (isinstance(value, Real) and float(value) >= 0):
        raise ValueError(f"expected {name} to be a number of at least 0, got {value!r}")


def reward_terms(
    function: RewardFunction, arguments: Mapping[str, Any], outcome: StepOutcome
) -> dict[str, Tensor]:
    """Evaluates a reward function; a single tensor becomes the one term `total`.

    Raises:
        ValueError: if the function does not return one finite number for each image.
    """
    result = function(outcome, **arguments)
    terms = result if isinstance(result, dict) else {"total": result}
    if not terms:
        raise ValueError("expected the reward to return at least one term, got none")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.shape != outcome.labels.shape:
            got = list(term.shape) if isinstance(term, Tensor) else type(term).__name__
            raise ValueError(
                f"expected the reward's term {name!r} to be a tensor [{len(outcome.labels)}], "
                f"one number for each image, got {got}"
            )
    check_finite(terms, outcome.layer)
    return {name: term.float() for name, term in terms.items()}


def check_finite(terms: Mapping[str, Tensor], layer: int) -> None:
    """Refuses NaN and infinity; one sum tells, so that a fast environment stays fast."""
    if math.isfinite(sum(term.sum() for term in terms.values())):
        return
    names = [name for name, term in terms.items() if not bool(term.isfinite().all())]
    raise ValueError(
        f"expected the reward's terms to be finite, got NaN or infinity in {', '.join(names)} in "
        f"layer {layer}; check the reward and the images"
    )
