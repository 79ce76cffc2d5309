"""Bias and noise of estimators: (problem, policy) -> a row an estimator, beside the exact gradient.

The gradient is that of a policy's parameters, a mean over the problem's inputs. An update looks up
a fixed number of masks: fewer inputs where an estimator wants several masks of each.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ccenv.base.seeding import stream_seed
from ccenv.mask_table.exact import FLOATS
from ccenv.runs.lab.estimators.estimates import ESTIMATORS, Estimator
from ccenv.runs.lab.estimators.problem import Problem
from ccenv.runs.lab.mask_tables.learning import Adam, Policies
from ccenv.runs.stats.intervals import Interval, mean_interval

AT_ONCE = 20
"""Draws of all inputs that are held together."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    seeds: int = 20
    """of which each gives one mean estimate."""
    draws: int = 100
    """of all inputs' masks, for each seed."""
    look_ups: int = 256
    """masks that an update looks up."""
    warm_up: int = 100
    """exact steps before the second policy is looked at."""


def moment_rows(problem: Problem, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A row for each policy and estimator: see `row_of`."""
    units = problem.outcomes.num_units or 0
    trained = warmed_up(problem, sizes.warm_up)
    for policy, keep in (
        ("constant", np.full((problem.num_inputs, units), 0.5)),
        ("linear", trained),
    ):
        looks = problem.looks[policy]
        exact = looks.T @ problem.gradient(keep) / problem.num_inputs
        for name, estimator in ESTIMATORS.items():
            means, seconds = measured(problem, keep, looks, name, sizes)
            yield {
                "policy": policy,
                "estimator": name,
                "masks": estimator.masks_of(units),
                "keep": float(keep.mean()),
                **row_of(means, seconds, exact, sizes.look_ups / estimator.masks_of(units)),
            }


def warmed_up(problem: Problem, steps: int) -> FLOATS:
    """Keep probabilities of a linear policy after exact steps."""
    looks = problem.looks["linear"][None]
    policies = Policies([np.zeros((1, looks.shape[2], problem.outcomes.num_units or 0))])
    adam = Adam(np.array([0.03]))
    for _ in range(steps):
        by_logits = problem.gradient(policies.keep(looks)[0])
        adam.climb(policies, policies.slopes(looks, by_logits[None]))
    return policies.keep(looks)[0]


def measured(
    problem: Problem, keep: FLOATS, looks: FLOATS, name: str, sizes: Sizes
) -> tuple[FLOATS, list[float]]:
    """Of each seed the mean estimate [seeds, features x units], and the mean squared length.

    The length is that of one input's share, so that variances of any number of inputs follow.
    """
    estimator: Estimator = ESTIMATORS[name]
    images, lengths = np.arange(problem.num_inputs), (looks**2).sum(axis=1)
    means, seconds = [], []
    for seed in range(sizes.seeds):
        generator = np.random.default_rng(stream_seed(seed, f"moments {name}"))
        total, second, left = np.zeros_like(keep), 0.0, sizes.draws
        while left:
            count = min(left, AT_ONCE)
            many = np.broadcast_to(keep, (count, *keep.shape))
            found = problem.look_up(estimator, many, images, generator)
            total += found.sum(axis=0)
            second += float(((found**2).sum(axis=2) * lengths).mean(axis=1).sum())
            left -= count
        means.append((looks.T @ total / (sizes.draws * problem.num_inputs)).ravel())
        seconds.append(second / sizes.draws)
    return np.array(means), seconds


def row_of(
    means: FLOATS, seconds: Sequence[float], exact: FLOATS, num_inputs: float
) -> dict[str, Any]:
    """What a user wants to know of an estimator.

    Args:
        means: [seeds, parameters]; mean estimates.
        seconds: of each seed the mean squared length of an input's share.
        exact: the gradient, of as many parameters.
        num_inputs: of an update.

    Returns:
        `size`: the mean estimate along the gradient, 1 without bias; `angle`: between the two in
        degrees, 0 without bias; `noise`: standard deviation of an update's estimate over its mean's
        length; intervals over seeds.
    """
    truth = exact.ravel()
    along = means @ truth / (truth @ truth)
    size = mean_interval(along.tolist())
    mean = means.mean(axis=0)
    spread = [math.sqrt(max(0.0, s - float(mean @ mean)) / num_inputs) for s in seconds]
    length = float(along.mean() * np.linalg.norm(truth))
    return {
        "size": vars(size),
        "angle": vars(angle_of(means, truth)),
        "noise": vars(mean_interval([one / length for one in spread])),
    }


def angle_of(means: FLOATS, truth: FLOATS) -> Interval:
    """Degrees between the mean estimate and the gradient, with noise taken off (jackknife)."""
    along = means @ truth / np.linalg.norm(truth)
    whole = squared_tangent(means, along)
    every = np.arange(len(means))
    without = [squared_tangent(means[every != n], along[every != n]) for n in every]
    spread = math.sqrt((len(means) - 1) * float(np.var(without)))
    half = float(stats.t.ppf(0.975, len(means) - 1)) * spread
    low, middle, high = (degrees(whole + by) for by in (-half, 0.0, half))
    return Interval(middle, None, low, high)


def squared_tangent(means: FLOATS, along: FLOATS) -> float:
    """Square of what lies across the gradient over that along it; pairs of seeds, so no noise."""
    lengths, alongs = of_pairs(means), of_pairs(along[:, None])
    return (lengths - alongs) / alongs


def of_pairs(values: FLOATS) -> float:
    """Mean product of two different rows: the squared length of their mean without noise."""
    total, count = values.sum(axis=0), len(values)
    return float((total @ total - (values**2).sum()) / (count * (count - 1)))


def degrees(squared: float) -> float:
    """Angle of a squared tangent; what noise made negative is 0."""
    return math.degrees(math.atan(math.sqrt(max(0.0, squared))))
