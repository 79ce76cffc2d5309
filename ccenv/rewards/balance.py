"""Balance of blocks, as a reward: masks -> what mixtures of experts charge for an uneven load."""

import math

import torch
from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.training import check_at_least_zero
from ccenv.rewards.block_use import BlockUse
from ccenv.rewards.description import describe


@describe(
    "log p(label) - cost_weight * compute_cost - balance_weight * sum over layers of CV(use)^2",
    low=-math.inf,
    high=math.inf,
)
class Balance(BlockUse):
    """Pays the log-likelihood of the label, charges compute, and masks that add to uneven use.

    The balance losses of Shazeer et al. 2017 (arXiv 1701.06538, section 4), of which the agent
    `noisy_topk` goes down the gradient, for agents that learn from rewards: the squared coefficient
    of variation, variance over squared mean, of how often recent images kept each block. A mask has
    no gate values, so that importance and load are the same. It is a property of many images: each
    is charged its tangent at the use so far, whose mean over images and whose slope are the loss's.
    A block in more than its share of use has a price, one in less a premium.
    """

    def __init__(
        self,
        balance_weight: float = 0.1,
        cost_weight: float = 1.0,
        update_rate: float = 0.1,
        update_every: int = 256,
    ) -> None:
        """Sets the weights.

        Args:
            balance_weight: of the squared coefficient of variation, summed over layers.
            cost_weight: of the compute cost.
            update_rate: weight of the newest episodes in the running use, in (0, 1].
            update_every: finished episodes between two moves of the use.
        """
        check_at_least_zero(balance_weight=balance_weight, cost_weight=cost_weight)
        self.balance_weight, self.cost_weight = balance_weight, cost_weight
        super().__init__(None, update_rate, update_every)

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `log_likelihood`, `cost` and `balance`, which is 0 before any use is known."""
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
    """`squared_variation` at a use, and its slope times what each mask differs from it: [batch].

    Args:
        use: [num_blocks] in [0, 1].
        mask: [batch, num_blocks] of 0 and 1.
    """
    mean = use.mean()
    if not mean:
        return torch.zeros_like(mask[:, 0])
    # Of the mean of squares over the squared mean, less one.
    slope = 2 * (use / mean - use.square().mean() / mean.square()) / (len(use) * mean)
    return squared_variation(use) + (mask - use) @ slope
