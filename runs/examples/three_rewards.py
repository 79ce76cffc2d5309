"""Compares three reward shapings with three seeds each: test error and cost, with intervals.

Run it from any folder: python three_rewards.py
"""

from typing import Any

from torch import Tensor

import ccenv
from ccenv.mdp.dynamics import StepOutcome
from ccenv.rewards import correct
from ccenv.runs.api import Runs


def quadratic_cost(outcome: StepOutcome, cost_weight: float = 2.0) -> Tensor:
    """Pays one for a right answer; a gate that computes a lot costs more than two that share it."""
    return correct(outcome) - cost_weight * outcome.layer_cost**2


REWARDS = ("accuracy_minus_cost", "nll_minus_cost", quadratic_cost)


def main(images: int = 50_000, seeds: int = 3, **settings: Any) -> list[Runs]:
    """Trains every shaping with every seed; finished runs answer from their folder."""
    compared = []
    for reward in REWARDS:
        runs = ccenv.train("reinforce", seeds=seeds, reward=reward, images=images, **settings)
        error, cost = runs.error, runs.cost
        name = reward if isinstance(reward, str) else reward.__name__
        print(
            f"{name:20} error {error.mean:.3f} [{error.low:.3f}, {error.high:.3f}], "
            f"cost {cost.mean:.3f} [{cost.low:.3f}, {cost.high:.3f}]"
        )
        compared.append(runs)
    return compared


if __name__ == "__main__":
    main()
