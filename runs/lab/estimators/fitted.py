"""Policies on inputs that training never sees: (tables) -> share of the oracle's gap closed.

Log-likelihood at a budget of MACs. Most of a table's inputs fit, the rest choose rate and moment to
stop, another table's inputs judge. The cost's slope is known and taken exactly; its price follows
the budget (an augmented Lagrangian). Rivals are mixtures of static masks of the fitting inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccenv.base.seeding import stream_seed
from ccenv.mask_table import MaskTable, Outcomes, gradient
from ccenv.mask_table.evaluation.exact import FLOATS
from ccenv.runs.lab.mask_tables.at_cost import AtCost, best_at, hull, unit_costs
from ccenv.runs.lab.mask_tables.estimators import ESTIMATORS, LookUp
from ccenv.runs.lab.mask_tables.learning import (
    Adam,
    Policies,
    sigmoid,
    softmax,
    standardised,
)
from ccenv.runs.lab.table_studies import interval_of_each

EXACT, IMITATION, MENU = "exact gradient", "imitation", "exact gradient, menu"
LEARNERS = {
    "reinforce": "reinforce, mean baseline",
    "rloo": "leave-one-out, 8",
    "disarm": "disarm, 2",
}
"""Agent -> the estimator that it is here."""
WAYS = (
    ("constant", EXACT),
    *((seen, name) for seen in ("linear", "hidden") for name in (*LEARNERS, IMITATION, EXACT)),
    *((seen, MENU) for seen in ("linear", "hidden")),
)
"""What policies see and how they learn; a menu's is a softmax over the best static masks."""
STIFFNESS, PRICE_RATE = 20.0, 0.5
"""How much the price follows the cost's distance from the budget at once, and for good."""


@dataclass(frozen=True)
class Sizes:
    """How much is learned."""

    seeds: int = 10
    """runs that are judged."""
    budgets: tuple[float, ...] = (0.35, 0.5, 0.7)
    """of mean compute cost."""
    choosing: int = 768
    """last inputs of the fitting table, which choose."""
    look_ups: int = 512
    """masks of an update; 64 inputs where all masks of each are known."""
    updates: tuple[int, ...] = (75, 150, 300)
    """after which runs may have stopped."""
    rates: tuple[float, ...] = (0.01, 0.03)
    """Adam's; a seed takes what chooses best."""
    hidden: int = 32
    """units of the hidden layer."""


@dataclass(frozen=True)
class Data:
    """Inputs that fit, choose and judge."""

    fit: Outcomes
    """of inputs that fit."""
    looks: dict[str, tuple[FLOATS, FLOATS, FLOATS]]
    """what a policy sees of all three."""
    choose: AtCost
    """of inputs that choose."""
    judge: AtCost
    """of inputs that judge."""
    menu: list[int]
    """the best static masks at all costs, by inputs that fit."""


def data_of(fitting: MaskTable, judging: MaskTable, choosing: int) -> Data:
    """Parts a table in two, and has another one judge."""
    assert fitting.look is not None
    assert judging.look is not None
    outcomes, judge = (table.outcomes("log_likelihood") for table in (fitting, judging))
    first, last = slice(0, -choosing), slice(-choosing, None)
    fit = outcomes.of_images(first)
    looks = [fitting.look[first], fitting.look[last], judging.look]
    a, b, c = standardised(*(part.astype(np.float64) for part in looks))
    ones = (np.ones((len(a), 1)), np.ones((len(b), 1)), np.ones((len(c), 1)))
    return Data(
        fit,
        {"constant": ones, "linear": (a, b, c), "hidden": (a, b, c)},
        AtCost.made(outcomes.of_images(last), fit),
        AtCost.made(judge, fit),
        hull(fit.costs, fit.scores.mean(axis=0, dtype=np.float64)),
    )


