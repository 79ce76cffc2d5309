"""Modules made ready to run only, without batch norms; and norms that stay or learn for a while.

A batch norm with fixed statistics is a scale and a shift of each channel: behind a convolution both
go into its weights (Jacob et al. 2018, arXiv 1712.05877, section 3.2). On the CPU weights are laid
out channels last, which oneDNN reads as they are.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ccenv.networks.core.abilities import Packs, ability
from ccenv.networks.core.protocol import GatedNetwork


def packed(module: nn.Module) -> nn.Module:
    """A copy that computes the same to rounding, faster; without gradients, for fixed weights.

    In any `nn.Sequential` within, a batch norm that does not learn goes into the convolution or
    linear layer before it. A module that calls its layers itself says which norm stands behind
    which layer: `norms_behind = {"conv": "bn"}`, names of its attributes.

    Args:
        module: in evaluation mode; not changed.
    """
    fast_copy = without_norms(copy.deepcopy(module).requires_grad_(False))
    if any(parameter.is_cuda for parameter in fast_copy.parameters()):
        return fast_copy
    # Not every module's own four-dimensional weights are a convolution's.
    for part in fast_copy.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    return fast_copy


def without_norms(module: nn.Module) -> nn.Module:
    """Folds norms in place, in every sequence of a module."""
    for name, child in list(module.named_children()):
        setattr(module, name, without_norms(child))
    for layer, norm in getattr(module, "norms_behind", {}).items():
        kept = folded_sequence([getattr(module, layer), getattr(module, norm)])
        if len(kept) == 1:
            setattr(module, layer, kept[0])
            setattr(module, norm, nn.Identity())
    if type(module) is nn.Sequential:
        return nn.Sequential(*folded_sequence(list(module)))
    return module


def folded_sequence(parts: list[nn.Module]) -> list[nn.Module]:
    """Modules one after the other, without the norms that could be folded."""
    kept: list[nn.Module] = []
    for part in parts:
        before = kept[-1] if kept else None
        # Torch's convolution, or another that says so.
        takes_norm = type(before) is nn.Conv2d or getattr(before, "folds_norms", False)
        if type(part) is nn.BatchNorm2d and takes_norm and is_fixed(part):
            kept[-1] = fuse_conv_bn_eval(cast(nn.Conv2d, before), part)
        elif type(part) is nn.BatchNorm1d and type(before) is nn.Linear and is_fixed(part):
            kept[-1] = fuse_linear_bn_eval(before, part)
        else:
            kept.append(part)
    return kept


def is_fixed(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    """Whether a norm uses statistics that stay."""
    return not norm.training and norm.running_mean is not None


NORMS = (nn.modules.batchnorm._BatchNorm,)
"""Modules that average over a batch while they learn."""


@contextlib.contextmanager
def learning_norms(network: Any) -> Iterator[None]:
    """For a while norms that average over a batch may learn, where a network has such."""
    network.norms_learn = True
    try:
        yield
    finally:
        network.norms_learn = False


def hold_norms(network: Any) -> None:
    """Norms that average over a batch stay as they are, unless the network's `norms_learn` is set.

    Masks change which rows they see: statistics of sampled gates would spoil them.
    """
    if not network.norms_learn:
        for module in network.modules():
            if isinstance(module, NORMS):
                module.eval()


def pack(network: GatedNetwork) -> None:
    """Lets a network whose weights stay run faster, if it can."""
    packing = ability(network, Packs)
    if packing is not None:
        packing.pack()
