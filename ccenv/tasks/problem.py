"""What a task of the suite is made of: data, a network, what its masks are worth, and bounds."""

from typing import Any

from torch import Tensor

from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome

SIZES = {"train": 2048, "validation": 512, "test": 1024}
"""Sequences of each split."""
LEAST = 1e-6
"""Probability of an answer at least, so that its logarithm is finite."""


def as_logits(shares: Tensor) -> Tensor:
    """Probabilities of answers [rows, answers] -> logits [rows, answers]."""
    return shares.clamp(LEAST, 1 - LEAST).log()


class Problem:
    """A network with weights set by hand, data for it, and what can be earned there at most."""

    @property
    def rule(self) -> str:
        """The reference in words: the best rule that sees no input."""
        raise NotImplementedError

    @property
    def phases(self) -> int:
        """Parts of the training data, one behind the other, each for as much of the budget."""
        return 1

    def settings(self) -> dict[str, Any]:
        """Settings of the environment, apart from data set and network."""
        raise NotImplementedError

    def split(self, split: str) -> Split:
        """The inputs of "train", "validation" or "test"."""
        raise NotImplementedError

    def network(self) -> Any:
        """The network, which nothing trains."""
        raise NotImplementedError

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """Expected reward of one step, given all that policies could know: float [batch].

        The cost weight is a number, or float [batch] where each episode has its own.
        """
        raise NotImplementedError

    def earned(self, value: float, cost: float) -> float:
        """What counts of episodes with a mean value, where the mean compute cost was lately so."""
        return value

    def optimum(self) -> float:
        """Expected return of the best policy."""
        raise NotImplementedError

    def reference(self) -> float:
        """Expected return of the best rule that sees no input."""
        raise NotImplementedError
