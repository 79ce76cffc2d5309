"""What one step of a simulator gives back: (state, rewards, outcome) -> one record, seen on use."""

import functools
from dataclasses import dataclass, field

from torch import Tensor

from ccenv.base.ranks import ALONE, OneProcess
from ccenv.mdp.dynamics import EpisodeState, StepOutcome
from ccenv.mdp.observations import Observer


@dataclass(frozen=True)
class Step:
    """What one step gives back."""

    state: EpisodeState
    """where the images are after the step."""
    observe: Observer
    """how to look at them."""
    reward: Tensor
    """[batch] float32; the sum of the terms."""
    terms: dict[str, Tensor]
    """name -> [batch] float32."""
    outcome: StepOutcome
    """what the mask did."""
    numbers: dict[str, float]
    """what the reward remembered when it paid, such as its price."""
    told: dict[str, Tensor] = field(default_factory=dict)
    """what else `info` says: name -> [batch, ...]; of kinds of simulators, such as `concurrent`."""
    ranks: OneProcess = ALONE
    """processes that have rows of the state each."""

    @functools.cached_property
    def observation(self) -> Tensor:
        """[batch, obs_size] float32 of the state after the step; computed on first use.

        After the last layer it is usually not needed, and the copy costs as much as a small layer.
        """
        return self.ranks.gathered(self.observe(self.state))[0]
