"""Losses of policies, each a function of tensors: (log-probabilities, advantages) -> a number.

What is here is minimised and shared by agents; a loss of one agent alone stands in that agent's
file. Advantages are in `ccenv.agents.advantages`.
"""

import torch
from torch import Tensor

CLIP_RANGE = 0.2
"""Of the ratio of probabilities: beyond it nothing is gained."""


def policy_gradient_loss(
    log_prob: Tensor, advantage: Tensor, before: Tensor | None = None
) -> Tensor:
    """Minus the mean of log-probabilities weighed by advantages: [n] each -> a number.

    REINFORCE (Williams 1992): its gradient is the policy gradient's estimate. With
    `before`, the log-probabilities when the actions were drawn, it is the clipped objective of
    Schulman et al. 2017 (arXiv 1707.06347, equation 7): the smaller one of r A and
    clip(r, 1 - 0.2, 1 + 0.2) A, where r is the ratio of the probabilities now and then.

    >>> log_prob = torch.tensor([0.5, 0.25]).log()
    >>> policy_gradient_loss(log_prob, torch.tensor([2.0, -2.0]))
    tensor(-0.6931)
    >>> policy_gradient_loss(torch.zeros(1), torch.tensor([2.0]), torch.tensor([0.5]).log())
    tensor(-2.4000)
    """
    if before is None:
        return -(log_prob * advantage).mean()
    ratio = (log_prob - before).exp()
    clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def value_loss(predicted: Tensor, returns: Tensor) -> Tensor:
    """Mean squared error of a critic: [num_steps, batch] both -> a number.

    Schulman et al. 2017 (arXiv 1707.06347), L^VF of equation 9.

    >>> value_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return (returns - predicted).square().mean()


def use_entropy(use: Tensor) -> Tensor:
    """Entropy in nats of how blocks are used on average: [num_blocks], sums to 1 -> a number.

    A bonus on it keeps blocks from dying (Bengio et al. 2015, arXiv 1511.06297, section 3.2, asks
    the same of each block's mean by L_b). It is the logarithm of n where n blocks are used alike.

    >>> use_entropy(torch.tensor([0.5, 0.5, 0.0]))
    tensor(0.6931)
    """
    return -(use * use.clamp(min=1e-12).log()).sum()
