"""The fastest way to run a policy with its network: (network, policy, look) -> images to logits."""

from typing import Any

import torch

from ccenv.deploy.fused.call import CompiledCall
from ccenv.deploy.fused.classifier import FusedClassifier, reads_symbols, why_not_fused
from ccenv.deploy.short_walk import ShortWalk
from ccenv.mdp.observations import LAST_SYMBOLS, Observer
from ccenv.networks.core.one_row import why_not_one_row
from ccenv.simulator.policy import as_policy

IMAGES = 3
"""Dimensions of an image."""


def fuse_policy(
    network: Any,
    policy: Any,
    observe: Observer,
    image_shape: tuple[int, ...],
    *,
    drawn: bool,
) -> CompiledCall | ShortWalk | None:
    """A policy and its network with little between them, None where that cannot be.

    Args:
        network: of affine maps, which run in one compiled call, or a `GatedSequential`.
        policy: says how it chooses by a method `choosers(drawn=...)`, as agents do.
        observe: how the policy looks at states; one with a context is not fused.
        image_shape: of one input, such as channels, height and width.
        drawn: whether masks are drawn, instead of the most probable ones.
    """
    choosers = as_policy(policy).choosers(drawn=drawn)
    if choosers is None or type(observe) is not Observer:
        return None
    if why_not_fused(network) is None:
        look = LAST_SYMBOLS if reads_symbols(network) else "summary"
        if observe.kind not in ("layer_input", look):
            return None
        return FusedClassifier(network, choosers, observation=observe.kind, image_shape=image_shape)
    if observe.kind != "layer_input" or why_not_short(network, image_shape) is not None:
        return None
    return ShortWalk(network, choosers, torch.zeros(1, *image_shape))


def why_not_short(network: Any, image_shape: tuple[int, ...]) -> str | None:
    """Why a network does not run in a `ShortWalk`, None where it does."""
    if len(image_shape) != IMAGES:
        return "its inputs are no images"
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    if kinds != {("cpu", torch.float32)}:
        return "it is not float32 on the CPU"
    return why_not_one_row(network)
