"""Published parameters: (a thread that learns, threads that answer) -> answers of whole versions.

A version is a copy of network and policy that nobody changes any more. Publishing exchanges one
reference, which Python does in one step: who answers reads it once and has one version, or once a
gate and has a mixture of versions, one a gate (Choi 2026, arXiv 2604.13546, calls both a valid
snapshot; only the first was ever published).
"""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.networks.core.mlp import GatedMLP
from ccenv.simulator.versions import check_same_network, composite, network_tensors

Choose = Callable[[Any, int, Tensor], Tensor]
"""(policy, gate, look [rows, look_size]) -> mask bool [rows, num_blocks[gate]]."""


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
