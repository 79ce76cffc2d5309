"""A user's own model as a gated network, in one line: (model, path -> kind, example) -> network.

model = torchvision.models.resnet34(weights="DEFAULT").eval()
network = ccenv.gate(model, {"layer2.1": "unit", "layer3.0.conv1": "channels:8"}, images[:1])
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.core.count_macs import Count, count, warn_of_products
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.gating.gate_units import check_example, check_mode, read_units
from ccenv.networks.gating.gated_module import GatedModule
from ccenv.networks.gating.tracer import trace


def gate(model: nn.Module, units: Mapping[str, Any], example: Tensor) -> GatedModule:
    """Gates children of a model, its weights as they are.

    A child is named by its path and gated as one of:

    - "unit" (or "identity"): one block; skipped, its output is its first argument, the only one of
      that shape. For a residual unit with its shortcut inside.
    - "zero": one block; skipped, its output is zero. For a branch that is added to something.
    - "channels:8": eight groups of neighbouring output channels of a convolution or linear layer;
      skipped ones are zero where that layer gives them, so a norm behind it still adds its bias.
    - "exit", or a `networks.core.sequential.Exit` with a head: the answer may be given behind it.
      Without a head of yours it is a linear layer on averaged features, zero until it is trained.

    The modules around gated children are followed by torch.fx, all others are called as they are.
    What followed code decides (by `self.training`, by sizes) is decided once, as in eval mode.

    Args:
        model: [batch, ...] -> logits [batch, num_classes]; in eval mode where it has batch norm. It
            is not copied: it learns where the gated network does.
        units: path -> kind. Gates stand in the order in which the model calls them.
        example: one input [1, ...], such as the model will get; more rows are ignored.

    Returns:
        A `ccenv.GatedNetwork`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a child cannot be gated so, or the model holds an operation whose
            multiply-accumulates are not known; it says why, and what else to do.

    Warns:
        UserWarning: if there are many elementwise products, which no bill holds.
    """
    check_mode(model)
    found = read_units(model, units)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            answer = check_example(model, example)
            opened = {path for unit in found for path in above(unit)}
            exits = [path for path, unit in found.items() if unit.kind == "exit"]
            traced = trace(model, example[:1], opened, exits)
            network = GatedModule(model, traced, found)
            whole = check_same(network, example[:1], answer)
    finally:
        model.train(was_training)
    warn_of_products(whole, stacklevel=2)
    return network.train(was_training)


def above(path: str) -> list[str]:
    """Paths of the modules around a child.

    >>> above("layer1.0.conv1")
    ['layer1', 'layer1.0']
    """
    names = path.split(".")
    return [".".join(names[:i]) for i in range(1, len(names))]


def check_same(network: GatedModule, example: Tensor, answer: Tensor) -> Count:
    """Everything kept is the model; returns what it does for the example.

    Raises:
        ValueError: if it is not: its code does something that a list of calls does not show.
    """
    whole = count(dense_forward, network, example)
    found = whole.result
    if not torch.allclose(found, answer, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ValueError(
            f"expected the gated model to answer as before with everything kept, got logits that "
            f"differ by up to {float((found - answer).abs().max()):.3g}; does it draw random "
            "numbers, keep a state between calls, or change a view in place? gate other children, "
            "or write it as a ccenv.GatedSequential"
        )
    return whole
