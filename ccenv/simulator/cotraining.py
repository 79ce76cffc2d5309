"""Co-training of a simulator's network: finished batches -> one update each, under their masks."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.checks import all_finite, is_on_device
from ccenv.base.seeding import stream_seed
from ccenv.data import dataset_name
from ccenv.networks.core.abilities import PlaysWindows
from ccenv.networks.core.protocol import started
from ccenv.networks.core.unrolled import played
from ccenv.networks.learning.distillation import make_trainer
from ccenv.simulator.network_source import take_shipped
from ccenv.simulator.step import SimulatorParts

MAX_PENDING = 256
"""Finished batches that wait for their update at most; the newest stay."""


class CoTraining:
    """Batches that wait, updates of a network, and their losses.

    It belongs to one simulator, which is passed to its methods; frozen networks have none waiting.
    """

    trainer: Any
    """of the network, see `make_trainer`; there once it is seeded, in co-training alone."""

    def __init__(self, version: int = 0) -> None:
        """Starts with no batch; version: updates that the network has had."""
        self.pending: deque[tuple[Any, ...]] = deque(maxlen=MAX_PENDING)
        """of each batch its indices, masks of its rows that teach, and gate values if an agent
        gives some."""
        self.version = version
        self._start: tuple[Any, int] | None = None
        self._landed: list[Tensor] = []

    def seed(self, simulator: SimulatorParts, seed: int) -> None:
        """Gives the network fresh weights and a fresh optimiser."""
        network, source = simulator.network, simulator.source
        network.load_state_dict(source.build(stream_seed(seed, "initial weights")).state_dict())
        if simulator.weights_kwargs.get("start") == "shipped":
            take_shipped(network, source, dataset_name(simulator.dataset), simulator.transforms)
            network.requires_grad_(True)
        self.trainer = make_trainer(network, simulator.data, simulator.weights_kwargs)
        self.trainer.positions = simulator.positions
        self.version = 0

    def shares_start(self, simulator: SimulatorParts) -> bool:
        """Whether an update goes on from what the rollout computed before the first gate.

        Not where updates land between gates of a later batch.
        """
        is_learning = simulator.weights == "cotrain" and not simulator.is_sequence
        return is_learning and PlaysWindows in simulator.network.abilities and not lands(simulator)

    def begin(self, hidden: Any) -> None:
        """Keeps the hidden state of a batch before its first gate, None to compute it again."""
        self._start = None if hidden is None else (hidden, self.version)

    @property
    def start(self) -> Any:
        """Hidden state of the batch under way before its first gate, with its gradient.

        None where the network has changed since, or nothing is saved by it: it is computed then.
        """
        if self._start is None or self._start[1] != self.version:
            return None
        return self._start[0]

    def finish(self, simulator: SimulatorParts) -> None:
        """Puts the batch whose episode has ended among those that wait."""
        values = [simulator.gate_values] if simulator.gate_values else []
        self.pending.append((simulator.indices, simulator.masks, *values))

    def teach_by_every(self, every: int) -> None:
        """Of the newest finished batch every so many-th row teaches the network.

        Args:
            every: 1 for all rows; the group's size for the first row of each group.
        """
        if every > 1 and self.pending:
            indices, *parts = self.pending.pop()
            self.pending.append((indices, *([rows[::every] for rows in part] for part in parts)))

    def update(self, simulator: SimulatorParts) -> dict[str, float]:
        """One update for every batch that waits, oldest first; see `Simulator.update_network`."""
        while self.pending and not lands(simulator):
            loss = self.next_loss(simulator)
            loss.backward()
            self.finish_update(simulator, loss)
        landed, self._landed = self._landed, []
        losses = [x.item() for x in simulator.checks.on_host(dict(enumerate(landed))).values()]
        return {"network_loss": sum(losses) / len(losses)} if losses else {}

    def next_loss(self, simulator: SimulatorParts) -> Tensor:
        """The loss of the oldest batch that waits, see `CoTrainer.loss`."""
        indices, masks, *values = self.pending[0]
        network, start = simulator.network, None
        if simulator.is_sequence:
            # Positions of a sequence are neighbours, as of the split.
            length = simulator.positions
            sequences = indices[:: len(indices) // len(masks[0])]
            places = torch.arange(length, device=sequences.device)
            inputs, labels = simulator.data.batch((sequences[:, None] * length + places).flatten())
            masks, *values = (by_gate(part, simulator.num_layers) for part in (masks, *values))
        elif simulator.state is not None and indices is simulator.indices:
            # The batch that has just been walked through lies there still.
            inputs, labels = simulator.state.images, simulator.state.labels
            start, self._start = self.start, None
        else:
            inputs, _ = simulator.data.batch(indices[:: simulator.group_size])
            labels = simulator.data.labels.index_select(0, indices).long()
        if start is None and simulator.rule is not None and not simulator.is_sequence:
            start = started(network, inputs, played(network, inputs, simulator.rule))
        # Fewer masks than rows where only some of the rows teach.
        labels = labels[:: len(labels) // len(masks[0])]
        chosen = values[0] if values else None
        loss: Tensor = self.trainer.loss(inputs, labels, masks, "auto", chosen, start)
        return loss

    def finish_update(self, simulator: SimulatorParts, loss: Tensor) -> None:
        """One step down the gradient of the oldest batch, which waits no longer."""
        self.pending.popleft()
        self.trainer.step()
        if self.trainer.schedule_updates:
            simulator.network.after_update(self.trainer.num_updates / self.trainer.schedule_updates)
        self.version += 1
        self._landed.append(loss.detach())
        # On a device the weights are looked at there, with the next step.
        if not is_on_device(loss) and all_finite(loss.detach()):
            simulator.finite_weights.accept()


def by_gate(steps: Sequence[Tensor], num_layers: int) -> list[Tensor]:
    """Masks or values of each step of sequences, [batch, n] -> of each gate [batch * length, n]."""
    gates = range(num_layers)
    return [torch.stack([*steps[g::num_layers]], dim=1).flatten(0, 1) for g in gates]


def lands(simulator: SimulatorParts) -> bool:
    """Whether updates land between gates, and not in `update_network`."""
    return any(extension.lands_between_gates for extension in simulator.extensions)
