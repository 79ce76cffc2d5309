"""Rewards on how often blocks are used: load balance, and the paper's target density.

Both are functions of the masks of many inputs. Each input is charged the tangent at the use so far,
which has the same mean over inputs and the same slope.
"""

import math

import torch
from torch import Tensor

from ccenv.base.values import check_at_least_zero, check_within, positive_ints
from ccenv.mdp.dynamics import StepOutcome
from ccenv.rewards.bind import StatefulReward, describe


class BlockUse(StatefulReward):
    """Base class: running mean of how often each block is kept.

    It is updated after every `update_every` episodes.
    """

    def __init__(self, start: float | None, update_rate: float, update_every: int) -> None:
        """Sets the initial use (None: that of the first episodes) and the update's weight."""
        check_within("(0, 1]", update_rate=update_rate)
        positive_ints([update_every], "update_every")
        self.start, self.update_rate, self.update_every = start, update_rate, update_every
        self.reset()

    def reset(self) -> None:
        """Restores the initial state."""
        self.use: dict[int, Tensor] = {}
        self._episode: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._count = 0

    def update(self, outcome: StepOutcome) -> None:
        """Counts the blocks of finished episodes and updates the use when there are enough."""
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


@describe(
    "log p(label) - cost_weight * compute_cost - balance_weight * sum over layers of CV(use)^2",
    low=-math.inf,
    high=math.inf,
)
class Balance(BlockUse):
    """Pays the log-likelihood of the label; charges compute and uneven use of the blocks.

    The balance losses of Shazeer et al. 2017 (arXiv 1701.06538, section 4) as a reward:
    `balance_weight` times the squared coefficient of variation (variance over squared mean) of how
    often recent inputs kept each block, summed over gates. A mask has no gate values, so importance
    and load are the same. Each input is charged the tangent at the use so far: keeping a block of
    more than average use costs, keeping one of less use pays.
    """

    def __init__(
        self,
        balance_weight: float = 0.1,
        cost_weight: float = 1.0,
        update_rate: float = 0.1,
        update_every: int = 256,
    ) -> None:
        """Sets the weights; the last two as in `BlockUse`."""
        check_at_least_zero(balance_weight=balance_weight, cost_weight=cost_weight)
        self.balance_weight, self.cost_weight = balance_weight, cost_weight
        super().__init__(None, update_rate, update_every)

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `log_likelihood`, `cost` and `balance`, which is 0 before the first update."""
        mask, use = outcome.mask.float(), self.use.get(outcome.layer)
        unevenness = torch.zeros_like(mask[:, 0]) if use is None else tangent(use, mask)
        return {
            "log_likelihood": outcome.log_likelihood,
            "cost": -self.cost_weight * outcome.layer_cost,
            "balance": -self.balance_weight * unevenness,
        }

    def numbers(self) -> dict[str, float]:
        """Squared coefficient of variation of the use, summed over layers."""
        values = [float(squared_variation(use)) for use in self.use.values()]
        return {"unevenness": sum(values)}


def squared_variation(use: Tensor) -> Tensor:
    """Variance (of all n) over squared mean: [n] -> a number; 0 where nothing is in use.

    >>> round(squared_variation(torch.tensor([1.0, 0.0, 0.0])).item(), 4)
    2.0
    """
    mean = use.mean()
    return torch.where(mean > 0, use.var(correction=0) / mean.square().clamp(min=1e-12), 0.0)


def tangent(use: Tensor, mask: Tensor) -> Tensor:
    """`squared_variation` of a use [num_blocks], and its slope times masks - use: [batch]."""
    mean = use.mean()
    if not mean:
        return torch.zeros_like(mask[:, 0])
    # Of the mean of squares over the squared mean, less one.
    slope = 2 * (use / mean - use.square().mean() / mean.square()) / (len(use) * mean)
    return squared_variation(use) + (mask - use) @ slope


@describe(
    "log p(label) - sparsity_weight * sum over layers of (L_b + L_e)", low=-math.inf, high=math.inf
)
class TargetDensity(BlockUse):
    """Pays the log-likelihood of the label and charges deviations from a target density.

    Bengio et al. 2015, section 3.2, in the squared form of the authors' code, on masks instead of
    keep probabilities. For a layer with mask m, target density tau and use u (the share of recent
    images that kept each block):

    - L_e, each image keeps a share tau of the blocks: (mean of m - tau) ** 2.
    - L_b, each block is kept for a share tau of the images: sum over blocks of (u - tau) ** 2. That
      is a property of many images; each image is charged its tangent at the use so far,
      (u - tau) ** 2 + 2 (u - tau) (m - u), whose mean over images and whose slope are L_b's.
      Keeping a block of too much use costs, keeping one of too little use pays.

    The use starts at tau and is updated after every `update_every` finished episodes.
    """

    def __init__(
        self,
        target_density: float = 0.25,
        sparsity_weight: float = 1.0,
        update_rate: float = 0.1,
        update_every: int = 256,
    ) -> None:
        """Sets tau in [0, 1] and lambda_s, `sparsity_weight`; the others as in `BlockUse`."""
        check_within("[0, 1]", target_density=target_density)
        check_at_least_zero(sparsity_weight=sparsity_weight)
        self.target_density, self.sparsity_weight = target_density, sparsity_weight
        super().__init__(target_density, update_rate, update_every)

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `log_likelihood`, `blocks` (L_b) and `images` (L_e)."""
        mask, target = outcome.mask.float(), self.target_density
        use = self.use.get(outcome.layer, torch.full_like(mask[0], target))
        blocks = (use - target).square() + 2 * (use - target) * (mask - use)
        images = (mask.mean(dim=1) - target).square()
        return {
            "log_likelihood": outcome.log_likelihood,
            "blocks": -self.sparsity_weight * blocks.sum(dim=1),
            "images": -self.sparsity_weight * images,
        }

    def numbers(self) -> dict[str, float]:
        """Root mean square distance of the use from the target, over all blocks."""
        if not self.use:
            return {"use_distance": 0.0}
        use = torch.cat(list(self.use.values()))
        return {"use_distance": (use - self.target_density).square().mean().sqrt().item()}
