"""Gate values in co-training: (trainer, values chosen in the episode) -> blocks multiplied by them.

A mixture of experts weighs what its experts answer, and a network that ponders shares its answer
between exits: a network that learns under bare masks would learn for another sum. The values are
numbers here; what chose them learns from its own gradient.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor


class WithGateValues:
    """A network whose steps take gate values that were chosen before; all else is the network's."""

    def __init__(self, network: Any, values: Sequence[Tensor]) -> None:
        """Takes both.

        Args:
            network: a `GatedNetwork`.
            values: float [rows, num_blocks] for each gate.

        Raises:
            ValueError: if there is not one for each gate.
        """
        if len(values) != len(network.gates):
            raise ValueError(
                f"expected gate values at every one of {len(network.gates)} gates, or at none, got "
                f"{len(values)}"
            )
        self._network, self._values = network, values

    def __getattr__(self, name: str) -> Any:
        """What the network has."""
        return getattr(self._network, name)

    def step(
        self,
        gate: int,
        hidden: Any,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Any:
        """See `GatedNetwork.step`; the weights are the values."""
        return self._network.step(gate, hidden, mask, self._values[gate], backend)


@contextlib.contextmanager
def weighted(trainer: Any, values: Sequence[Tensor] | None = None) -> Iterator[None]:
    """Lets a `CoTrainer` update its network with gate values for a while; None changes nothing."""
    network = trainer.network
    try:
        if values is not None:
            trainer.network = WithGateValues(network, values)
        yield
    finally:
        trainer.network = network
