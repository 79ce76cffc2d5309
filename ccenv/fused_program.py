"""Programs for `ccenv.sparse.program`: (network, choosers) -> a table of instructions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.choosers import Chooser, write_chooser
from ccenv.data import Scale
from ccenv.fused_writer import QUARTER, Writer, filled, padded
from ccenv.networks import GatedMLP, gated_widths, linear_at
from ccenv.observations import pool_window
from ccenv.sparse import program as ops


@dataclass(frozen=True)
class Pixels:
    """Images as they are stored: bytes, perhaps of twice the height and width."""

    window: int = 1
    """1, or 2: averages over 2 x 2 pixels, rounded to bytes, are what the network sees."""
    scale: Scale | None = None
    """mean and standard deviation by channel, of shares of 255."""


def check_pixels(
    pixels: Pixels, image_shape: tuple[int, int, int] | None, in_features: int
) -> None:
    """Refuses pixels that do not lead to what a network sees.

    Raises:
        ValueError: saying what does not fit.
    """
    if pixels.window not in (1, 2):
        raise ValueError(f"expected a window of 1 or 2 pixels, got {pixels.window}")
    if image_shape is None or math.prod(image_shape) != in_features:
        raise ValueError(
            f"expected image_shape (channels, height, width) of {in_features} pixels in all, "
            f"got {image_shape}"
        )
    parts = pixels.scale or ()
    if any(part.shape != (image_shape[0],) for part in parts):
        shapes = [list(part.shape) for part in parts]
        raise ValueError(f"expected a scale [{image_shape[0]}] of the channels, got {shapes}")


def write_network(
    writer: Writer,
    network: GatedMLP,
    choosers: Sequence[Chooser] | None,
    observation: str,
    image_shape: tuple[int, int, int] | None,
    pixels: Pixels | None,
) -> None:
    """Adds a whole network; arguments as those of `FusedClassifier`."""
    widths = [network.in_features, *gated_widths(network)]
    images, before, blocks = ops.IMAGES, ops.NO_MASK, 1
    if pixels is not None:
        assert image_shape is not None
        images = write_pixels(writer, pixels, image_shape)
    source = images
    for index, own in enumerate(network.num_blocks):
        if choosers is not None and observation == "summary":
            assert image_shape is not None
            look, size = write_summary(writer, images, source, index, image_shape, network)
            write_chooser(writer, choosers[index], index, own, look, size)
        elif choosers is not None:
            masks, size = (before, blocks), widths[index] // blocks if index else 0
            write_chooser(writer, choosers[index], index, own, source, widths[index], masks, size)
        layer, out_size = linear_at(network.layers, index), network.block_sizes[index]
        weight, bias = filled(layer.weight, 0, out_size), filled(layer.bias, 0, out_size)
        if index:
            weight = filled(weight, 1, network.block_sizes[index - 1])
        source = writer.layer(
            weight, bias, source, network.activation, (before, index), (blocks, own)
        )
        before, blocks = index, own
    write_head(writer, network, source, (before, blocks))


def write_head(writer: Writer, network: GatedMLP, source: int, masks: tuple[int, int]) -> None:
    """Adds the dense layers after the gated ones; `masks` of the first one's input."""
    before, blocks = masks
    last = len(network.head_sizes) - 1
    for index in range(last + 1):
        layer = linear_at(network.head_layers, index)
        weight: Tensor = layer.weight
        bias: Tensor | None = layer.bias
        if index == 0:
            weight = filled(weight, 1, network.block_sizes[-1])
        if index == last:
            weight, bias = padded(weight, bias)
        activation = None if index == last else network.activation
        source = writer.layer(weight, bias, source, activation, (before, ops.NO_MASK), (blocks, 1))
        before, blocks = ops.NO_MASK, 1
    writer.write(ops.COPY, source, ops.LOGITS, weight.shape[0], network.head_sizes[-1])


def write_pixels(writer: Writer, pixels: Pixels, image_shape: tuple[int, int, int]) -> int:
    """Adds what makes floats of bytes; returns their place."""
    mean, sd = pixels.scale or (torch.zeros(image_shape[0]), torch.ones(image_shape[0]))
    scales = torch.stack([1 / (255 * sd), -mean / sd], dim=1)
    place = writer.place(math.prod(image_shape))
    at_scales = writer.keep(scales)
    writer.write(ops.PIXELS, ops.IMAGES, place, *image_shape, pixels.window, at_scales)
    return place


def write_summary(
    writer: Writer,
    images: int,
    hidden: int,
    index: int,
    image_shape: tuple[int, int, int],
    network: GatedMLP,
) -> tuple[int, int]:
    """Adds the cheap look of a gated layer; returns its place and its number of floats."""
    channels, height, width = image_shape
    windows = [pool_window(side) for side in (height, width)]
    sides = zip((height, width), windows, strict=True)
    pooled = channels * math.prod(-(-side // window) for side, window in sides)
    norms = network.num_blocks[index - 1] if index else 0
    place, size = writer.place(pooled + norms), pooled + norms
    writer.write(ops.POOL, images, place, size, *image_shape, *windows)
    if index:
        block_size = network.block_sizes[index - 1]
        apart = block_size + -block_size % QUARTER
        writer.write(ops.NORMS, hidden, place, size, norms, block_size, pooled, apart, index - 1)
    return place, size
