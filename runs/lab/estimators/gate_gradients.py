"""Slopes of gates: (frozen network, inputs) -> derivatives of every mask's nll by its gates.

A gate's value scales what a unit adds: 1 as it is, 0 not at all. Estimators that differentiate
through gates see the network's slope at the mask that they drew, where skipped units are computed
too. All prefixes are shared; each mask is differentiated by itself.

Where a unit is skipped and a ReLU follows the sum, channels that are zero stand at its kink: the
slope there is the framework's, that of the flat side, and no finite difference.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.networks.core.protocol import GatedNetwork


def slopes_of(
    network: GatedNetwork, inputs: Tensor, labels: Tensor
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Derivatives of the nll by every block's gate at every mask, and the nll itself.

    Args:
        network: frozen; its gates have one block each, and none is an exit.
        inputs: [batch, ...].
        labels: int64 [batch].

    Returns:
        float16 [batch, 2 ** gates, gates] and [batch, 2 ** gates], masks in counting order.
    """
    if any(gate.num_blocks > 1 or gate.skipped == "stop" for gate in network.gates):
        raise ValueError("expected gates of one block each and no exits, got others")
    found, nlls = [], []
    with torch.enable_grad():
        for gates, logits in paths(network, network.start(inputs), len(inputs), []):
            nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            slopes = torch.autograd.grad(nll.sum(), gates, retain_graph=True)
            found.append(torch.cat(slopes, dim=1).half())
            nlls.append(nll.detach().half())
    return torch.stack(found, 1).cpu().numpy(), torch.stack(nlls, 1).cpu().numpy()


def paths(
    network: GatedNetwork, hidden: Any, rows: int, gates: list[Tensor]
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Gate values, each [batch, 1], and logits of every mask; depth first, all units computed."""
    if len(gates) == len(network.gates):
        yield gates, network.logits(hidden, "reference")
        return
    for bit in (0.0, 1.0):
        gate = torch.full((rows, 1), bit, requires_grad=True)
        after = network.step(len(gates), hidden, None, gate, "reference")
        yield from paths(network, after, rows, [*gates, gate])
