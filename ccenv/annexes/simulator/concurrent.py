"""Learning while answering: updates land while requests are between gates.

Choi 2026, "Learning inference concurrency in DynamicGate MLP: structural and mathematical
justification" (arXiv 2604.13546), of which we could read the abstract and the author's tests only.
Parameters are two groups, of the network and of the policy. Updates of the policy, or of what is
off in the network, may land at any moment: each answer is that of some snapshot of the parameters.
The setting `concurrent` says what lands; a page of the documentation has its name.

Requests are the rows of a batch. A finished batch teaches the network: as the next one begins, a
thread of its own, the learner's, computes the gradient while requests are answered. The update
lands behind the first gate, and with "inactive" behind the last gate but one, where most blocks are
known; there the gradient is waited for, so that no clock decides anything and a run is bit for bit
that without the thread. An agent that learns puts functions of the gate into `between_gates`.

A gate reads one version: nothing lands during a step. In a network of sequences the first gate's
version has made the keys and values of earlier positions, which later gates read. "inactive" needs
a network that says which weights its blocks alone read (`Owns.unread_entries`). Requests
are rows, each with its own position: what earlier positions compute under committed masks has been
read before the first gate, so that a block is off if it is off for every row.

Faithful: the two groups, what may land, and the snapshots. Ours: off means off for every single
request, with biases, outgoing weights and the optimiser's moments, and biases of the answer are
never written (the author's code decides by a mean over the batch and leaves moments and biases
out, so that answers change); gates that are not decided yet count as on, so that a layer is only
written once its masks are known; requests go through the gates side by side. Left out: writes
during a gate, hardware, and guarantees beyond Python's.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.parameters import inactive_entries, off_for_all
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.simulator.step import Extension, SimulatorParts

KINDS = ("inactive", "unsafe", "policy")


def share_off(network: GatedNetwork, masks: Sequence[Tensor]) -> Tensor:
    """Share of all blocks that are off for every row: float32 []; undecided ones count as on."""
    return torch.cat(off_for_all(masks)).sum() / sum(network.num_blocks)


@contextlib.contextmanager
def only_entries(trainer: Any, entries: Mapping[str, Tensor]) -> Iterator[None]:
    """Lets an update move some entries of the parameters and nothing else, bit for bit.

    What the optimiser remembers of the others (its moments) is put back too, and so are buffers;
    the optimiser's count of updates goes on. Entries are name -> bool of each parameter's shape.
    """
    parameters = dict(trainer.network.named_parameters())
    expected = {name: list(parameter.shape) for name, parameter in parameters.items()}
    if expected != (got := {name: list(entry.shape) for name, entry in entries.items()}):
        raise ValueError(
            f"expected entries of the network that the trainer updates, {expected}, got those of "
            f"another: {got}"
        )
    buffers = [(buffer, buffer.clone()) for buffer in trainer.network.buffers()]
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    moments = {name: moments_of(trainer.optimizer, p) for name, p in parameters.items()}
    old = {name: {k: t.clone() for k, t in tensors.items()} for name, tensors in moments.items()}
    yield
    with torch.no_grad():
        for buffer, kept in buffers:
            buffer.copy_(kept)
        for name, parameter in parameters.items():
            parameter.copy_(torch.where(entries[name], parameter, before[name]))
            for key, moment in moments_of(trainer.optimizer, parameter).items():
                was = old[name].get(key, torch.zeros_like(moment))
                moment.copy_(torch.where(entries[name], moment, was))


def moments_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """What an optimiser remembers of each entry of a parameter, by name."""
    state = optimizer.state.get(parameter, {})
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    }


class VersionedPart:
    """Parameters that are read together; every change is seen at the next reading.

    Torch counts writes to a tensor, and the counts are compared: comparing values would wait for a
    device at every gate. A write of the same values is a change, one through `.data` is not seen.
    """

    def __init__(self, module: nn.Module) -> None:
        """Starts with version 0; the module is looked at and never changed."""
        self.live = list(module.state_dict(keep_vars=True).values())
        self.restart(0)

    def read(self) -> int:
        """The version that is there now: how often it has changed, as far as was seen."""
        if self._writes() != self.writes:
            self.restart(self.version + 1)
        return self.version

    def restart(self, version: int) -> None:
        """Takes what is there now for this version."""
        self.version, self.writes = version, self._writes()

    def _writes(self) -> list[int]:
        return [live._version for live in self.live]


@functools.cache
def learner(process: int) -> ThreadPoolExecutor:
    """The thread that computes gradients; a process that is forked has one of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="ccenv-learner")


Gradients = list[tuple[nn.Parameter, Tensor | None]]
"""Of each parameter that learns its own; None where the loss does not reach it."""


def compute_gradients(loss: Tensor, network: nn.Module, threads: int) -> Gradients:
    """Computes gradients with as many threads of torch's as the caller has, and writes none down.

    Those that a seed has left behind, still being computed, so reach no later update.
    """
    # Torch counts them thread by thread, and sums of others round otherwise.
    torch.set_num_threads(threads)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, learning, allow_unused=True)
    return list(zip(learning, gradients, strict=True))


