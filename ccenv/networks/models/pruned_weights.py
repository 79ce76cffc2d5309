"""Weights that become fewer while they learn: (layers, MACs to leave) -> which weights are kept.

Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model
compression" (arXiv 1710.01878).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FLOAT_BYTES, POINTER_BYTES = 4, 4
SHORT_INDEX = 2**16
"""A row of fewer weights than this has indices of two bytes."""


class PrunedWeights(nn.Module):
    """Part of a stage: layers whose smallest weights are given up, and which of them are left."""

    layers: Sequence[nn.Linear | nn.Conv2d]
    places: list[int]

    def watch(self, layers: Sequence[nn.Linear | nn.Conv2d]) -> None:
        """Begins with all weights of these layers, each used once for an input."""
        # A tuple, which torch does not register: they belong to the stage under their own names.
        self.layers = tuple(layers)
        for number, layer in enumerate(self.layers):
            everything = torch.ones_like(layer.weight, dtype=torch.bool)
            self.register_buffer(f"kept_{number}", everything)
        self.places = [1] * len(self.layers)

    def kept(self) -> list[Tensor]:
        """Which weights of each layer are not pruned: bool, as the weights."""
        return [self.get_buffer(f"kept_{number}") for number in range(len(self.layers))]

    def kept_macs(self) -> int:
        """Multiply-accumulates of one input."""
        pairs = zip(self.kept(), self.places, strict=True)
        return sum(int(kept.sum()) * places for kept, places in pairs)

    @torch.no_grad()
    def prune(self, macs: int) -> None:
        """Gives up the smallest weights of all layers until no more MACs than these are left."""
        kept = self.kept()
        # Those that are gone are the smallest, however far the optimiser has moved them.
        sizes = [
            torch.where(k, layer.weight.abs(), -1.0)
            for k, layer in zip(kept, self.layers, strict=True)
        ]
        order = torch.cat([size.flatten() for size in sizes]).argsort(stable=True)
        costs = [k * places for k, places in zip(kept, self.places, strict=True)]
        left = self.kept_macs() - torch.cat([c.flatten() for c in costs])[order].cumsum(0)
        gone = order[: int((left > macs).sum()) + 1]
        parts = torch.ones_like(order, dtype=torch.bool).index_fill(0, gone, False)
        for own, part in zip(kept, parts.split([k.numel() for k in kept]), strict=True):
            own &= part.view(own.shape)

    @torch.no_grad()
    def clear(self) -> None:
        """Weights that were pruned are zero again, wherever an optimiser has moved them."""
        for kept, layer in zip(self.kept(), self.layers, strict=True):
            layer.weight.mul_(kept)

    def memory_bytes(self) -> int:
        """Of kept values with their indices, row by row, and of biases and row pointers."""
        total = 0
        for kept, layer in zip(self.kept(), self.layers, strict=True):
            rows, columns = kept.flatten(1).shape
            index = 2 if columns < SHORT_INDEX else 4
            total += int(kept.sum()) * (FLOAT_BYTES + index) + (rows + 1) * POINTER_BYTES
            total += 0 if layer.bias is None else layer.bias.numel() * FLOAT_BYTES
        return total
