"""A price found for a cost limit: mean compute cost of finished episodes -> price of compute.

Both rewards charge compute at a price of their own, which moves after every `update_every`
finished episodes, never within one. Each row of a batch counts as one episode, and a batch moves
the price at most once. What is updated is the price's level, `log(1 + price / price_scale)`: a
price that fits a limit of 0.1 may be a hundred times one that fits 0.4, and one rate suits both. Up
to the scale a price moves in equal steps, far above it by equal factors; it is never below 0.
"""

import math
from collections.abc import Callable

from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.mlp import positive_ints
from ccenv.networks.learning.training import check_at_least_zero
from ccenv.rewards.bind import StatefulReward, describe
from ccenv.rewards.plain import correct, log_likelihood

FORMULA = "log p(label) - price * compute_cost"
OBJECTIVES: dict[str, Callable[[StepOutcome], Tensor]] = {
    "log_likelihood": log_likelihood,
    "accuracy": correct,
}


def price_of(level: float, price_scale: float) -> float:
    """The price at a level: 0 at 0, about level * price_scale while that is small.

    >>> round(price_of(level=1.0, price_scale=0.01), 4)
    0.0172
    """
    return price_scale * math.expm1(level)


def level_of(price: float, price_scale: float) -> float:
    """The level of a price: the inverse of `price_of`."""
    return math.log1p(price / price_scale)


def relative_excess(mean_cost: float, cost_limit: float) -> float:
    """How far a mean cost is above its limit, in limits; at most 1, so that no move is a leap.

    >>> relative_excess(0.15, 0.1) == 0.15 / 0.1 - 1, relative_excess(0.3, 0.1)
    (True, 1.0)
    """
    return min(1.0, mean_cost / cost_limit - 1)


def check_smoothing(smoothing: float) -> None:
    """Refuses what is no weight of the past, in [0, 1) (ValueError)."""
    check_at_least_zero(smoothing=smoothing)
    if smoothing >= 1:
        raise ValueError(f"expected smoothing below 1, got {smoothing}")


class PricedReward(StatefulReward):
    """Pays an objective and charges every layer at the present price."""

    def __init__(
        self,
        cost_limit: float,
        objective: str,
        initial_price: float,
        price_scale: float,
        update_every: int,
    ) -> None:
        """Sets what both ways of moving the price share.

        Args:
            cost_limit: mean compute cost to reach, in (0, 1].
            objective: "log_likelihood" or "accuracy". On a frozen network's own training images
                the accuracy is soon 1 at any cost, and says little about compute.
            initial_price: of the whole dense network, at least 0.
            price_scale: a price that matters, above 0.
            update_every: finished episodes between two moves of the price, at least 1.
        """
        check_names([objective], OBJECTIVES, "objective")
        check_at_least_zero(initial_price=initial_price, price_scale=price_scale)
        if not price_scale:
            raise ValueError("expected price_scale above 0, got 0")
        positive_ints([update_every], "update_every")
        self.cost_limit, self.objective = cost_limit, objective
        self.initial_price, self.price_scale = initial_price, price_scale
        self.update_every = update_every
        self.reset()

    def reset(self) -> None:
        """Back to the initial price, with no episode counted."""
        self.level = level_of(self.initial_price, self.price_scale)
        self._cost, self._count = 0.0, 0

    @property
    def price(self) -> float:
        """What the whole dense network costs at present."""
        return price_of(self.level, self.price_scale)

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `cost` and the objective's; the price is what `cost_weight` is elsewhere."""
        worth = OBJECTIVES[self.objective](outcome)
        return {self.objective: worth, "cost": -self.price * outcome.layer_cost}

    def update(self, outcome: StepOutcome) -> None:
        """Counts finished episodes and moves the price when there are enough."""
        if not outcome.is_last:
            return
        self._cost += outcome.compute_cost.double().sum().item()
        self._count += len(outcome.compute_cost)
        if self._count >= self.update_every:
            self.move(relative_excess(self._cost / self._count, self.cost_limit))
            self._cost, self._count = 0.0, 0

    def move(self, excess: float) -> None:
        """Moves the price after a mean cost of (1 + excess) times the limit, excess at most 1."""
        raise TypeError(f"{type(self).__name__} must define move(excess)")

    def numbers(self) -> dict[str, float]:
        """The price, under that name."""
        return {"price": self.price}


