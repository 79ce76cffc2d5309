"""Parameters of a network: which of them no computation reads, and whether all are finite.

A block that is off for a request is not computed for it: neither its weights and biases, nor the
weights by which the next layer reads it, reach the answer. Off means off for every single request,
not on average.

All weights are checked only after they have changed, which torch counts (`Tensor._version`). Values
written through `tensor.data` are not counted: the answers at the end of the episode tell of those.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ccenv.base.checked_file import check_finite
from ccenv.base.checks import AT_ONCE, Checks
from ccenv.networks.core.abilities import Owns, ability
from ccenv.networks.core.protocol import GatedNetwork, num_blocks_of


def off_for_all(masks: Sequence[Tensor]) -> list[Tensor]:
    """Blocks that no row keeps: bool [rows, num_blocks] of the gates so far -> bool [num_blocks].

    >>> off_for_all([torch.tensor([[True, False, False], [False, False, True]])])[0].tolist()
    [False, True, False]
    """
    return [~mask.any(dim=0) for mask in masks]


def inactive_entries(network: GatedNetwork, masks: Sequence[Tensor]) -> dict[str, Tensor]:
    """Which entries of the parameters are read by blocks alone that are off for every row.

    In a fully connected network these are a block's incoming weights and biases, and the columns by
    which the next layer reads it: name -> bool of the parameter's shape. Masks are bool [rows,
    num_blocks] of the gates that are decided, from the first on; the others count as on.
    """
    off, device = off_for_all(masks), masks[0].device if masks else None
    for blocks in num_blocks_of(network)[len(masks) :]:
        off.append(torch.zeros(blocks, dtype=torch.bool, device=device))
    entries: dict[Tensor, Tensor] = {}
    owner = ability(network, Owns)
    for parameter, unread in [] if owner is None else owner.unread_entries(off):
        entries[parameter] = entries[parameter] & unread if parameter in entries else unread
    return {
        name: entries.get(parameter, torch.zeros_like(parameter, dtype=torch.bool))
        for name, parameter in network.named_parameters()
    }


Place = tuple[Mapping[str, Tensor | None], str, Tensor | None, int]
"""Tensors of a module, the name of one, which it was, and its version."""
UNCOUNTED = -1
"""Version of what has none: no tensor, or one that was made in inference mode."""


class FiniteWeights:
    """Remembers in which state the weights of a network were found finite."""

    def __init__(self, network: nn.Module) -> None:
        """Takes a network, whose parameters and buffers are read, also those that replace them."""
        self.network = network
        self._checked: list[Place] | None = None

    def check(self, checks: Checks = AT_ONCE) -> None:
        """Looks at all weights if they have changed since the last time.

        Raises:
            ValueError: naming the first tensor with a value that is infinite or not a number; where
                `checks` say.
        """
        if self._checked is None or self._has_changed():
            check_finite(self.network.state_dict(), "the network", checks)
            self.accept()

    def accept(self) -> None:
        """Takes the weights as they are for finite, after an update whose loss is."""
        self._checked = [
            (tensors, name, tensor, writes_of(tensor))
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


def writes_of(tensor: Tensor | None) -> int:
    """How often a tensor was changed in place."""
    return UNCOUNTED if tensor is None or tensor.is_inference() else tensor._version
