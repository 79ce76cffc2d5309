"""Policies that choose from a menu: (looks, outcomes of a menu) -> where they stand at a budget.

A softmax over the menu's masks, linear or with one hidden layer, of what is seen where choosing
begins. A price follows the budget. Each seed learns from its own draw of the inputs that fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccenv.base.seeding import stream_seed
from ccenv.mask_table.at_cost import AtCost, best_at
from ccenv.mask_table.exact import Outcomes
from ccenv.mask_table.forms import FLOATS
from ccenv.mask_table.learning import Adam, Policies, softmax
from ccenv.runs.stats.intervals import mean_interval

LEARNERS = ("exact gradient", "rloo", "reinforce", "imitation")
DRAWS = 8
"""Masks of an input that are looked up in an update, by rloo; one by reinforce."""
PRICE_RATE, STIFFNESS = 0.3, 10.0
"""How fast the price follows what is spent, and how much of the gap it is at once."""
RATES = (0.003, 0.01, 0.03)
"""That are tried; the one that closes most of the gap on inputs that choose is taken."""


@dataclass(frozen=True)
class Data:
    """Inputs that fit, choose and judge: what a menu gives them, and what is seen of them."""

    fit: Outcomes
    fit_looks: FLOATS
    choose: AtCost
    choose_looks: FLOATS
    judge: AtCost
    judge_looks: FLOATS


def placed_rows(
    data: Data, budgets: tuple[float, ...], seeds: int, updates: int, hidden: int
) -> Iterator[dict[str, Any]]:
    """A row for each budget, form of policy and learner, over seeds."""
    for budget in budgets:
        for form, units in (("linear", 0), ("hidden", hidden)):
            for learner in LEARNERS:
                points = [
                    placed(data, budget, learner, units, seed, updates) for seed in range(seeds)
                ]
                yield {
                    "budget": budget,
                    "policy": form,
                    "learner": learner,
                    **{
                        name: vars(mean_interval([getattr(point, name) for point in points]))
                        for name in vars(points[0])
                    },
                }


def placed(data: Data, budget: float, learner: str, hidden: int, seed: int, updates: int) -> Any:
    """Fits one seed at all rates and places the best on the inputs that judge."""
    generator = np.random.default_rng(stream_seed(seed, f"menu {budget} {learner} {hidden}"))
    drawn = generator.integers(len(data.fit_looks), size=len(data.fit_looks))
    policies = fitted(
        data.fit.of_images(drawn),
        data.fit_looks[drawn],
        budget,
        learner,
        hidden,
        updates,
        generator,
    )
    chosen = [
        data.choose.place(masks=softmax(logits)).gap_closed
        for logits in policies.logits(data.choose_looks[None])
    ]
    best = policies.of_runs([int(np.argmax(chosen))])
    return data.judge.place(masks=softmax(best.logits(data.judge_looks[None])[0]))


def fitted(
    fit: Outcomes,
    looks: FLOATS,
    budget: float,
    learner: str,
    hidden: int,
    updates: int,
    generator: np.random.Generator,
) -> Policies:
    """Policies of all rates, side by side, after so many updates with all inputs."""
    runs, (count, masks) = len(RATES), fit.scores.shape
    policies = Policies.made(runs, looks.shape[1], masks, hidden, generator)
    adam, prices, scores = Adam(np.array(RATES)), np.ones(runs), fit.scores.astype(np.float64)
    targets = np.eye(masks)[best_at(fit, budget, 40)]
    for update in range(updates):
        chances = softmax(policies.logits(looks[None]))
        over = (chances @ fit.costs).mean(axis=1) - budget
        prices = np.maximum(prices + PRICE_RATE * over, 0)
        worth = scores - (prices + STIFFNESS * over)[:, None, None] * fit.costs
        slopes = slope(learner, chances, worth, targets, generator)
        adam.climb(policies, policies.slopes(looks[None], slopes), 1 - update / updates)
    assert count == len(looks)
    return policies


def slope(
    learner: str, chances: FLOATS, worth: FLOATS, targets: FLOATS, generator: np.random.Generator
) -> FLOATS:
    """Slopes of the mean reward by logits, or an estimate: [runs, inputs, masks] in and out."""
    if learner == "imitation":
        return targets - chances
    if learner == "exact gradient":
        found: FLOATS = chances * (worth - (chances * worth).sum(axis=-1, keepdims=True))
        return found
    draws = DRAWS if learner == "rloo" else 1
    tossed = generator.random((draws, *chances.shape[:2], 1))
    last = chances.shape[-1] - 1
    numbers = np.minimum((chances.cumsum(axis=-1) < tossed).sum(axis=-1), last)
    earned = np.take_along_axis(worth[None], numbers[..., None], axis=-1)[..., 0]
    # Of one draw an input, what the others earn on the mean is the baseline.
    axis = 0 if draws > 1 else 2
    size = earned.shape[axis]
    advantage = (earned - earned.mean(axis=axis, keepdims=True)) * size / (size - 1)
    one_hot = np.eye(last + 1)[numbers]
    estimate: FLOATS = (advantage[..., None] * (one_hot - chances)).mean(axis=0)
    return estimate
