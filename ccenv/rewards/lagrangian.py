"""Lagrangian rewards: mean compute cost of finished episodes -> multiplier of the compute cost.

The multiplier is called `price` in settings, `info` and curves. It is updated after every
`update_every` finished episodes, never within one. Each row of a batch counts as one episode, and a
batch updates it at most once. The update acts on the level `log(1 + price / price_scale)`: the
multiplier for a limit of 0.1 may be a hundred times that for 0.4, and one rate fits both. Below
`price_scale` it changes in equal steps, far above it by equal factors; it is never below 0.
"""

import math
from collections.abc import Callable

from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.base.values import check_at_least_zero, check_within, positive_ints
from ccenv.mdp.dynamics import StepOutcome
from ccenv.rewards.bind import StatefulReward, describe
from ccenv.rewards.plain import correct, log_likelihood

FORMULA = "log p(label) - multiplier * compute_cost"
OBJECTIVES: dict[str, Callable[[StepOutcome], Tensor]] = {
    "log_likelihood": log_likelihood,
    "accuracy": correct,
}


def price_of(level: float, price_scale: float) -> float:
    """The multiplier at a level: 0 at 0, about level * price_scale for small levels.

    >>> round(price_of(level=1.0, price_scale=0.01), 4)
    0.0172
    """
    return price_scale * math.expm1(level)


def level_of(price: float, price_scale: float) -> float:
    """The level of a multiplier: the inverse of `price_of`."""
    return math.log1p(price / price_scale)


def relative_excess(mean_cost: float, cost_limit: float) -> float:
    """Excess of a mean cost over its limit, relative to the limit; clipped at 1.

    >>> relative_excess(0.15, 0.1) == 0.15 / 0.1 - 1, relative_excess(0.3, 0.1)
    (True, 1.0)
    """
    return min(1.0, mean_cost / cost_limit - 1)


class PricedReward(StatefulReward):
    """Base class: an objective minus the multiplier times the cost of each gate."""

    def __init__(
        self,
        cost_limit: float,
        objective: str,
        initial_price: float,
        price_scale: float,
        update_every: int,
    ) -> None:
        """Sets what both rewards share.

        Args:
            cost_limit: mean compute cost to reach, in (0, 1].
            objective: "log_likelihood" or "accuracy". On the training inputs of a frozen network
                the accuracy is soon 1 at any cost, so it hardly depends on compute.
            initial_price: initial multiplier, at least 0.
            price_scale: typical size of the multiplier, above 0.
            update_every: finished episodes between two updates of the multiplier, at least 1.
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
        """Restores the initial multiplier and a zero count."""
        self.level = level_of(self.initial_price, self.price_scale)
        self._cost, self._count = 0.0, 0

    @property
    def price(self) -> float:
        """The multiplier."""
        return price_of(self.level, self.price_scale)

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `cost` and the objective; the multiplier replaces `cost_weight`."""
        worth = OBJECTIVES[self.objective](outcome)
        return {self.objective: worth, "cost": -self.price * outcome.layer_cost}

    def update(self, outcome: StepOutcome) -> None:
        """Counts finished episodes and updates the multiplier when there are enough."""
        if not outcome.is_last:
            return
        self._cost += outcome.compute_cost.double().sum().item()
        self._count += len(outcome.compute_cost)
        if self._count >= self.update_every:
            self.move(relative_excess(self._cost / self._count, self.cost_limit))
            self._cost, self._count = 0.0, 0

    def move(self, excess: float) -> None:
        """Updates the multiplier after a mean cost of (1 + excess) times the limit."""
        raise TypeError(f"{type(self).__name__} must define move(excess)")

    def numbers(self) -> dict[str, float]:
        """The multiplier, as `price`."""
        return {"price": self.price}