@describe(FORMULA, low=-math.inf, high=0.0)
class Lagrangian(PricedReward):
    """Raises the price while the mean cost is above the limit, and lowers it below.

    Dual ascent on the Lagrangian of a constrained MDP (Altman 1999; Tessler, Mankowitz, Mannor
    2018, arXiv 1805.11074), on the price's level. Such a price lags behind a policy that needs an
    ever lower one, and swings about its mark where it moves fast enough not to. `quadratic_weight`
    adds the excess itself to the price: the augmented Lagrangian, or method of multipliers
    (Hestenes 1969; Rockafellar 1973 for inequalities), whose optimum is the same, for at the limit
    it adds nothing. It sees a running mean: prices are cut off at 0, and a noisy excess would be a
    price on average. Let the policy's learning rate fall to 0 (`anneal=true`), so that the last
    policy is no swing.
    """

    def __init__(
        self,
        cost_limit: float = 0.25,
        price_learning_rate: float = 0.05,
        objective: str = "log_likelihood",
        initial_price: float = 0.0,
        price_scale: float = 0.01,
        update_every: int = 256,
        quadratic_weight: float = 0.0,
        smoothing: float = 0.9,
    ) -> None:
        """Sets the limit and how fast the price's level follows; for the others see `PricedReward`.

        `price_learning_rate` is what the level rises by for an excess of one limit,
        `quadratic_weight` what is added to the price for it, in units of the objective (0: plain
        dual ascent), by a running mean in which the past has the weight `smoothing`, in [0, 1).
        """
        check_at_least_zero(
            price_learning_rate=price_learning_rate, quadratic_weight=quadratic_weight
        )
        check_smoothing(smoothing)
        self.price_learning_rate = price_learning_rate
        self.quadratic_weight, self.smoothing = quadratic_weight, smoothing
        super().__init__(cost_limit, objective, initial_price, price_scale, update_every)

    def reset(self) -> None:
        """Back to the initial price, with no excess seen."""
        super().reset()
        self._smooth = 0.0

    @property
    def price(self) -> float:
        """The multiplier, and what the quadratic term adds, never below 0."""
        return max(0.0, super().price + self.quadratic_weight * self._smooth)

    def move(self, excess: float) -> None:
        """One step of dual ascent."""
        self._smooth = self.smoothing * self._smooth + (1 - self.smoothing) * excess
        self.level = max(0.0, self.level + self.price_learning_rate * excess)


@describe(FORMULA, low=-math.inf, high=0.0)
class PidLagrangian(PricedReward):
    """Sets the price by a PID controller, which damps the swings of plain dual ascent.

    Stooke, Achiam, Abbeel 2020, arXiv 2007.03964, algorithm 2. The integral part is the price of
    `lagrangian`; the other two, which see a running mean of the excess and its rise, act in
    proportion to that price instead of beside it. If the policy reacts to the price
    within a few updates, a high gain makes the price oscillate; lower it then.
    """

    def __init__(
        self,
        cost_limit: float = 0.25,
        proportional_gain: float = 10.0,
        integral_gain: float = 0.05,
        derivative_gain: float = 0.0,
        smoothing: float = 0.5,
        objective: str = "log_likelihood",
        initial_price: float = 0.0,
        price_scale: float = 0.01,
        update_every: int = 256,
    ) -> None:
        """Sets the limit and the controller; for the others see `PricedReward`.

        `proportional_gain` is the share of the price that is added for an excess of one limit now,
        in a running mean in which the past has the weight `smoothing`, in [0, 1); `integral_gain`
        what the price's level rises by in an update with it; `derivative_gain` the share for such a
        rise of it.
        """
        check_at_least_zero(
            proportional_gain=proportional_gain,
            integral_gain=integral_gain,
            derivative_gain=derivative_gain,
        )
        check_smoothing(smoothing)
        self.gains = (proportional_gain, integral_gain, derivative_gain)
        self.smoothing = smoothing
        super().__init__(cost_limit, objective, initial_price, price_scale, update_every)

    def reset(self) -> None:
        """Back to the initial price, with no excess seen."""
        super().reset()
        self._smooth, self._rise = 0.0, 0.0

    @property
    def price(self) -> float:
        """The integral part's price, times what the other two parts add, never below 0."""
        proportional, _, derivative = self.gains
        factor = 1 + proportional * self._smooth + derivative * self._rise
        return max(0.0, (super().price + self.price_scale) * factor - self.price_scale)

    def move(self, excess: float) -> None:
        """Moves the integral, the running mean of the excess, and that one's rise."""
        before = self._smooth
        self._smooth = self.smoothing * before + (1 - self.smoothing) * excess
        self._rise = max(0.0, self._smooth - before)
        self.level = max(0.0, self.level + self.gains[1] * excess)
