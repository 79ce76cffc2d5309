"""Policies that learn from a table: keep probabilities by slopes, and LinUCB over a menu.

Policies that learn from a table: (looks, slopes by logits) -> keep probabilities; numpy.

Many runs at once, side by side along the first axis: seeds, and settings that are tried.

LinUCB over a menu of masks: (looks, what the masks tried earned) -> a mask for each input.

Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach to personalized news article
recommendation" (arXiv 1003.0146), algorithm 1: of each arm, here a mask, a ridge regression from
the look to what it earns, and an arm is tried where regression and doubt together promise most.
Ours: compute is known, so that it is no part of what is learned but a price when an arm is chosen;
and a batch of inputs is answered before it is learned from. Libraries for it (mabwiser,
contextualbandits) take rewards with the price inside, or bring pandas; it is forty lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ccenv.mask_table.evaluation.exact import FLOATS


@dataclass
class Policies:
    """Logits of coins for all units from a look: constant, linear or with one hidden layer."""

    parameters: list[FLOATS]
    """[runs, features, units], or two matrices and the hidden layer's constants between them."""

    @staticmethod
    def made(
        runs: int, features: int, units: int, hidden: int, generator: np.random.Generator
    ) -> "Policies":
        """Policies that keep every unit with probability 1/2.

        Args:
            runs: policies.
            features: columns of a look; 1 for a constant policy, whose look is 1.
            units: coins of an input.
            hidden: units of the hidden layer; 0 for none.
            generator: of the hidden layer's weights.
        """
        if not hidden:
            return Policies([np.zeros((runs, features, units))])
        first = generator.normal(size=(runs, features, hidden)) / features**0.5
        return Policies([first, np.zeros((runs, hidden, units)), np.zeros((runs, 1, units))])

    def logits(self, looks: FLOATS) -> FLOATS:
        """Looks [runs or 1, inputs, features] -> [runs, inputs, units]."""
        first, *rest = self.parameters
        if not rest:
            return looks @ first
        return np.tanh(looks @ first) @ rest[0] + rest[1]

    def keep(self, looks: FLOATS) -> FLOATS:
        """Keep probabilities; as `logits`."""
        return sigmoid(self.logits(looks))

    def slopes(self, looks: FLOATS, by_logits: FLOATS) -> list[FLOATS]:
        """Slopes by parameters, a mean over inputs.

        Args:
            looks: [runs or 1, inputs, features].
            by_logits: [runs, inputs, units].
        """
        by_logits = by_logits / by_logits.shape[1]
        if len(self.parameters) == 1:
            return [looks.swapaxes(1, 2) @ by_logits]
        hidden = np.tanh(looks @ self.parameters[0])
        by_hidden = by_logits @ self.parameters[1].swapaxes(1, 2) * (1 - hidden**2)
        return [
            looks.swapaxes(1, 2) @ by_hidden,
            hidden.swapaxes(1, 2) @ by_logits,
            by_logits.sum(axis=1, keepdims=True),
        ]

    def of_runs(self, chosen: Sequence[int]) -> "Policies":
        """Some of them."""
        return Policies([part[list(chosen)] for part in self.parameters])


def sigmoid(logits: FLOATS) -> FLOATS:
    """Probabilities; logits beyond 500 are as good as certain."""
    found: FLOATS = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    return found


def softmax(logits: FLOATS) -> FLOATS:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: FLOATS = powers / powers.sum(axis=-1, keepdims=True)
    return found


@dataclass
class Adam:
    """Steps up a slope, with a rate for each run (Kingma, Ba 2015, arXiv 1412.6980)."""

    rates: FLOATS
    """[runs]."""
    betas: tuple[float, float] = (0.9, 0.999)
    """how slowly means of slopes and of their squares change."""
    count: int = 0
    """steps taken."""
    means: list[FLOATS] = field(default_factory=list)
    """of slopes, and of their squares, for each parameter."""
    squares: list[FLOATS] = field(default_factory=list)
    """see means."""

    def climb(self, policies: Policies, slopes: Sequence[FLOATS], share: float = 1.0) -> None:
        """One step.

        Args:
            policies: whose parameters change.
            slopes: of them.
            share: of the rates.
        """
        if not self.means:
            self.means = [np.zeros_like(part) for part in slopes]
            self.squares = [np.zeros_like(part) for part in slopes]
        self.count += 1
        first, second = self.betas
        rates = share * self.rates[:, None, None]
        for n, slope in enumerate(slopes):
            self.means[n] = first * self.means[n] + (1 - first) * slope
            self.squares[n] = second * self.squares[n] + (1 - second) * slope**2
            mean = self.means[n] / (1 - first**self.count)
            spread = np.sqrt(self.squares[n] / (1 - second**self.count))
            policies.parameters[n] = policies.parameters[n] + rates * mean / (spread + 1e-8)


