"""Programs for `ccenv.deploy.fused.program`: (network, choosers) -> a table of instructions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.deploy.fused import program as ops
from ccenv.deploy.fused.choosers import Chooser, write_chooser
from ccenv.deploy.fused.writer import QUARTER, Writer, filled, filled_size, padded
from ccenv.mdp.observations import pool_window
from ccenv.networks.core.mlp import GatedMLP, gated_widths, linear_at
from ccenv.sparse.routes import pair_macs


def write_network(
    writer: Writer,
    network: GatedMLP,
    choosers: Sequence[Chooser] | None,
    observation: str,
    image_shape: tuple[int, ...] | None,
) -> None:
    """Adds a whole network; arguments as those of `FusedClassifier`."""
    widths = [network.in_features, *gated_widths(network)]
    hidden = Hidden(ops.IMAGES)
    for index, own in enumerate(network.num_blocks):
        if choosers is not None and observation == "summary":
            assert image_shape is not None
            look, length = write_summary(writer, hidden, index, image_shape, network)
            write_chooser(writer, choosers[index], index, own, look, length)
        elif choosers is not None:
            look, length, masks = hidden.place, widths[index], (hidden.mask, hidden.blocks)
            write_chooser(writer, choosers[index], index, own, look, length, masks, hidden.filled)
        write_gated = write_whole if is_whole(network, choosers, index) else write_skipping
        hidden = write_gated(writer, network, index, hidden)
    write_head(writer, network, hidden)


def is_whole(network: GatedMLP, choosers: Sequence[Chooser] | None, index: int) -> bool:
    """Whether a gated layer is computed whole, with zeros put where blocks were not kept.

    Only blocks of less than a quarter of a vector, which take the time of a quarter, where the
    kernels are expected to take longer; never beside weights that a zero does not keep out.
    """
    size, blocks = network.block_sizes[index], network.num_blocks[index]
    if size >= QUARTER or not all_finite(network, choosers):
        return False
    widths = [network.in_features, *gated_widths(network), network.head_sizes[0]]
    before, units, after = widths[index : index + 3]
    share = 0.5 if choosers is None else choosers[index].expected_share(blocks)

    skipping = share * blocks * sum(pair_macs(side, filled_size(size)) for side in (before, after))
    return skipping > units * (before + after)


def all_finite(network: GatedMLP, choosers: Sequence[Chooser] | None) -> bool:
    """Whether no weight of a network and of the maps that look at it is infinite or NaN."""
    maps = [chooser.maps for chooser in choosers or () if not isinstance(chooser.maps, Tensor)]
    weights = [*network.parameters(), *(weight for chain in maps for weight, _ in chain)]
    return all(bool(torch.isfinite(weight).all()) for weight in weights)


@dataclass(frozen=True)
class Hidden:
    """What a layer reads."""

    place: int
    """where it begins in the workspace."""
    mask: int = ops.NO_MASK
    """gated layer whose skipped blocks were not written there."""
    blocks: int = 1
    """its number of blocks."""
    filled: int = 0
    """units of a block that lies there filled up; 0 where nothing is."""

    def reading(self, weight: Tensor) -> Tensor:
        """A weight [out, in], its inputs filled up in the same way."""
        return filled(weight, 1, self.filled) if self.filled else weight


def write_skipping(writer: Writer, network: GatedMLP, index: int, hidden: Hidden) -> Hidden:
    """Adds a gated layer whose skipped blocks are not computed."""
    layer, size = linear_at(network.layers, index), network.block_sizes[index]
    blocks = network.num_blocks[index]
    weight, bias = hidden.reading(filled(layer.weight, 0, size)), filled(layer.bias, 0, size)
    masks, sides = (hidden.mask, index), (hidden.blocks, blocks)
    place = writer.layer(weight, bias, hidden.place, network.activation, masks, sides)
    return Hidden(place, index, blocks, size)


def write_whole(writer: Writer, network: GatedMLP, index: int, hidden: Hidden) -> Hidden:
    """Adds a gated layer of which all is computed, and zeros for the blocks that are not kept."""
    layer, blocks = linear_at(network.layers, index), network.num_blocks[index]
    weight = hidden.reading(layer.weight)
    masks, sides = (hidden.mask, ops.NO_MASK), (hidden.blocks, 1)
    place = writer.layer(weight, layer.bias, hidden.place, network.activation, masks, sides)
    writer.write(ops.BLANK, place, place, index, blocks, network.block_sizes[index])
    return Hidden(place)


def write_head(writer: Writer, network: GatedMLP, hidden: Hidden) -> None:
    """Adds the dense layers after the gated ones."""
    last = len(network.head_sizes) - 1
    for index in range(last + 1):
        layer = linear_at(network.head_layers, index)
        weight = hidden.reading(layer.weight)
        bias: Tensor | None = layer.bias
        if index == last:
            weight, bias = padded(weight, bias)
        activation = None if index == last else network.activation
        masks, sides = (hidden.mask, ops.NO_MASK), (hidden.blocks, 1)
        hidden = Hidden(writer.layer(weight, bias, hidden.place, activation, masks, sides))
    writer.write(ops.COPY, hidden.place, ops.LOGITS, weight.shape[0], network.head_sizes[-1])


def write_summary(
    writer: Writer,
    hidden: Hidden,
    index: int,
    image_shape: tuple[int, ...],
    network: GatedMLP,
) -> tuple[int, int]:
    """Adds the cheap look of a gated layer; returns its place and its number of floats."""
    channels, height, width = image_shape
    windows = [pool_window(side) for side in (height, width)]
    sides = zip((height, width), windows, strict=True)
    pooled = channels * math.prod(-(-side // window) for side, window in sides)
    norms = network.num_blocks[index - 1] if index else 0
    place, size = writer.place(pooled + norms), pooled + norms
    writer.write(ops.POOL, ops.IMAGES, place, size, *image_shape, *windows)
    if index:
        block_size = network.block_sizes[index - 1]
        apart = filled_size(block_size) if hidden.filled else block_size
        numbers = (size, norms, block_size, pooled, apart, index - 1)
        writer.write(ops.NORMS, hidden.place, place, *numbers)
    return place, size
