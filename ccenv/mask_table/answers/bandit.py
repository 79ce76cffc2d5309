"""LinUCB over a menu of masks: (looks, what the masks tried earned) -> a mask for each input.

Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach to personalized news article
recommendation" (arXiv 1003.0146), algorithm 1: of each arm, here a mask, a ridge regression from
the look to what it earns, and an arm is tried where regression and doubt together promise most.
Ours: compute is known, so that it is no part of what is learned but a price when an arm is chosen;
and a batch of inputs is answered before it is learned from. Libraries for it (mabwiser,
contextualbandits) take rewards with the price inside, or bring pandas; it is forty lines.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccenv.mask_table.answers.forms import FLOATS

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
