"""Copies of weights as the kernels read them fastest: one output block's weights after the other.

A layer whose blocks are 32 units wide reads 128 bytes here and 128 bytes a page further on; side
by side, the processor fetches ahead. The copy is kept for as long as the weight stays as it is:
a weight that is being trained is read where it lies.
"""

import weakref
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Entry:
    """What is known of one weight tensor."""

    weight: weakref.ref[Tensor]
    """the tensor itself: numbers of objects and addresses are used again, tensors are not."""
    version: int
    """torch's count of changes in place when last seen."""
    address: int
    """where its numbers lay."""
    panels: dict[int, Tensor]
    """number of output blocks -> [out_blocks, in_features, out_size] contiguous."""


_entries: dict[int, Entry] = {}


def panels_of(weight: Tensor, out_blocks: int) -> Tensor | None:
    """The weight [out_features, in_features] as [out_blocks, in_features, out_size].

    Returns:
        A contiguous copy, or None for a weight that was never seen as it is now (one pass over it
        would cost more than a small layer) or lies as one block anyway.
    """
    if out_blocks == 1 or weight.is_inference():
        return None
    key, version, address = id(weight), weight._version, weight.data_ptr()
    entry = _entries.get(key)
    if (
        entry is None
        or entry.weight() is not weight
        or entry.version != version
        or entry.address != address
    ):
        forget = weakref.ref(weight, lambda _: _entries.pop(key, None))
        _entries[key] = Entry(forget, version, address, {})
        return None
    if out_blocks not in entry.panels:
        blocks = weight.detach().unflatten(0, (out_blocks, -1))
        entry.panels[out_blocks] = blocks.transpose(1, 2).contiguous()
    return entry.panels[out_blocks]
