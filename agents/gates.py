"""Back-propagation through masks: (network, images, gates) -> logits with a gradient.

A gate is 1 where a block is kept and 0 where it is skipped, so that logits are those of the
environment; what its gradient is, the agent decides.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ccenv.networks.mlp import GatedNetwork, walk


def gated_logits(
    network: GatedNetwork,
    images: Tensor,
    gates: Sequence[Tensor],
    masks: Sequence[Tensor] | None = None,
) -> Tensor:
    """Walks a network whose blocks are multiplied with their gates.

    Args:
        network: the classifier.
        images: [batch, ...] float32.
        gates: float [batch, num_blocks[l]] for each gated layer.
        masks: bool [batch, num_blocks[l]] for each; None computes skipped blocks too, so that a
            gate at 0 has a gradient.

    Returns:
        Logits [batch, num_classes].
    """

    def scaled(index: int, hidden: Tensor) -> Tensor:
        gate = gates[index]
        return (hidden.unflatten(1, (gate.shape[1], -1)) * gate.unsqueeze(2)).flatten(1)

    def choose(index: int, _: Tensor) -> Tensor | None:
        return None if masks is None else masks[index]

    backend = "reference" if masks is None else "auto"
    return walk(network, images.flatten(1), choose, backend, after=scaled)


def descend(optimizer: torch.optim.Optimizer, policy: nn.Module, loss: Tensor) -> None:
    """One step on the policy's parameters alone: the network learns in `update_network`."""
    parameters = list(policy.parameters())
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
    ):
        parameter.grad = gradient
    optimizer.step()
