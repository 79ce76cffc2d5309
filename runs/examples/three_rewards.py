"""Compares three reward shapings over their cost weights: which one is ahead, and at what cost.

Run it from any folder: python three_rewards.py
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

import ccenv
from ccenv.mdp.dynamics import StepOutcome
from ccenv.rewards import correct
from ccenv.runs.comparing import Comparison


def quadratic_cost(outcome: StepOutcome, cost_weight: float = 2.0) -> Tensor:
    """Pays one for a right answer; a gate that computes a lot costs more than two that share it."""
    return correct(outcome) - cost_weight * outcome.layer_cost**2


REWARDS = ("accuracy_minus_cost", "nll_minus_cost", quadratic_cost)


def main(
    cost_weights: Sequence[float] = (0.3, 1.0, 3.0, 10.0),
    images: int = 50_000,
    seeds: int = 3,
    **settings: Any,
) -> Comparison:
    """Trains every reward with every weight and seed; finished runs answer from their folder."""
    agent = "reinforce", {"images": images, **settings}
    comparison = ccenv.compare(agent=agent, rewards=REWARDS, cost_weights=cost_weights, seeds=seeds)
    print(comparison.verdict)
    print(comparison.page)
    return comparison


if __name__ == "__main__":
    main()
