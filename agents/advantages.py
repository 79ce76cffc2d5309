"""Masks of one image compared with each other: (returns, who shares what) -> advantages.

Baseline: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.mdp.dynamics import EpisodeState, outcomes
from ccenv.simulator.rollout import walk
from ccenv.simulator.simulator import Simulator


def above_mean(returns: Tensor) -> Tensor:
    """Each return minus its gate's mean over the batch: [num_layers, batch] -> the same.

    >>> above_mean(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.,  1.]])
    """
    return torch.stack([of_gate - of_gate.mean() for of_gate in returns])


def leave_one_out(returns: Tensor, group_size: int) -> Tensor:
    """Each return minus the mean of the group's others: [batch] -> [batch].

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


def greedy_rewards(agent: Any) -> Tensor:
    """Rewards of the batch's images under their greedy masks: [num_layers, batch]."""
    simulator = agent.simulator
    images = simulator.indices[:: simulator.group_size].cpu()
    _, _, steps = walk(simulator.on_split(simulator.split, 1), agent, None, images)
    rewards = torch.stack([step.reward for step in steps])
    return rewards.repeat_interleave(simulator.group_size, dim=1)


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


def under(
    simulator: Simulator, state: EpisodeState, masks: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Undiscounted return and compute cost of each image under masks of all layers: two [batch]."""
    total = torch.zeros(len(state.labels), device=state.labels.device)
    for outcome in outcomes(simulator.network, state, lambda now: masks[now.layer]):
        total = total + torch.stack(list(simulator.reward(outcome).values())).sum(dim=0)
    return total, outcome.compute_cost
