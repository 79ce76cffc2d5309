"""The fastest way to run a policy with its network: (network, policy, look) -> images to logits."""

from typing import Any

import torch

from ccenv.deploy.fused.call import CompiledCall
from ccenv.deploy.fused.classifier import FusedClassifier, why_not_fused
from ccenv.deploy.fused.tokens import FusedTokens, why_not_tokens
from ccenv.deploy.short_walk import ShortWalk
from ccenv.mdp.observations import LAST_SYMBOLS, Observer, last_symbols
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
        network: a `GatedMLP` or `TokenMLP`, which run in one compiled call, or a `GatedSequential`.
        policy: says how it chooses by a method `choosers(drawn=...)`, as agents do.
        observe: how the policy looks at states; one with a context is not fused.
        image_shape: of one input, such as channels, height and width.
        drawn: whether masks are drawn, instead of the most probable ones.
    """
    choosers = as_policy(policy).choosers(drawn=drawn)
    if choosers is None or type(observe) is not Observer or observe.own not in (None, last_symbols):
        return None
    if why_not_tokens(network) is None and observe.kind in ("layer_input", LAST_SYMBOLS):
        return FusedTokens(network, choosers, observation=observe.kind)
    if observe.own is not None:
        return None
    if why_not_fused(network) is None:
        look = observe.kind
        return FusedClassifier(network, choosers, observation=look, image_shape=image_shape)
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
