"""Policies that choose from a menu: (looks, outcomes of a menu) -> where they stand at a budget.

A softmax over the menu's masks, linear or with one hidden layer, of what is seen where choosing
begins. A price follows the budget. Each seed learns from its own draw of the inputs that fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ccenv.base.seeding import stream_seed
from ccenv.mask_table.exact import FLOATS, Outcomes
from ccenv.runs.lab.mask_tables.at_cost import AtCost, best_at
from ccenv.runs.lab.mask_tables.learning import Adam, Policies, interval_of_each

LEARNERS = ("exact gradient", "rloo", "reinforce", "imitation", "ppo")
DRAWS = {"rloo": 8, "reinforce": 1, "ppo": 8}
"""Masks of an input that are looked up in an update."""
REUSED, CLIP = 4, 0.2
"""Updates by the same draws, by ppo, and how far a mask's chance may move by them, as a share."""
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
    wrong: FLOATS | None = None
    """[inputs that judge, masks], share of wrong answers; None: errors are not told."""
    whole: AtCost | None = None
    """of all masks and the inputs that judge, where these are known."""


@dataclass(frozen=True)
class Learning:
    """How policies are fitted."""

    moments: tuple[int, ...]
    """updates after which a run may have stopped; the last ends it."""
    hidden: int = 0
    """units of the hidden layer; 0 for none."""
    batch: int | None = None
    """inputs of an update; None for all."""


@dataclass(frozen=True)
class Draw:
    """Masks that were drawn, and how likely they were then."""

    numbers: NDArray[np.int64]
    """[draws, runs, inputs]."""
    chances: FLOATS
    """likewise."""


def placed_rows(
    data: Data, budgets: tuple[float, ...], seeds: int, hidden: int, learning: Learning
) -> Iterator[dict[str, Any]]:
    """A row for each budget, form of policy and learner, over seeds."""
    for budget in budgets:
        for form, units in (("linear", 0), ("hidden", hidden)):
            own = replace(learning, hidden=units)
            for learner in LEARNERS:
                points = [placed(data, budget, learner, seed, own) for seed in range(seeds)]
                said = {"budget": budget, "policy": form, "learner": learner}
                yield said | interval_of_each(points)


def placed(
    data: Data, budget: float, learner: str, seed: int, learning: Learning
) -> dict[str, float]:
    """Fits one seed at all rates; that and the moment that choose best, on inputs that judge."""
    title = f"menu {budget} {learner} {learning.hidden}"
    generator = np.random.default_rng(stream_seed(seed, title))
    drawn = generator.integers(len(data.fit_looks), size=len(data.fit_looks))
    fit, looks = data.fit.of_images(drawn), data.fit_looks[drawn]
    best: tuple[float, Policies] | None = None
    for policies in fitted(fit, looks, budget, learner, learning, generator):
        for run, logits in enumerate(policies.logits(data.choose_looks[None])):
            closed = data.choose.place(masks=softmax(logits, axis=-1)).gap_closed
            if best is None or closed > best[0]:
                best = closed, policies.of_runs([run])
    assert best is not None
    return told(data, softmax(best[1].logits(data.judge_looks[None])[0], axis=-1))


def told(data: Data, chances: FLOATS) -> dict[str, float]:
    """Where a policy stands: its `CostPoint`, its error, and the same beside all masks."""
    point = data.judge.place(masks=chances)
    found: dict[str, float] = dict(vars(point))
    if data.wrong is not None:
        found["error"] = float((chances * data.wrong).sum(axis=1).mean())
    if data.whole is not None:
        found["oracle_of_all"] = data.whole.oracle(point.cost)
        lead = found["oracle_of_all"] - point.static
        found["gap_closed_of_all"] = (point.score - point.static) / lead
    return found


def fitted(
    fit: Outcomes,
    looks: FLOATS,
    budget: float,
    learner: str,
    learning: Learning,
    generator: np.random.Generator,
) -> Iterator[Policies]:
    """Policies of all rates, side by side, at each moment."""
    runs, (count, masks) = len(RATES), fit.scores.shape
    policies = Policies.made(runs, looks.shape[1], masks, learning.hidden, generator)
    adam, prices, scores = Adam(np.array(RATES)), np.ones(runs), fit.scores.astype(np.float64)
    targets = np.eye(masks)[best_at(fit, budget, 40)]
    rows: Any = slice(None)
    draw: Draw | None = None
    for update in range(learning.moments[-1]):
        is_new = learner != "ppo" or not update % REUSED
        if is_new and learning.batch is not None:
            rows = generator.integers(count, size=learning.batch)
        chances = softmax(policies.logits(looks[rows][None]), axis=-1)
        if is_new:
            draw = drawn_from(chances, learner, generator)
        over = (chances @ fit.costs).mean(axis=1) - budget
        prices = np.maximum(prices + PRICE_RATE * over, 0)
        worth = scores[rows] - (prices + STIFFNESS * over)[:, None, None] * fit.costs
        slopes = slope(learner, chances, worth, targets[rows], draw)
        by_weights = policies.slopes(looks[rows][None], slopes)
        adam.climb(policies, by_weights, 1 - update / learning.moments[-1])
        if update + 1 in learning.moments:
            yield policies


def drawn_from(chances: FLOATS, learner: str, generator: np.random.Generator) -> Draw | None:
    """Masks by their chances [runs, inputs, masks]; None for learners that draw none."""
    if learner not in DRAWS:
        return None
    tossed = generator.random((DRAWS[learner], *chances.shape[:2], 1))
    numbers = (chances.cumsum(axis=-1) < tossed).sum(axis=-1)
    numbers = np.minimum(numbers, chances.shape[-1] - 1)
    return Draw(numbers, taken(chances, numbers))


def taken(values: FLOATS, numbers: NDArray[np.int64]) -> FLOATS:
    """Values [runs, inputs, masks] of the masks that were drawn: [draws, runs, inputs]."""
    found: FLOATS = np.take_along_axis(values[None], numbers[..., None], axis=-1)[..., 0]
    return found


def slope(
    learner: str, chances: FLOATS, worth: FLOATS, targets: FLOATS, draw: Draw | None
) -> FLOATS:
    """Slopes of the mean reward by logits, or an estimate: [runs, inputs, masks] in and out.

    Reinforce, leave-one-out, and ppo: leave-one-out whose draws are used for several updates, each
    as far as the mask's chance has not moved too far already (Schulman et al. 2017, arXiv
    1707.06347, equation 7). At the first of them it is leave-one-out.
    """
    if learner == "imitation":
        return targets - chances
    if draw is None:
        found: FLOATS = chances * (worth - (chances * worth).sum(axis=-1, keepdims=True))
        return found
    earned = taken(worth, draw.numbers)
    # Of one draw an input, what the others earn on the mean is the baseline.
    axis = 0 if len(earned) > 1 else 2
    size = earned.shape[axis]
    advantage = (earned - earned.mean(axis=axis, keepdims=True)) * size / (size - 1)
    ratio = taken(chances, draw.numbers) / draw.chances
    is_far = np.where(advantage > 0, ratio > 1 + CLIP, ratio < 1 - CLIP)
    one_hot = np.eye(chances.shape[-1])[draw.numbers]
    weight = np.where(is_far, 0, ratio * advantage)[..., None]
    estimate: FLOATS = (weight * (one_hot - chances)).mean(axis=0)
    return estimate
