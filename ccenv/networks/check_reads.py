"""Law 4 tried on a network: weights that only skipped blocks use are not read."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.networks.protocol import forward, num_blocks_of

WEIGHTS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    *(lambda own, noise: own, lambda own, noise: own + noise),
    *(lambda own, noise: own.abs(), lambda own, noise: (own + noise).abs()),
)
"""Those by which it is told what a network reads: its own, others near them, and positive ones,
which leave few units dead. (A network's own weights, noise of their size) -> weights."""
ROUNDING = 1e-9
"""Share of the largest gradient below which one may be rounding."""


def check_skipped(network: Any, inputs: Tensor) -> None:
    """What only skipped blocks use is not read: NaN there changes nothing (law 4)."""
    of_gate: Callable[[int], Iterable[nn.Parameter]] | None
    of_gate = getattr(network, "gate_parameters", None)
    if of_gate is None:
        return
    for gate, found in enumerate(network.gates):
        if found.skipped == "stop":
            continue
        masks = [torch.ones(len(inputs), n, dtype=torch.bool) for n in num_blocks_of(network)]
        masks[gate][:, found.num_blocks // 2 :] = False
        spoiled = copy.deepcopy(network)
        parameters = list(spoiled.gate_parameters(gate))
        for parameter in parameters:
            parameter.requires_grad_(True)
        unused = unused_entries(spoiled, inputs, masks, parameters)
        with torch.no_grad():
            before = forward(spoiled, inputs, masks, "cpu")
            for parameter, entries in zip(parameters, unused, strict=True):
                parameter[entries] = torch.nan
            after = forward(spoiled, inputs, masks, "cpu")
        if not torch.equal(before, after):
            raise ValueError(
                f"expected skipped blocks of gate {gate} ({found.name!r}) not to be read, but NaN "
                "in their weights reaches the logits"
            )


def unused_entries(
    network: Any, inputs: Tensor, masks: list[Tensor], parameters: list[nn.Parameter]
) -> list[Tensor]:
    """Which weights have a gradient with everything kept and none under masks.

    By its own weights and by others: a unit that no input wakes looks unused, and is read.
    """
    unused = [torch.ones_like(parameter, dtype=torch.bool) for parameter in parameters]
    used = [~entries for entries in unused]
    own = {name: p.detach().clone() for name, p in network.named_parameters()}
    for draw, way in enumerate(WEIGHTS):
        generator = stream(draw, "weights of a check")
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(own[name])
            parameter.data.copy_(way(own[name], noise * own[name].std(correction=0)))
        some, every = gradients_under(network, inputs, masks, parameters)
        # The bias of keys has a gradient by rounding alone: it is read, and yet changes nothing.
        least = ROUNDING * max((float(g.abs().max()) for g in every if g.numel()), default=0.0)
        unused = [u & (g == 0) for u, g in zip(unused, some, strict=True)]
        used = [u | (g.abs() > least) for u, g in zip(used, every, strict=True)]
    for name, parameter in network.named_parameters():
        parameter.data.copy_(own[name])
    return [none & some for none, some in zip(unused, used, strict=True)]


def gradients_under(
    network: Any, inputs: Tensor, masks: list[Tensor], parameters: list[nn.Parameter]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of the sum of squared logits, under masks and with everything kept."""
    found = []
    for kept in (masks, [torch.ones_like(mask) for mask in masks]):
        loss = forward(network, inputs, kept, "cpu").square().sum()
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        pairs = zip(parameters, gradients, strict=True)
        found.append([torch.zeros_like(p) if g is None else g for p, g in pairs])
    return found[0], found[1]
