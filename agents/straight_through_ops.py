"""Back-propagation through masks: (network, images, soft masks) -> logits with a gradient.

A soft mask is float: 1 where a block is kept and 0 where it is skipped, so that logits are those of
the environment. The agent decides what its gradient is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.networks.core.protocol import GatedNetwork, walk
from ccenv.simulator.simulator import Simulator

TINY = torch.finfo(torch.float32).tiny
"""Smallest gate value of a kept block: at 0 it would not be computed."""


def soft_masked_logits(
    network: GatedNetwork,
    images: Tensor,
    soft_masks: Sequence[Tensor],
    masks: Sequence[Tensor] | None = None,
    start: Any = None,
) -> Tensor:
    """Walks a network whose blocks are multiplied with soft masks.

    Args:
        network: the classifier.
        images: [batch, ...] float32.
        soft_masks: float [batch, num_blocks[l]] for each gated layer.
        masks: bool [batch, num_blocks[l]] for each; None computes skipped blocks too, so that a
            soft mask has a gradient where it is 0.
        start: hidden state before the first gate, where it is there already.

    Returns:
        Logits [batch, num_classes].
    """

    def choose(gate: int, _: Any) -> Tensor | None:
        return None if masks is None else masks[gate]

    backend = "reference" if masks is None else "auto"
    return walk(network, images, choose, backend, soft_masks, start)


def loss_under(
    simulator: Simulator, soft_masks: Sequence[Tensor], masks: Sequence[Tensor] | None = None
) -> Tensor:
    """Cross-entropy in nats of the batch under way; arguments as those of `soft_masked_logits`."""
    state = simulator.state
    assert state is not None
    images = state.images_by_row
    logits = soft_masked_logits(simulator.network, images, soft_masks, masks, simulator.start)
    return torch.nn.functional.cross_entropy(logits, state.labels)


def straight_through(mask: Tensor, probability: Tensor) -> Tensor:
    """Soft masks: bool and float [batch, n] -> float [batch, n], the mask's own values.

    Their gradient is the probability's.

    >>> p = torch.tensor([[0.3, 0.9]], requires_grad=True)
    >>> soft_mask = straight_through(torch.tensor([[True, False]]), p)
    >>> soft_mask.tolist(), torch.autograd.grad(soft_mask.sum(), p)[0].tolist()
    ([[1.0, 0.0]], [[1.0, 1.0]])
    """
    return mask.float() + (probability - probability.detach())


def load_balance(scores: Tensor, mask: Tensor) -> Tensor:
    """N times the sum over blocks of (share of images) x (mean weight): Fedus et al., equation 4.

    >>> load_balance(torch.zeros(2, 2), torch.tensor([[True, False], [False, True]])).item()
    1.0
    """
    share = mask.float().mean(dim=0)
    share = share / share.sum()
    return mask.shape[1] * (share * scores.softmax(dim=1).mean(dim=0)).sum()


@torch.no_grad()
def move_bias(bias: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Moves a selection bias in place, up of blocks kept less than the mean, down of the others.

    Returns:
        Largest load over the mean load, a number: 1 where blocks are used alike.
    """
    load = mask.float().mean(dim=0)
    bias += rate * (load.mean() - load).sign()
    return load.max() / load.mean()
