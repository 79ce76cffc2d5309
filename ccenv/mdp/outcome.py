"""What a reward reads of a step, in tensors or in arrays: the simulator and a table both give it.

Nothing here imports torch, so that tables are played without it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Values = TypeVar("Values", "Tensor", "NDArray[Any]")
"""Torch's tensors, or numpy's arrays."""


@dataclass(frozen=True)
class Outcome(ABC, Generic[Values]):
    """Fields of a step's outcome that the simulator and mask tables share.

    A reward that reads only these works on both.

    >>> def reward(outcome: Outcome, cost_weight: float = 0.5):
    ...     return outcome.correct - cost_weight * outcome.layer_cost
    >>> import ccenv
    >>> env = ccenv.BlockSelectionEnv(weights="cotrain", num_blocks=[4], reward=reward)
    >>> _ = env.reset(seed=0)
    >>> env.step([1, 0, 0, 0])[1] >= -0.5
    True
    """

    layer: int
    """number of the gate that was decided."""
    mask: Values
    """[batch, num_blocks] bool; the action as executed, nothing of rows that have stopped."""
    layer_cost: Values
    """[batch] float32 in [0, 1]; this gate's share of the dense network's MACs."""
    compute_cost: Values
    """[batch] float32 in [0, 1]; share of the dense network's MACs executed so far."""
    macs: Values
    """[batch] int64; MACs executed so far."""
    num_layers: int
    """gates of the network."""
    loads: Values | None = field(default=None, kw_only=True)
    """[batch] float32 in [0, 1]; bytes of blocks that were loaded over those of all blocks, None
    where loading costs nothing."""

    @property
    def is_last(self) -> bool:
        """Whether the episode has ended."""
        return self.layer + 1 == self.num_layers

    @property
    def density(self) -> Values:
        """Share of this gate's blocks that were kept: [batch] float32 in [0, 1]."""
        return self.as_float32(self.mask).mean(1)

    @property
    @abstractmethod
    def correct(self) -> Values:
        """1 for a right answer, 0 for a wrong one or none yet: [batch] float32.

        Of a network that answers several times on the way, the mean over its answers.
        """

    @property
    @abstractmethod
    def log_likelihood(self) -> Values:
        """Log-probability of the true class in nats, 0 before the end: [batch] float32.

        Of a network that answers several times on the way, the mean over its answers.
        """

    @abstractmethod
    def as_float32(self, values: Values) -> Values:
        """Numbers or truth values as float32, of any shape."""
