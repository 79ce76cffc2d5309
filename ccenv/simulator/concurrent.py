"""Learning while answering: updates land while requests are between gates.

Choi 2026, "Learning inference concurrency in DynamicGate MLP: structural and mathematical
justification" (arXiv 2604.13546), of which we could read the abstract and the author's tests only.
Parameters are two groups, of the network and of the policy. Updates of the policy, or of what is
off in the network, may land at any moment: each answer is that of some snapshot of the parameters.
`concurrent` is a setting of every view of the environment:

    gym.make("BlockSelection-v0", weights="cotrain", concurrent="inactive")

| `concurrent` | what lands between gates |
|---|---|
| "inactive" | the network's next update, in blocks that are off for every request under way |
| "unsafe" | the network's next update, wherever it goes |
| "policy" | nothing of the network's |

Requests are the rows of a batch. A finished batch teaches the network, as everywhere, but not at
the end: its update waits and lands behind a gate of later ones. Whoever learns the policy puts
functions of the gate into `between_gates`, which are called at the same moments; with `watch` the
policy's versions are told too. `info["versions"]`, int64 [gates + 1], says which version of each
gated layer and, last, of the head a request has read, -1 for not yet; `info["policy_versions"]`
likewise of a watched policy; `info["writable_share"]` the share of all blocks that are off for
every request under way, as far as decided.

Three laws: (1) an answer is, bit for bit, that of the network and the policy put together from what
was read (`composite`), in general of none that ever was as a whole; (2) an update of what is off
changes no answer under way, not even by rounding; (3) the more requests are under way, the less is
off for all of them: with 200 rows and 30 % of the blocks kept at random, nothing.

Faithful: the two groups, what may land, and the snapshots. Ours: off means off for every single
request, with biases, outgoing weights and the optimiser's moments, and biases of the answer are
never written (the author's code decides by a mean over the batch and leaves moments and biases
out, so that answers change); gates that are not decided yet count as on, so that a layer is only
written once its masks are known; requests go through the gates side by side. Left out: drift of the
inputs (`transforms` of another environment have that), hardware, and guarantees beyond Python's.
"""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.parameters import inactive_entries, only_entries, share_off
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step
from ccenv.simulator.versions import (
    Reading,
    VersionedPart,
    composite,
    network_parts,
    policy_parts,
)

KINDS = ("inactive", "unsafe", "policy")


