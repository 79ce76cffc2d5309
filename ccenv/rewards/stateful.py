"""Rewards with a memory: what they are told, and when what they remember may change.

The life of one: built from its arguments; `prepare` once the network stands (in co-training after
every seeded reset, on the restored weights); `reset` at every seeded reset; then, for each step,
called, which changes nothing, and `observe`, which is where it learns. Copies of the environment
for evaluation and search read the memory and never change it. What the memory holds changes only
between episodes: all steps of an episode are paid by the same rule.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.data import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.mlp import GatedNetwork


@dataclass(frozen=True)
class Surroundings:
    """What a reward may look at before the first episode."""

    network: GatedNetwork
    """with the weights that the episodes start with."""
    device: torch.device
    """where network and images live."""
    training_split: Callable[[], Split]
    """loads the images to fit on."""


class StatefulReward:
    """A reward that remembers; subclasses override what they need."""

    def prepare(self, surroundings: Surroundings) -> None:
        """Measures or fits what the reward needs of the network."""

    def reset(self) -> None:
        """Forgets all that `observe` has learned."""

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms of one step, each float32 [batch]; changes nothing."""
        raise TypeError(f"{type(self).__name__} must define __call__(outcome)")

    def observe(self, outcome: StepOutcome) -> None:
        """Is told of every step of the environment after it was paid."""

    def numbers(self) -> dict[str, float]:
        """What it remembers, to plot and to show in `info`."""
        return {}