@describe(FORMULA, low=-math.inf, high=0.0)
class Lagrangian(PricedReward):
    """Raises the multiplier while the mean cost is above the limit, and lowers it below.

    Dual ascent on the Lagrangian of a constrained MDP (Altman 1999; Tessler, Mankowitz, Mannor
    2018, arXiv 1805.11074), on the multiplier's level. A slow multiplier lags behind the policy; a
    fast one oscillates. `quadratic_weight` adds the excess itself: the augmented Lagrangian, or
    method of multipliers (Hestenes 1969; Rockafellar 1973 for inequalities). Its optimum is the
    same, because it adds nothing at the limit. It uses a running mean of the excess: multipliers
    are clipped at 0, so a noisy excess would raise them on average. Anneal the policy's learning
    rate to 0 (`anneal=true`), so that the last policy does not depend on the oscillation.
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
        """Sets the limit and the rates; for the others see `PricedReward`.

        Args:
            price_learning_rate: rise of the level for an excess of one limit.
            quadratic_weight: added to the multiplier for an excess of one limit; 0 is plain dual
                ascent.
            smoothing: weight of the past in the running mean of the excess, in [0, 1).
        """
        check_at_least_zero(
            price_learning_rate=price_learning_rate, quadratic_weight=quadratic_weight
        )
        check_within("[0, 1)", smoothing=smoothing)
        self.price_learning_rate = price_learning_rate
        self.quadratic_weight, self.smoothing = quadratic_weight, smoothing
        super().__init__(cost_limit, objective, initial_price, price_scale, update_every)

    def reset(self) -> None:
        """Restores the initial multiplier and a zero excess."""
        super().reset()
        self._smooth = 0.0

    @property
    def price(self) -> float:
        """The multiplier with the quadratic term, never below 0."""
        return max(0.0, super().price + self.quadratic_weight * self._smooth)

    def move(self, excess: float) -> None:
        """One step of dual ascent."""
        self._smooth = self.smoothing * self._smooth + (1 - self.smoothing) * excess
        self.level = max(0.0, self.level + self.price_learning_rate * excess)


@describe(FORMULA, low=-math.inf, high=0.0)
class PidLagrangian(PricedReward):
    """Sets the multiplier with a PID controller, which damps the oscillation of dual ascent.

    Stooke, Achiam, Abbeel 2020, arXiv 2007.03964, algorithm 2. The integral part is the multiplier
    of `lagrangian`. The proportional and derivative parts use a running mean of the excess and its
    rise, and scale that multiplier instead of being added to it. If the policy reacts within a few
    updates, a high gain makes the multiplier oscillate; then lower the gain.
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

        Args:
            proportional_gain: relative rise of the multiplier for an excess of one limit.
            integral_gain: rise of the level, per update, for an excess of one limit.
            derivative_gain: relative rise of the multiplier if the excess rises by one limit.
            smoothing: weight of the past in the running mean of the excess, in [0, 1).
        """
        check_at_least_zero(
            proportional_gain=proportional_gain,
            integral_gain=integral_gain,
            derivative_gain=derivative_gain,
        )
        check_within("[0, 1)", smoothing=smoothing)
        self.gains = (proportional_gain, integral_gain, derivative_gain)
        self.smoothing = smoothing
        super().__init__(cost_limit, objective, initial_price, price_scale, update_every)

    def reset(self) -> None:
        """Restores the initial multiplier and a zero excess."""
        super().reset()
        self._smooth, self._rise = 0.0, 0.0

    @property
    def price(self) -> float:
        """The integral part, scaled by the other two parts, never below 0."""
        proportional, _, derivative = self.gains
        factor = 1 + proportional * self._smooth + derivative * self._rise
        return max(0.0, (super().price + self.price_scale) * factor - self.price_scale)

    def move(self, excess: float) -> None:
        """Updates the integral, the running mean of the excess, and its rise."""
        before = self._smooth
        self._smooth = self.smoothing * before + (1 - self.smoothing) * excess
        self._rise = max(0.0, self._smooth - before)
        self.level = max(0.0, self.level + self.gains[1] * excess)