def fitted_rows(data: Data, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A row for each budget and way, over seeds."""
    for budget in sizes.budgets:
        for seen, name in WAYS:
            points = [vars(point) for point in judged(data, sizes, budget, seen, name)]
            told = {"budget": budget, "policy": seen, "learner": name}
            yield told | interval_of_each(points)


def judged(data: Data, sizes: Sizes, budget: float, seen: str, name: str) -> list[Any]:
    """What each seed reaches on the inputs that judge, stopped by those that choose."""
    rates = np.repeat(sizes.rates, sizes.seeds)
    generator = np.random.default_rng(stream_seed(0, f"fitted {budget} {seen} {name}"))
    way = Way(data, seen, name, budget, len(rates), sizes, generator)
    adam, _, choosing, judging = Adam(rates), *data.looks[seen]
    best: dict[int, tuple[float, Any]] = {}
    for update in range(1, sizes.updates[-1] + 1):
        way.step(adam, generator, 1 - (update - 1) / sizes.updates[-1])
        if update not in sizes.updates:
            continue
        for run, policy in enumerate(way.policies_of(choosing)):
            closed, seed = data.choose.place(**policy).gap_closed, run % sizes.seeds
            if seed not in best or closed > best[seed][0]:
                best[seed] = closed, way.policies.of_runs([run])
    return [
        data.judge.place(**next(way.policies_of(judging, policies)))
        for _, (_, policies) in sorted(best.items())
    ]


class Way:
    """Policies of one kind under way, side by side."""

    def __init__(
        self,
        data: Data,
        seen: str,
        name: str,
        budget: float,
        runs: int,
        sizes: Sizes,
        generator: np.random.Generator,
    ) -> None:
        """Prepares them.

        Args:
            data: inputs.
            seen: what policies see.
            name: how they learn.
            budget: mean cost.
            runs: policies.
            sizes: of updates.
            generator: of hidden layers' weights.
        """
        self.fit, self.looks, self.menu = data.fit, data.looks[seen][0], data.menu
        self.name, self.budget, self.look_ups = name, budget, sizes.look_ups
        self.fixed, self.costs = unit_costs(data.fit)
        outputs = len(self.menu) if name == MENU else len(self.costs)
        hidden = sizes.hidden if seen == "hidden" else 0
        features = self.looks.shape[1]
        self.policies = Policies.made(runs, features, outputs, hidden, generator)
        self.prices = np.full(runs, 1.5)
        self.look_up = LookUp(data.fit.scores)
        self.best = best_bits(data.fit, budget) if name == IMITATION else None

    def step(self, adam: Adam, generator: np.random.Generator, share: float) -> None:
        """One update of all, at a share of their rates."""
        each = ESTIMATORS[LEARNERS[self.name]].masks if self.name in LEARNERS else 8
        size = len(self.prices), self.look_ups // each
        images = generator.integers(len(self.looks), size=size)
        seen = self.looks[images]
        logits = self.policies.logits(seen)
        by_logits = self.by_logits(logits, images, generator)
        adam.climb(self.policies, self.policies.slopes(seen, by_logits), share)

    def by_logits(self, logits: FLOATS, images: Any, generator: np.random.Generator) -> FLOATS:
        """Slopes of the reward by logits: [runs, inputs, outputs]."""
        if self.name == MENU:
            return self.of_menu(softmax(logits), images)
        keep = sigmoid(logits)
        if self.best is not None:
            return self.best[images] - keep
        if self.name == EXACT:
            rows = self.fit.of_images(images.ravel())
            flat = gradient(rows, 0.0, keep.reshape(-1, keep.shape[-1]), of="logits")
            gained = flat.reshape(keep.shape)
        else:
            gained = self.look_up(ESTIMATORS[LEARNERS[self.name]], keep, images, generator)
        prices = self.followed(self.fixed + (keep @ self.costs).mean(axis=1))
        found: FLOATS = gained - prices[:, None, None] * self.costs * keep * (1 - keep)
        return found

    def of_menu(self, chances: FLOATS, images: Any) -> FLOATS:
        """Slopes by a softmax's logits."""
        costs = self.fit.costs[self.menu]
        prices = self.followed((chances @ costs).mean(axis=1))
        scores = self.fit.scores[images[..., None], np.array(self.menu)]
        worth = scores.astype(np.float64) - prices[:, None, None] * costs
        found: FLOATS = chances * (worth - (chances * worth).sum(axis=-1, keepdims=True))
        return found

    def followed(self, spent: FLOATS) -> FLOATS:
        """Prices of this update, after costs [runs]."""
        over = spent - self.budget
        self.prices = self.prices + PRICE_RATE * over
        found: FLOATS = self.prices + STIFFNESS * over
        return found

    def policies_of(
        self, looks: FLOATS, policies: Policies | None = None
    ) -> Iterator[dict[str, FLOATS]]:
        """Each policy in a form of `ccenv.mask_table.value`, for some looks."""
        for logits in (policies or self.policies).logits(looks[None]):
            if self.name == MENU:
                masks = np.zeros((len(looks), len(self.fit.costs)))
                masks[:, self.menu] = softmax(logits)
                yield {"masks": masks}
            else:
                yield {"keep": sigmoid(logits)}


def best_bits(outcomes: Outcomes, budget: float) -> FLOATS:
    """Units of each input's best mask at the price where they cost a budget: [n, units]."""
    units = outcomes.num_units or 0
    numbers = best_at(outcomes, budget, 20)[:, None]
    bits: FLOATS = (numbers >> np.arange(units - 1, -1, -1) & 1).astype(np.float64)
    return bits