class ConcurrentSimulator(Simulator):
    """A simulator in which updates land between gates; see the module."""

    def __init__(
        self, num_images: int = 1, *, concurrent: str = "inactive", **settings: Any
    ) -> None:
        """Builds it.

        Args:
            num_images: rows of the batch: requests under way together.
            concurrent: one of `KINDS`.
            **settings: see `Simulator`; the network is fully connected and learns along.

        Raises:
            ValueError: if a setting is unknown or impossible, the network does not learn, or it has
                not two gates, between which something could land.
        """
        check_names([concurrent], KINDS, "kind of concurrent updates")
        if settings.get("weights") != "cotrain":
            raise ValueError(
                "expected weights='cotrain' beside concurrent, got "
                f"{settings.get('weights', 'frozen')!r}: frozen weights have no updates"
            )
        super().__init__(num_images, **settings)
        if not isinstance(self.network, GatedMLP) or self.num_layers < 2:
            raise ValueError(
                "expected a fully connected network of at least two gates beside concurrent, got "
                f"{type(self.network).__name__} of {self.num_layers}"
            )
        self.concurrent = concurrent
        self.between_gates: list[Callable[[int], None]] = []
        """Called with the number of the gate behind which something may land."""
        self.network_parts = network_parts(self.network)
        self.policy_parts: list[VersionedPart] = []
        self.read: dict[str, list[Reading]] = {"network": [], "policy": []}
        """What the requests under way, or those of the last episode, have read of each group."""
        self._landed: list[float] = []

    def watch(self, layers: Sequence[nn.Module]) -> None:
        """Tells the versions of a policy too.

        Args:
            layers: what decides at each gate.

        Raises:
            ValueError: if there is not one for each gate.
        """
        if len(layers) != self.num_layers:
            raise ValueError(f"expected {self.num_layers} layers of a policy, got {len(layers)}")
        self.policy_parts = policy_parts(layers)

    def seed(self, seed: int) -> None:
        """See `Simulator.seed`; versions count from 0 again."""
        super().seed(seed)
        if self.weights != "cotrain":
            # A copy to judge with, which shares the parts.
            return
        self._landed = []
        for part in (*self.network_parts, *self.policy_parts):
            part.restart(0)

    def begin(self, indices: Tensor | None = None) -> Tensor:
        """See `Simulator.begin`; nothing has been read yet."""
        self.read = {"network": [], "policy": []}
        return super().begin(indices)

    def step(self, mask: Tensor, weights: Tensor | None = None) -> Step:
        """See `Simulator.step`; behind every gate but the last one updates land."""
        layer = self.layer
        step = super().step(mask, weights)
        parts = self.network_parts[layer : layer + (2 if step.outcome.is_last else 1)]
        self.read["network"] += [part.read() for part in parts]
        self.read["policy"] += [part.read() for part in self.policy_parts[layer : layer + 1]]
        told = self._told(len(mask))
        if not step.outcome.is_last:
            self.land(layer)
        return dataclasses.replace(step, told=told)

    def _told(self, rows: int) -> dict[str, Tensor]:
        """What every row's `info` says of what it has read."""
        told = {"writable_share": torch.full((rows,), share_off(self.network, self._masks))}
        lengths = {"network": self.num_layers + 1, "policy": self.num_layers}
        for group, name in (("network", "versions"), ("policy", "policy_versions")):
            if group == "policy" and not self.policy_parts:
                continue
            found = [reading.version for reading in self.read[group]]
            found += [-1] * (lengths[group] - len(found))
            told[name] = torch.tensor(found).expand(rows, -1)
        return told

    def land(self, layer: int) -> None:
        """Lets the network's oldest waiting update land, then whatever else waits.

        Raises:
            ValueError: if the trainer updates another network.
        """
        if self.weights != "cotrain":
            return
        if self.trainer.network is not self.network:
            raise ValueError(
                "expected a trainer of the network that answers, got one of another network"
            )
        if self.pending and self.concurrent != "policy":
            first, *rest = self.pending
            self.pending = deque([first], maxlen=self.pending.maxlen)
            with self._guard():
                self._landed.append(super().update_network()["network_loss"])
            self.pending.extend(rest)
        for lands in self.between_gates:
            lands(layer)

    def _guard(self) -> contextlib.AbstractContextManager[None]:
        """Holds an update to what nobody under way reads."""
        if self.concurrent == "unsafe":
            return contextlib.nullcontext()
        return only_entries(self.trainer, inactive_entries(self.network, self._masks))

    def update_network(self) -> dict[str, float]:
        """Updates wait for the next requests: tells the mean loss of those that have landed."""
        if self.concurrent == "policy":
            self.pending.clear()
        landed, self._landed = self._landed, []
        return {"network_loss": sum(landed) / len(landed)} if landed else {}

    def composite(self) -> GatedMLP:
        """The network that the last requests have read: every part as it was when they did.

        Called with the same inputs and masks, it gives their answers bit for bit, with gradients on
        or off. Its parameters do not learn.

        Raises:
            RuntimeError: if no request is finished.
        """
        if len(self.read["network"]) <= self.num_layers:
            raise RuntimeError("expected a finished episode, got none; step to its end first")
        return composite(self.network, [reading.tensors for reading in self.read["network"]])

    def extra_state(self, begun: bool) -> list[int]:
        """Numbers of the parts' versions, see `ccenv.simulator.resume`."""
        return [part.read().version for part in (*self.network_parts, *self.policy_parts)]

    def load_extra_state(self, state: Sequence[int]) -> None:
        """Goes on counting."""
        parts = (*self.network_parts, *self.policy_parts)
        for part, version in zip(parts, state, strict=True):
            part.restart(version)
