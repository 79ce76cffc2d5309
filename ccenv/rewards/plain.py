"""Rewards without a memory: StepOutcome -> terms [batch] that sum to the reward."""

import math

from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome
from ccenv.rewards.answers import at_the_end, correct, log_likelihood
from ccenv.rewards.description import describe


@describe("correct - cost_weight * compute_cost", low=-1.0, high=1.0, keeps_optimum=True)
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


@describe("correct - cost_weight * compute_cost", low=-1.0, high=1.0, keeps_optimum=True)
def terminal_cost(outcome: StepOutcome, cost_weight: float = 1.0) -> dict[str, Tensor]:
    """Pays one for a right answer and sends the whole bill with it: no layer knows its share."""
    bill = at_the_end(outcome, outcome.compute_cost)
    return {"accuracy": correct(outcome), "cost": -cost_weight * bill}


@describe("correct * (1 - compute_cost ** 2) - (1 - correct) * wrong_penalty", low=-5.0, high=1.0)
def blockdrop(outcome: StepOutcome, wrong_penalty: float = 5.0) -> dict[str, Tensor]:
    """Pays a right answer the more the less it cost, and punishes a wrong one whatever it cost.

    BlockDrop: Wu et al. 2018, arXiv 1711.08393, equation 2, with the compute cost as the share of
    blocks in use; theirs are of one size.
    """
    right = correct(outcome)
    wrong = at_the_end(outcome, 1 - right)
    return {
        "accuracy": right,
        "cost": -right * outcome.compute_cost.square(),
        "wrong": -wrong_penalty * wrong,
    }


@describe("log p(label) + skip_weight * mean share of blocks skipped", low=-math.inf, high=0.1)
def skipnet(outcome: StepOutcome, skip_weight: float = 0.1) -> dict[str, Tensor]:
    """Pays the log-likelihood of the label, and every layer for the blocks that it skips.

    SkipNet: Wang et al. 2018, arXiv 1711.09485, section 3.3 (its alpha, over the number of layers).
    """
    skipped = 1 - outcome.mask.float().mean(dim=1)
    return {
        "log_likelihood": log_likelihood(outcome),
        "skipping": skip_weight / outcome.num_layers * skipped,
    }


@describe("correct - cost_weight * max(0, compute_cost - cost_limit)", low=-0.75, high=1.0)
def budget_hinge(
    outcome: StepOutcome, cost_limit: float = 0.25, cost_weight: float = 1.0
) -> dict[str, Tensor]:
    """Pays one for a right answer and charges only the compute above each image's budget."""
    before = outcome.compute_cost - outcome.layer_cost
    above = (outcome.compute_cost - cost_limit).clamp(min=0) - (before - cost_limit).clamp(min=0)
    return {"accuracy": correct(outcome), "over_budget": -cost_weight * above}


@describe(
    "(correct, -compute_cost)",
    low=-1.0,
    high=1.0,
    components={"accuracy": (0.0, 1.0), "cost": (-1.0, 0.0)},
)
def vector(outcome: StepOutcome) -> dict[str, Tensor]:
    """Two numbers instead of a price between them: right answers, and minus the compute cost.

    For multi-objective learners, with `reward_space` as in MO-Gymnasium (Felten et al. 2023).
    """
    return {"accuracy": correct(outcome), "cost": -outcome.layer_cost}


__all__ = [
    "accuracy_minus_cost",
    "blockdrop",
    "budget_hinge",
    "negative_nll",
    "nll_minus_cost",
    "skipnet",
    "terminal_cost",
    "vector",
]
