"""Regret after equal numbers of looked-up masks: (problem, estimator) -> curves; rates are tuned.

Every estimator has the same rates to choose from, by the regret at the end of other runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccenv.base.seeding import stream_seed
from ccenv.mask_table.exact import FLOATS
from ccenv.runs.lab.estimators.estimates import ESTIMATORS
from ccenv.runs.lab.estimators.problem import Problem
from ccenv.runs.lab.mask_tables.learning import Adam, Policies
from ccenv.runs.stats.intervals import mean_interval

EXACT = "exact gradient"


@dataclass(frozen=True)
class Sizes:
    """How much is learned."""

    runs: int = 20
    """of the chosen rate."""
    tuning_runs: int = 4
    """of each rate."""
    look_ups: int = 256
    """masks of an update."""
    updates: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 240)
    """after which the regret is noted."""
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Adam's, of which one is chosen."""


def curve_rows(problem: Problem, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A row for each policy and estimator, and one for the exact gradient."""
    for policy in problem.looks:
        for name in (EXACT, *ESTIMATORS):
            # Without noise all runs are one.
            runs = (1, 1) if name == EXACT else (sizes.tuning_runs, sizes.runs)
            tried = np.repeat(sizes.rates, runs[0])
            ends = learned(problem, policy, name, tried, sizes, "tuning", sizes.updates[-1:])
            by_rate = ends[-1].reshape(len(sizes.rates), -1).mean(axis=1)
            rate = sizes.rates[int(by_rate.argmin())]
            rates = np.full(runs[1], rate)
            regrets = learned(problem, policy, name, rates, sizes, "runs", sizes.updates)
            yield {
                "policy": policy,
                "estimator": name,
                "rate": rate,
                "tuned": by_rate.tolist(),
                "look_ups": [sizes.look_ups * count for count in sizes.updates],
                "regret": [vars(mean_interval(at.tolist())) for at in regrets],
                "static": problem.static_regret,
            }


def learned(
    problem: Problem,
    policy: str,
    name: str,
    rates: FLOATS,
    sizes: Sizes,
    purpose: str,
    updates: Sequence[int],
) -> FLOATS:
    """Regrets of runs side by side: [len(updates), runs].

    Args:
        problem: where they learn.
        policy: what it sees.
        name: of the estimator.
        rates: [runs].
        sizes: look-ups of an update.
        purpose: of the stream of draws.
        updates: after which regrets are noted.
    """
    looks, units = problem.looks[policy], problem.outcomes.num_units or 0
    generator = np.random.default_rng(stream_seed(0, f"curves {purpose} {policy} {name}"))
    policies = Policies([np.zeros((len(rates), looks.shape[1], units))])
    adam, found = Adam(rates), []
    for update in range(1, updates[-1] + 1):
        step(problem, policies, adam, looks, name, sizes.look_ups, generator)
        if update in updates:
            found.append([problem.regret(keep) for keep in policies.keep(looks[None])])
    return np.array(found)


def step(
    problem: Problem,
    policies: Policies,
    adam: Adam,
    looks: FLOATS,
    name: str,
    look_ups: int,
    generator: np.random.Generator,
) -> None:
    """One update of all runs, each on inputs and masks of its own."""
    if name == EXACT:
        seen = looks[None]
        by_logits = np.stack([problem.gradient(keep) for keep in policies.keep(seen)])
    else:
        estimator = ESTIMATORS[name]
        count = max(1, look_ups // estimator.masks_of(problem.outcomes.num_units or 0))
        images = generator.integers(problem.num_inputs, size=(len(adam.rates), count))
        seen = looks[images]
        by_logits = problem.look_up(estimator, policies.keep(seen), images, generator)
    adam.climb(policies, policies.slopes(seen, by_logits))
