"""Rewards without state: StepOutcome -> terms [batch] that sum to the reward."""

import math
from typing import TYPE_CHECKING

from ccenv.rewards.bind import describe

if TYPE_CHECKING:  # rewards are listed without torch
    from torch import Tensor

    from ccenv.mdp.dynamics import StepOutcome


def correct(outcome: "StepOutcome") -> "Tensor":
    """1 for a correct answer, 0 for a wrong one and before the last step: float32 [batch]."""
    return outcome.correct


def log_likelihood(outcome: "StepOutcome") -> "Tensor":
    """Log-probability of the true class in nats, 0 before the last step: float32 [batch]."""
    return outcome.log_likelihood


def at_the_end(outcome: "StepOutcome", value: "Tensor") -> "Tensor":
    """The value at the last step, 0 before it: [batch] -> [batch]."""
    return value if outcome.is_last else 0 * value


def loads(outcome: "StepOutcome", load_weight: float) -> dict[str, "Tensor"]:
    """The term of what was loaded, if that has a weight (`ccenv.annexes.simulator.loads`).

    Raises:
        ValueError: if it has a weight, and nothing counts loads, as where masks are searched.
    """
    if not load_weight:
        return {}
    if outcome.loads is None:
        raise ValueError(
            "expected steps that count what is loaded with load_weight, got none; take an agent "
            "that acts in the environment, without a search over masks"
        )
    return {"loads": -load_weight * outcome.loads}


@describe("correct - cost_weight * compute_cost", low=-1.0, high=1.0, keeps_optimum=True)
def accuracy_minus_cost(
    outcome: "StepOutcome", cost_weight: float = 1.0, load_weight: float = 0.0
) -> dict[str, "Tensor"]:
    """Pays one for a correct answer and charges the cost of each gate at its step."""
    paid = {"accuracy": outcome.correct, "cost": -cost_weight * outcome.layer_cost}
    return paid | loads(outcome, load_weight)


@describe("log p(label) - cost_weight * compute_cost", low=-math.inf, high=0.0)
def nll_minus_cost(
    outcome: "StepOutcome", cost_weight: float = 1.0, load_weight: float = 0.0
) -> dict[str, "Tensor"]:
    """Pays the log-likelihood of the label and charges the cost of each gate at its step."""
    cost = -cost_weight * outcome.layer_cost
    return {"log_likelihood": outcome.log_likelihood, "cost": cost} | loads(outcome, load_weight)


@describe("p(label) - cost_weight * compute_cost", low=-1.0, high=1.0)
def probability_minus_cost(
    outcome: "StepOutcome", cost_weight: float = 1.0, load_weight: float = 0.0
) -> dict[str, "Tensor"]:
    """Pays the probability of the label, what `accuracy_minus_cost` pays a drawn answer on average.

    Nothing is paid before the last step.
    """
    likely = at_the_end(outcome, math.e**outcome.log_likelihood)
    return {"probability": likely, "cost": -cost_weight * outcome.layer_cost} | loads(
        outcome, load_weight
    )


@describe("log p(label)", low=-math.inf, high=0.0)
def negative_nll(outcome: "StepOutcome") -> dict[str, "Tensor"]:
    """Pays only the log-likelihood of the label, as Bengio et al. 2015, section 3.1."""
    return {"log_likelihood": outcome.log_likelihood}


@describe("correct - cost_weight * compute_cost", low=-1.0, high=1.0, keeps_optimum=True)
def terminal_cost(outcome: "StepOutcome", cost_weight: float = 1.0) -> dict[str, "Tensor"]:
    """Pays one for a correct answer and charges the total compute cost at the last step."""
    cost = at_the_end(outcome, outcome.compute_cost)
    return {"accuracy": outcome.correct, "cost": -cost_weight * cost}


@describe("correct * (1 - compute_cost ** 2) - (1 - correct) * wrong_penalty", low=-5.0, high=1.0)
def blockdrop(outcome: "StepOutcome", wrong_penalty: float = 5.0) -> dict[str, "Tensor"]:
    """Pays more for a cheap correct answer; a wrong answer costs a fixed penalty.

    BlockDrop: Wu et al. 2018, arXiv 1711.08393, equation 2, with the compute cost in place of the
    share of blocks in use; their blocks have one size.
    """
    right = outcome.correct
    wrong = at_the_end(outcome, 1 - right)
    return {
        "accuracy": right,
        "cost": -right * outcome.compute_cost**2,
        "wrong": -wrong_penalty * wrong,
    }


@describe("log p(label) + skip_weight * mean share of blocks skipped", low=-math.inf, high=0.1)
def skipnet(outcome: "StepOutcome", skip_weight: float = 0.1) -> dict[str, "Tensor"]:
    """Pays the log-likelihood of the label, and for the share of blocks skipped at each gate.

    SkipNet: Wang et al. 2018, arXiv 1711.09485, section 3.3; `skip_weight` is its alpha, divided by
    the number of gates.
    """
    return {
        "log_likelihood": outcome.log_likelihood,
        "skipping": skip_weight / outcome.num_layers * (1 - outcome.density),
    }


@describe("correct - cost_weight * max(0, compute_cost - cost_limit)", low=-0.75, high=1.0)
def budget_hinge(
    outcome: "StepOutcome", cost_limit: float = 0.25, cost_weight: float = 1.0
) -> dict[str, "Tensor"]:
    """Pays one for a correct answer and charges only the compute above the budget of an input."""
    before = outcome.compute_cost - outcome.layer_cost
    above = (outcome.compute_cost - cost_limit).clip(min=0) - (before - cost_limit).clip(min=0)
    return {"accuracy": outcome.correct, "over_budget": -cost_weight * above}


@describe(
    "(correct, -compute_cost)",
    low=-1.0,
    high=1.0,
    components={"accuracy": (0.0, 1.0), "cost": (-1.0, 0.0)},
)
def vector(outcome: "StepOutcome") -> dict[str, "Tensor"]:
    """Two numbers, for multi-objective learners: correct answer, and minus the compute cost.

    The environment declares `reward_space`, as in MO-Gymnasium (Felten et al. 2023).
    """
    return {"accuracy": outcome.correct, "cost": -outcome.layer_cost}
