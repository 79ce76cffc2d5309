"""The actor of Stable-Baselines3's `MlpPolicy`: (policy) -> its MACs, and how it chooses masks."""

from collections.abc import Sequence
from typing import Any

from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from ccenv.deploy.fused.classifier import Chooser
from ccenv.mdp.observations import Observer

ACTIVATIONS = {nn.Tanh: "tanh", nn.ReLU: "relu"}


def mlp_actor_macs(policy: Any) -> int:
    """MACs of one look of an `MlpPolicy`'s actor, counted from its linear layers."""
    parts = (policy.features_extractor, policy.mlp_extractor.policy_net, policy.action_net)
    linears = [m for part in parts for m in part.modules() if isinstance(m, nn.Linear)]
    return sum(linear.weight.numel() for linear in linears)


def affine_chain(policy: Any) -> tuple[list[nn.Linear], str] | None:
    """An actor's linear layers and the activation between them; None if it is made otherwise."""
    net = policy.mlp_extractor.policy_net
    if type(policy.features_extractor) is not FlattenExtractor or type(net) is not nn.Sequential:
        return None
    modules = [*net, policy.action_net]
    kinds = {type(module) for module in modules[1::2]} or {nn.Tanh}
    is_chain = all(type(m) is nn.Linear for m in modules[::2]) and len(modules) % 2
    if not is_chain or len(kinds) > 1 or not kinds <= set(ACTIVATIONS):
        return None
    return modules[::2], ACTIVATIONS[kinds.pop()]


def actor_choosers(
    policy: Any, observe: Observer, num_blocks: Sequence[int], rule: str
) -> list[Chooser] | None:
    """How an actor chooses, for one compiled call; None if it is no chain of affine maps.

    Args:
        policy: an `MlpPolicy`; one actor for all layers, which reads the whole observation.
        observe: how it looks at states.
        num_blocks: of each gated layer.
        rule: see `ccenv.deploy.fused.classifier.Chooser`.
    """
    found = affine_chain(policy)
    if found is None:
        return None
    (first, *others), activation = found
    choosers = []
    for layer, blocks in enumerate(num_blocks):
        length, place = observe.lengths[layer], max(observe.lengths) + layer
        # Behind what is informative stand zeros, and a one at the layer's index.
        maps = [(first.weight[:, :length], first.bias + first.weight[:, place])]
        maps += [(linear.weight, linear.bias) for linear in others]
        weight, bias = maps.pop()
        maps.append((weight[:blocks], bias[:blocks]))
        choosers.append(Chooser(maps, rule, activation=activation))
    return choosers
