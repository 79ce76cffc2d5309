"""Refuses weights that are not finite: (a network, before an episode) -> an error.

All weights are read only after they have changed, which torch counts (`Tensor._version`); else a
look takes a few microseconds. Values written through `tensor.data` are not counted: the answers at
the end of the episode tell of those.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ccenv.base.checked_file import check_finite

Place = tuple[Mapping[str, Tensor | None], str, Tensor | None, int]
"""Tensors of a module, the name of one, which it was, and its version."""
UNCOUNTED = -1
"""Version of what has none: no tensor, or one that was made in inference mode."""


class FiniteWeights:
    """Remembers in which state the weights of a network were found finite."""

    def __init__(self, network: nn.Module) -> None:
        """Reads no weights yet.

        Args:
            network: whose parameters and buffers are read, also those that replace them.
        """
        self.network = network
        self._checked: list[Place] | None = None

    def check(self) -> None:
        """Reads all weights if they have changed since the last time.

        Raises:
            ValueError: naming the first tensor with a value that is infinite or not a number.
        """
        if self._checked is None or self._has_changed():
            check_finite(self.network.state_dict(), "the network")
            self.accept()

    def accept(self) -> None:
        """Takes the weights as they are for finite, after an update whose loss is."""
        self._checked = [
            (tensors, name, tensor, version(tensor))
            for module in self.network.modules()
            for tensors in (module._parameters, module._buffers)
            for name, tensor in tensors.items()
        ]

    def _has_changed(self) -> bool:
        assert self._checked is not None
        for tensors, name, tensor, count in self._checked:
            if tensors.get(name) is not tensor:
                return True
            if tensor is not None and count != UNCOUNTED and tensor._version != count:
                return True
        return False


def version(tensor: Tensor | None) -> int:
    """How often a tensor was changed in place."""
    return UNCOUNTED if tensor is None or tensor.is_inference() else tensor._version
