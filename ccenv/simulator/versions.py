"""Versions of parameters: (layers that somebody updates) -> what was read, and its number.

A network and a policy are two groups of parameters, each cut at the gates: a request reads one part
at a time, so that what it has read may never have been there all at once.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccenv.networks.core.mlp import GatedMLP


@dataclass(frozen=True)
class Reading:
    """A part of the parameters as it was at a moment."""

    version: int
    """how often it had changed before, as far as was seen."""
    tensors: Mapping[str, Tensor]
    """name -> a copy."""


class VersionedPart:
    """Parameters that are read together; a change is seen at the next reading, whoever made it."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Starts with version 0; the tensors are looked at and never changed."""
        self.live = dict(tensors)
        self.last = Reading(0, self._copies())

    def read(self) -> Reading:
        """What is there now; copied only where something has changed."""
        kept = self.last.tensors
        if not all(torch.equal(live, kept[name]) for name, live in self.live.items()):
            self.last = Reading(self.last.version + 1, self._copies())
        return self.last

    def restart(self, version: int) -> None:
        """Takes what is there now for this version."""
        self.last = Reading(version, self._copies())

    def _copies(self) -> dict[str, Tensor]:
        return {name: live.detach().clone() for name, live in self.live.items()}


def network_tensors(network: GatedMLP) -> list[dict[str, Tensor]]:
    """Parameters of each gated layer, and last those of the head, by their names in the network."""
    layers: list[dict[str, Tensor]] = [{} for _ in range(len(network.num_blocks) + 1)]
    for name, parameter in network.named_parameters():
        stack, number, _ = name.split(".", 2)
        layers[int(number) if stack == "layers" else -1][name] = parameter
    return layers


def network_parts(network: GatedMLP) -> list[VersionedPart]:
    """A part for each gated layer, and one for the head."""
    return [VersionedPart(tensors) for tensors in network_tensors(network)]


def policy_parts(layers: Sequence[nn.Module]) -> list[VersionedPart]:
    """A part for the policy of each gate."""
    return [VersionedPart(layer.state_dict(keep_vars=True)) for layer in layers]


def composite(network: GatedMLP, tensors: Sequence[Mapping[str, Tensor]]) -> GatedMLP:
    """A copy of a network with other parameters in its parts, which do not learn.

    Learning parameters would take another kernel outside of `torch.no_grad`, whose sums are rounded
    otherwise than those of the answer.

    Args:
        network: gives the sizes.
        tensors: of each gated layer and of the head, as `network_tensors` names them.

    Raises:
        ValueError: if they are those of another network.
    """
    found = copy.deepcopy(network).requires_grad_(False)
    given = {name: tensor for part in tensors for name, tensor in part.items()}
    check_same_network(network, given)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            parameter.copy_(given[name])
    return found


def check_same_network(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuses parameters that are not a network's, by their names and shapes.

    Raises:
        ValueError: saying what was expected.
    """
    expected = {name: list(p.shape) for name, p in network.named_parameters()}
    if expected != (got := {name: list(t.shape) for name, t in tensors.items()}):
        raise ValueError(
            f"expected parameters of the network that answers, {expected}, got another's: {got}"
        )
