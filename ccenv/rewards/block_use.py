"""A memory of which blocks are in use: masks of recent episodes -> share of images that kept each.

For rewards that ask something of many images at once: each image is charged the tangent of what is
asked at the use so far, whose mean over images and whose slope are those of the whole.
"""

import torch
from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.mlp import positive_ints
from ccenv.networks.training import check_at_least_zero
from ccenv.rewards.stateful import StatefulReward


class BlockUse(StatefulReward):
    """Remembers the use of each layer's blocks; it moves after every `update_every` episodes."""

    def __init__(self, start: float | None, update_rate: float, update_every: int) -> None:
        """Sets how it moves.

        Args:
            start: use of every block at first; None: that of the first episodes.
            update_rate: weight of the newest episodes, in (0, 1].
            update_every: finished episodes between two moves.

        Raises:
            ValueError: if a number is out of range.
        """
        check_at_least_zero(update_rate=update_rate)
        positive_ints([update_every], "update_every")
        if not 0 < update_rate <= 1:
            raise ValueError(f"expected update_rate in (0, 1], got {update_rate}")
        self.start, self.update_rate, self.update_every = start, update_rate, update_every
        self.reset()

    def reset(self) -> None:
        """Forgets all episodes."""
        self.use: dict[int, Tensor] = {}
        self._episode: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._count = 0

    def update(self, outcome: StepOutcome) -> None:
        """Counts the blocks of finished episodes and moves the use when there are enough."""
        if outcome.layer == 0:
            self._episode = []
        self._episode.append(outcome.mask.float().sum(dim=0))
        if not outcome.is_last:
            return
        sums = self._sums or [torch.zeros_like(kept) for kept in self._episode]
        self._sums = [a + b for a, b in zip(sums, self._episode, strict=True)]
        self._count += len(outcome.mask)
        if self._count >= self.update_every:
            self._move()

    def _move(self) -> None:
        for layer, kept in enumerate(self._sums):
            newest = kept / self._count
            first = newest if self.start is None else torch.full_like(newest, self.start)
            before = self.use.get(layer, first)
            self.use[layer] = before + self.update_rate * (newest - before)
        self._sums, self._count = [], 0
