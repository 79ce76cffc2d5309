"""Copies of frozen weights as the kernels read them fastest: one output block after the other.

A layer whose blocks are 32 units wide reads 128 bytes here and 128 bytes a page further on; side
by side, the processor fetches ahead. Only weights that the caller has declared constant
(`keep_panels`) are copied: a change through `weight.data` is not counted by torch, and the copy
would then be out of date.
"""

import weakref
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class Entry:
    """What is kept of one weight tensor."""

    weight: weakref.ref[Tensor]
    """the tensor itself: numbers of objects and addresses are used again, tensors are not."""
    state: tuple[int, int]
    """address, and torch's count of changes in place, when the copies were made."""
    panels: dict[int, Tensor]
    """number of output blocks -> [out_blocks, in_features, out_size] contiguous."""


_entries: dict[int, Entry] = {}


def keep_panels(network: nn.Module) -> None:
    """Promises that a network's weights stay as they are, so that the kernels may keep copies.

    Changes in place that torch counts (an optimiser's, `load_state_dict`) are noticed all the
    same; changes through `.data` are not. The promise is not copied or pickled with the network.
    """
    for weight in network.parameters():
        if weight.ndim == 2:
            remember(weight)


def remember(weight: Tensor) -> None:
    """Opens an entry for a weight, which goes when the weight does."""
    key = id(weight)

    def forget(_: weakref.ref[Tensor]) -> None:
        _entries.pop(key, None)

    state = (weight.data_ptr(), weight._version)
    _entries[key] = Entry(weakref.ref(weight, forget), state, {})


def panels_of(weight: Tensor, out_blocks: int) -> Tensor | None:
    """The weight [out_features, in_features] as [out_blocks, in_features, out_size].

    Returns:
        A contiguous copy, or None for a weight that was not declared constant or that is one
        block anyway.
    """
    entry = _entries.get(id(weight))
    if entry is None or entry.weight() is not weight or out_blocks == 1:
        return None
    state = (weight.data_ptr(), weight._version)
    if entry.state != state:
        entry.state, entry.panels = state, {}
    if out_blocks not in entry.panels:
        blocks = weight.detach().unflatten(0, (out_blocks, -1))
        entry.panels[out_blocks] = blocks.transpose(1, 2).contiguous()
    return entry.panels[out_blocks]
