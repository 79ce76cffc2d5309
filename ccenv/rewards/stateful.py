"""Rewards with a memory: which methods are called when, and when the memory may change.

The order of calls: the constructor with the reward's arguments; `prepare` once the network is built
(in co-training after every seeded reset, with the restored weights); `reset` at every seeded reset;
then, for each step, `__call__`, which changes nothing, and `update`, which changes the memory.
Copies of the environment for evaluation and search read the memory and never change it. The memory
changes only between episodes: all steps of an episode are paid by the same rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rewards without a memory are paid without torch
    import torch

    from ccenv.data import Split
    from ccenv.mdp.dynamics import StepOutcome
    from ccenv.networks.protocol import GatedNetwork


@dataclass(frozen=True)
class Surroundings:
    """What a reward may look at before the first episode."""

    network: "GatedNetwork"
    """with the weights that the episodes start with."""
    device: "torch.device"
    """where network and images live."""
    training_split: "Callable[[], Split]"
    """loads the images to fit on."""


class StatefulReward:
    """A reward that remembers; subclasses override what they need."""

    def __init_subclass__(cls, **settings: Any) -> None:
        """Refuses the earlier name of `update`, which nothing calls.

        Raises:
            TypeError: if a subclass defines `observe`.
        """
        super().__init_subclass__(**settings)
        if "observe" in vars(cls):
            raise TypeError(
                f"expected {cls.__name__} to learn in update(outcome), got a method observe; "
                "rename it"
            )

    def prepare(self, surroundings: Surroundings) -> None:
        """Measures or fits what the reward needs of the network."""

    def reset(self) -> None:
        """Forgets all that `update` has learned."""

    def __call__(self, outcome: Any) -> dict[str, Any]:
        """Terms of one `StepOutcome`, each float32 [batch]; changes nothing."""
        raise TypeError(f"{type(self).__name__} must define __call__(outcome)")

    def update(self, outcome: "StepOutcome") -> None:
        """Learns from a step; called after every step of the environment has been paid."""

    def numbers(self) -> dict[str, float]:
        """What it remembers, to plot and to show in `info`."""
        return {}
