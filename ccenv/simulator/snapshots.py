"""Snapshots of parameters: what requests have read, and versions that are published as a whole.

A network and a policy are two groups of parameters, each cut at the gates: a request reads one part
at a time, so that what it has read may never have been there all at once (`composite`).

Published versions are copies of network and policy that nobody changes any more. Publishing
exchanges one reference, which Python does in one step: who answers reads it once and has one
version, or once a gate and has a mixture of versions, one a gate (Choi 2026, arXiv 2604.13546,
calls both a valid snapshot; only the first was ever published).
"""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.core.mlp import GatedMLP

Choose = Callable[[Any, int, Tensor], Tensor]
"""(policy, gate, look [rows, look_size]) -> mask bool [rows, num_blocks[gate]]."""


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


def policy_parts(layers: Sequence[nn.Module] | nn.ModuleList) -> list[VersionedPart]:
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


@dataclass(frozen=True)
class Version:
    """Network and policy of a moment; not to be changed."""

    number: int
    """how many were published before."""
    network: GatedMLP
    """a copy of its own."""
    policy: Any
    """a copy of its own."""


@dataclass(frozen=True)
class Answer:
    """What a request got, and from which versions."""

    logits: Tensor
    """[rows, num_classes]."""
    masks: tuple[Tensor, ...]
    """bool [rows, num_blocks] for each gate."""
    read: tuple[Version, ...]
    """what was read at each gate; the head's is that of the last gate."""


class Published:
    """The newest version; read from any thread, published from any thread."""

    def __init__(self, network: GatedMLP, policy: Any = None) -> None:
        """Publishes version 0.

        Raises:
            TypeError: if the network is not fully connected with gates.
        """
        if not isinstance(network, GatedMLP):
            raise TypeError(f"expected a ccenv.GatedMLP, got {type(network).__name__}")
        self._now = Version(0, settled(network), copy.deepcopy(policy))
        self._writers = threading.Lock()

    def read(self) -> Version:
        """The newest version."""
        return self._now

    def publish(self, network: GatedMLP, policy: Any = None) -> Version:
        """Makes copies the newest version, all at once.

        Args:
            network: as it is now.
            policy: likewise.

        Raises:
            ValueError: if it is another network than the one that answers.
        """
        check_same_network(self._now.network, dict(network.named_parameters()))
        copies = settled(network), copy.deepcopy(policy)
        with self._writers:
            self._now = Version(self._now.number + 1, *copies)
            return self._now


def settled(network: GatedMLP) -> GatedMLP:
    """A copy that nothing teaches."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def serve(
    published: Published, inputs: Tensor, choose: Choose, *, each_gate: bool = False
) -> Answer:
    """Answers a request while others may publish.

    Args:
        published: what it reads.
        inputs: [rows, ...].
        choose: decides the gates.
        each_gate: read the newest version at each gate, instead of once.
    """
    version = published.read()
    hidden, masks, read = version.network.start(inputs), [], []
    with torch.no_grad():
        for gate in range(len(version.network.gates)):
            version = published.read() if each_gate else version
            masks.append(choose(version.policy, gate, version.network.look(gate, hidden)))
            hidden = version.network.step(gate, hidden, masks[-1])
            read.append(version)
        return Answer(version.network.logits(hidden), tuple(masks), tuple(read))


def composite_of(read: tuple[Version, ...]) -> GatedMLP:
    """The network that a request has read: each gate's layer of its version, the last one's head.

    A member of the same family as every version, which perhaps nobody ever published.
    """
    layers = [network_tensors(version.network)[gate] for gate, version in enumerate(read)]
    return composite(read[0].network, [*layers, network_tensors(read[-1].network)[-1]])
