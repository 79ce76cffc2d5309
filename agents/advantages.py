"""What masks were worth, by functions of tensors: (returns, rewards or costs) -> advantages."""

import torch
from torch import Tensor


def to_go(rewards: Tensor) -> Tensor:
    """Of each step the sum from it to the end: [num_steps, batch] -> the same.

    Sutton and Barto 2018, equation 3.7, of rewards or costs.

    >>> to_go(torch.tensor([[1.0], [2.0], [4.0]])).flatten()
    tensor([7., 6., 4.])
    """
    return rewards.flip(0).cumsum(0).flip(0)


def less_costs(returns: Tensor, costs: Tensor, multiplier: float) -> Tensor:
    """Returns less a multiplier times the costs to go: [num_steps, batch] both -> the same.

    The Lagrangian of a constrained problem (Tessler, Mankowitz, Mannor 2018, arXiv 1805.11074).

    >>> less_costs(torch.tensor([[3.0], [3.0]]), torch.tensor([[0.5], [0.25]]), 2.0).flatten()
    tensor([1.5000, 2.5000])
    """
    return returns - multiplier * to_go(costs)


def above_mean(returns: Tensor) -> Tensor:
    """Each return minus its gate's mean over the batch: [num_steps, batch] -> the same.

    REINFORCE with a baseline (Williams 1992; Sutton and Barto 2018, section 13.4).

    >>> above_mean(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.,  1.]])
    """
    return torch.stack([of_gate - of_gate.mean() for of_gate in returns])


def leave_one_out(returns: Tensor, group_size: int) -> Tensor:
    """Each return minus the mean of the group's others: [batch] -> [batch].

    Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!"

    >>> leave_one_out(torch.tensor([1.0, 3.0, 5.0]), group_size=3)
    tensor([-3.,  0.,  3.])
    """
    groups = returns.view(-1, group_size)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()


def above_first(returns: Tensor, group_size: int) -> Tensor:
    """Each return minus that of the group's first: [batch] -> [batch].

    >>> above_first(torch.tensor([1.0, 3.0, 5.0, 2.0]), group_size=2)
    tensor([ 0.,  2.,  0., -3.])
    """
    groups = returns.view(-1, group_size)
    return (groups - groups[:, :1]).flatten()


def leave_twins_out(returns: Tensor, group_size: int, twins: int) -> Tensor:
    """Each return minus the mean of those in its group that are no twins of it: [batch] -> [batch].

    Twins, so many neighbouring rows, share a draw; a baseline for that draw must not have seen it.
    Where the whole group are twins there is nothing to compare with, and all are 0.

    >>> leave_twins_out(torch.tensor([1.0, 3.0, 5.0, 7.0]), group_size=4, twins=2)
    tensor([-5., -3.,  3.,  5.])
    """
    if twins == group_size:
        return torch.zeros_like(returns)
    groups = returns.view(-1, group_size // twins, twins)
    others = groups.sum(dim=(1, 2), keepdim=True) - groups.sum(dim=2, keepdim=True)
    return (groups - others / (group_size - twins)).flatten()


def slope_sums(returns: Tensor, costs: Tensor, group_size: int) -> tuple[float, float]:
    """Within groups: sum of (return x cost) and of squared costs, both as differences from means.

    Their quotient is the slope of returns on costs: what a unit of cost is worth at the margin.

    >>> rise, run = slope_sums(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.3]), group_size=2)
    >>> round(rise / run, 4)
    5.0
    """
    away_return, away_cost = (
        values.view(-1, group_size) - values.view(-1, group_size).mean(dim=1, keepdim=True)
        for values in (returns.double(), costs.double())
    )
    return (away_return * away_cost).sum().item(), away_cost.square().sum().item()


def normalised(returns: Tensor, group_size: int) -> Tensor:
    """Each return minus the group's mean, over its standard deviation: [batch] -> [batch].

    Shao et al. 2024, "DeepSeekMath" (arXiv 2402.03300), section 4.1.2.

    >>> normalised(torch.tensor([1.0, 3.0, 5.0, 2.0, 2.0, 2.0]), group_size=3)
    tensor([-1.,  0.,  1.,  0.,  0.,  0.])
    """
    groups = returns.view(-1, group_size)
    # A group of equal returns says nothing: its standard deviation of 0 is not divided by.
    spread = groups.std(dim=1, keepdim=True).clamp(min=1e-6)
    return ((groups - groups.mean(dim=1, keepdim=True)) / spread).flatten()


def standard(values: Tensor) -> Tensor:
    """Values with mean 0 and deviation 1, of any shape; equal ones are 0.

    >>> standard(torch.tensor([1.0, 3.0]))
    tensor([-1.,  1.])
    """
    return (values - values.mean()) / values.std(correction=0).clamp(min=1e-8)


def generalised(rewards: Tensor, values: Tensor, gae_lambda: float) -> Tensor:
    """Generalised advantages without a discount: [num_steps, batch] both -> the same.

    Schulman et al. 2016 (arXiv 1506.02438), equation 16 with gamma 1.

    >>> rewards, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [1.0]])
    >>> generalised(rewards, values, 1.0).tolist()
    [[2.5], [1.0]]
    >>> generalised(rewards, values, 0.0).tolist()
    [[1.5], [1.0]]
    """
    after = torch.cat([values[1:], torch.zeros_like(values[:1])])
    advantages, advantage = [], torch.zeros_like(values[0])
    for surprise in (rewards + after - values).flip(0):
        advantage = surprise + gae_lambda * advantage
        advantages.append(advantage)
    return torch.stack(advantages).flip(0)


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """Share of the returns' variance that a critic predicts: 1 at best, 0 for a constant (float64).

    Where all returns are equal, the share is 0.

    >>> explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])).item()
    0.75
    """
    total, missed = (x.var(correction=0).double() for x in (returns, returns - values))
    return torch.where(total > 0, 1 - missed / total, 0.0)