class Concurrent(Extension):
    """Updates that land between the gates of one simulator's episodes; see the module."""

    name = "concurrent"
    lands_between_gates = True

    def __init__(self, kind: str) -> None:
        """Takes the setting, one of `KINDS` (else ValueError)."""
        check_names([kind], KINDS, "kind of concurrent updates")
        self.kind = kind
        self.under_way: tuple[Tensor, Future[Gradients]] | None = None
        """The oldest waiting batch's loss, and its gradients on the way."""
        self.between_gates: list[Callable[[int], None]] = []
        """Called with the number of the gate behind which something may land."""
        self.policy_parts: list[VersionedPart] = []
        self.read: dict[str, list[int]] = {"network": [], "policy": []}
        """Versions that requests under way, or of the last episode, have read of each group."""

    @property
    def tells(self) -> str | None:
        """See `Extension.tells`."""
        return "updates where every request is off" if self.kind == "inactive" else None

    def check_settings(self, weights: str, reward_kwargs: Mapping[str, Any]) -> None:
        """Refuses weights that do not learn (ValueError)."""
        if weights != "cotrain":
            raise ValueError(
                f"expected weights='cotrain' with concurrent, got {weights!r}: frozen weights "
                "have no updates"
            )

    def attach(self, simulator: SimulatorParts) -> None:
        """Looks at the network; ValueError if it has not two gates, or nothing could be written."""
        network, num_gates = simulator.network, simulator.num_layers
        if num_gates < 2:
            raise ValueError(
                "expected a network of at least two gates with concurrent, got "
                f"{type(network).__name__} of {num_gates}"
            )
        if self.kind == "inactive":
            off = [torch.zeros(1, n, dtype=torch.bool) for n in simulator.num_blocks[:-1]]
            entries = inactive_entries(network, [mask.to(simulator.device) for mask in off])
            if not any(bool(entry.any()) for entry in entries.values()):
                raise ValueError(
                    "expected a network that says which weights its blocks alone read "
                    "(unread_entries) with concurrent='inactive', got "
                    f"{type(network).__name__}; use concurrent='unsafe' or 'policy'"
                )
        self.network, self.num_gates = network, num_gates
        self.network_part = VersionedPart(network)

    def watch(self, layers: Sequence[nn.Module] | nn.ModuleList) -> None:
        """Tells the versions of a policy too: of the layers that decide, one for each gate."""
        if len(layers) != self.num_gates:
            raise ValueError(f"expected {self.num_gates} layers of a policy, got {len(layers)}")
        self.policy_parts = [VersionedPart(layer) for layer in layers]

    @property
    def parts(self) -> list[VersionedPart]:
        """All that requests read."""
        return [self.network_part, *self.policy_parts]

    def seed(self, simulator: SimulatorParts, seed: int) -> None:
        """Versions count from 0 again."""
        self.under_way = None
        for part in self.parts:
            part.restart(0)

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Nothing has been read yet; the gradient of the batch before is on its way."""
        self.read = {"network": [], "policy": []}
        if simulator.learning.pending and self.under_way is None and self.kind != "policy":
            self.under_way = self.learning(simulator)

    def after_gate(self, simulator: SimulatorParts, outcome: StepOutcome) -> dict[str, Tensor]:
        """Notes what was read; behind every gate but the last one updates land."""
        gate = outcome.layer
        # Behind the last gate the head has read the same version.
        self.read["network"] += [self.network_part.read()] * (2 if outcome.is_last else 1)
        self.read["policy"] += [part.read() for part in self.policy_parts[gate : gate + 1]]
        told = self._told(simulator.masks)
        if not outcome.is_last:
            self.land(simulator, gate)
        elif self.kind == "policy":
            simulator.learning.pending.clear()
        return told

    def _told(self, masks: Sequence[Tensor]) -> dict[str, Tensor]:
        """What every row's `info` says of what it has read."""
        rows = len(masks[0])
        told = {"writable_share": share_off(self.network, masks).expand(rows)}
        lengths = {"network": self.num_gates + 1, "policy": self.num_gates}
        for group, name in (("network", "versions"), ("policy", "policy_versions")):
            if group == "policy" and not self.policy_parts:
                continue
            versions = self.read[group] + [-1] * (lengths[group] - len(self.read[group]))
            told[name] = torch.tensor(versions).expand(rows, -1)
        return told

    def learning(self, simulator: SimulatorParts) -> tuple[Tensor, Future[Gradients]]:
        """The loss of the oldest waiting batch, whose gradient the learner's thread computes.

        The loss is computed here, because it may ask the policy for masks of earlier positions.
        """
        if simulator.trainer.network is not self.network:
            raise ValueError(
                "expected a trainer of the network that answers, got one of another network"
            )
        loss = simulator.learning.next_loss(simulator)
        threads = torch.get_num_threads()
        return loss, learner(os.getpid()).submit(compute_gradients, loss, self.network, threads)

    def land(self, simulator: SimulatorParts, gate: int) -> None:
        """Lets the network's oldest waiting update land, then whatever else waits."""
        first = self.num_gates - 2 if self.kind == "inactive" else 0
        if simulator.learning.pending and gate >= first:
            loss, gradients = self.under_way or self.learning(simulator)
            self.under_way = None
            for parameter, gradient in gradients.result():
                parameter.grad = gradient
            with self._guard(simulator):
                simulator.learning.finish_update(simulator, loss)
        for lands in self.between_gates:
            lands(gate)

    def _guard(self, simulator: SimulatorParts) -> contextlib.AbstractContextManager[None]:
        """Holds an update to what no pass under way reads."""
        if self.kind == "unsafe":
            return contextlib.nullcontext()
        return only_entries(simulator.trainer, inactive_entries(self.network, simulator.masks))

    def state(self, *, begun: bool) -> list[int]:
        """Numbers of the parts' versions."""
        return [part.read() for part in self.parts]

    def load_state(self, state: Sequence[int]) -> None:
        """Goes on counting."""
        self.under_way = None
        for part, version in zip(self.parts, state, strict=True):
            part.restart(version)

    def for_judging(self) -> None:
        """Nothing lands while a policy is judged."""