def standardised(fitted: FLOATS, *others: FLOATS) -> list[FLOATS]:
    """Looks of mean 0 and deviation 1 over the first array's inputs, and a column of ones.

    Args:
        fitted: [n, features].
        others: [m, features], moved and scaled likewise.
    """
    mean, spread = fitted.mean(axis=0), np.maximum(fitted.std(axis=0), 1e-6)
    return [
        np.concatenate([(part - mean) / spread, np.ones((len(part), 1))], axis=1)
        for part in (fitted, *others)
    ]


HALVINGS = 40
"""Of the interval in which a price is looked for."""
MOST = 1000.0
"""Price, in nats for the dense network's MACs, at which nothing but the cheapest is left."""


@dataclass
class LinUCB:
    """One ridge regression an arm."""

    grams: FLOATS
    """[arms, features, features]; the ridge, and sums of products of looks."""
    sums: FLOATS
    """[arms, features]; of looks times rewards."""
    costs: FLOATS
    """[arms]; shares of the dense network's MACs."""
    doubt: float
    """of which an arm's standard error is multiplied when it is chosen to be tried."""

    @staticmethod
    def made(costs: FLOATS, features: int, ridge: float, doubt: float) -> "LinUCB":
        """Knows nothing yet.

        Raises:
            ValueError: if the ridge is not above 0: nothing could be inverted.
        """
        if ridge <= 0:
            raise ValueError(f"expected a ridge above 0, got {ridge}")
        grams = np.tile(ridge * np.eye(features), (len(costs), 1, 1))
        return LinUCB(grams, np.zeros((len(costs), features)), costs, doubt)

    def worth(self, looks: FLOATS) -> FLOATS:
        """What each arm earns, expected: [n, features] -> [n, arms]."""
        found: FLOATS = looks @ np.linalg.solve(self.grams, self.sums[..., None])[..., 0].T
        return found

    def errors(self, looks: FLOATS) -> FLOATS:
        """Standard errors of that, for rewards of variance 1: [n, arms]."""
        inverse = np.linalg.inv(self.grams)
        squares = np.stack([((looks @ one) * looks).sum(axis=1) for one in inverse], axis=1)
        found: FLOATS = np.sqrt(np.maximum(squares, 0))
        return found

    def tried(self, looks: FLOATS, price: float) -> NDArray[np.int64]:
        """Arms to be tried: [n, features] -> int64 [n]."""
        hopes = self.worth(looks) + self.doubt * self.errors(looks) - price * self.costs
        return hopes.argmax(axis=1)

    def chosen(self, looks: FLOATS, price: float) -> NDArray[np.int64]:
        """Arms that are best as far as is known: [n, features] -> int64 [n]."""
        return (self.worth(looks) - price * self.costs).argmax(axis=1)

    def learn(self, looks: FLOATS, arms: NDArray[np.int64], earned: FLOATS) -> None:
        """Takes what arms earned without their price.

        Args:
            looks: [n, features].
            arms: int64 [n]; the arm tried of each.
            earned: [n]; its reward.
        """
        for arm in np.unique(arms):
            own = arms == arm
            self.grams[arm] += looks[own].T @ looks[own]
            self.sums[arm] += looks[own].T @ earned[own]

    def price_for(self, looks: FLOATS, budget: float) -> float:
        """The lowest price at which the best arms cost no more than a budget on the mean."""
        worth, low, high = self.worth(looks), 0.0, MOST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            spent = self.costs[(worth - middle * self.costs).argmax(axis=1)].mean()
            low, high = (middle, high) if spent > budget else (low, middle)
        return high
