"""Programs for `ccenv.sparse.program`: (network, choosers) -> a table of instructions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.data import Scale
from ccenv.networks import GatedMLP, gated_widths, linear_at
from ccenv.observations import pool_window
from ccenv.registry import check_names
from ccenv.sparse import program as ops
from ccenv.sparse.tiles import NONE, RELU, TANH

RULES = {
    "top_k": ops.TOP_K,
    "drawn_k": ops.TOP_K,
    "likely": ops.LIKELY,
    "drawn": ops.DRAWN,
}
DRAWN_RULES = ("drawn_k", "drawn")
ACTIVATIONS = {None: NONE, "tanh": TANH, "relu": RELU}
LANES = 16
QUARTER = 4
"""Blocks are filled up to a multiple of so many units: others take up to twice as long."""


@dataclass(frozen=True)
class Chooser:
    """How the mask of one gated layer is chosen from what the policy looks at."""

    maps: Sequence[tuple[Tensor, Tensor | None]] | Tensor
    """affine maps (weight [out, in], bias [out] or None) from look to scores, tanh in between;
    or float32 [blocks], scores that are the same for every image."""
    rule: str = "likely"
    """"top_k" keeps the best k, "drawn_k" draws k one after the other with softmax probabilities
    (Kool, van Hoof, Welling 2019), "likely" keeps those of positive score, "drawn" each one with
    probability low + (1 - 2 low) sigmoid(score)."""
    num_kept: int = 1
    """k of "top_k" and "drawn_k"."""
    low: float = 0.0
    """lowest keep probability of "drawn", to a millionth."""


@dataclass(frozen=True)
class Pixels:
    """Images as they are stored: bytes, perhaps of twice the height and width."""

    window: int = 1
    """1, or 2: averages over 2 x 2 pixels, rounded to bytes, are what the network sees."""
    scale: Scale | None = None
    """mean and standard deviation by channel, of shares of 255."""


@dataclass
class Writer:
    """A program under construction."""

    codes: list[list[int]] = field(default_factory=list)
    """instructions so far."""
    floats: int = 0
    """workspace of a row so far."""
    kept: list[Tensor] = field(default_factory=list)
    """tensors whose addresses stand in the program."""

    def place(self, floats: int) -> int:
        """Reserves a place for `floats` of each row, whole cache lines."""
        start = self.floats
        self.floats += -(-floats // LANES) * LANES
        return start

    def write(self, op: int, source: int, target: int, *numbers: int) -> None:
        """Adds an instruction."""
        code = [op, source, target, *numbers]
        self.codes.append(code + [0] * (ops.FIELDS - len(code)))

    def keep(self, tensor: Tensor) -> int:
        """Keeps a contiguous float32 tensor as long as the program; returns its address."""
        tensor = tensor.detach().float().contiguous()
        # A copy, so that the program's numbers never change under it.
        tensor = tensor.clone()
        self.kept.append(tensor)
        return tensor.data_ptr()

    def layer(
        self,
        weight: Tensor,
        bias: Tensor | None,
        source: int,
        activation: str | None,
        masks: tuple[int, int],
        blocks: tuple[int, int],
    ) -> int:
        """Adds a layer of a weight [out, in] and returns the place of its result."""
        (units, features), (in_blocks, out_blocks) = weight.shape, blocks
        panels = weight.unflatten(0, (out_blocks, -1)).transpose(1, 2)
        target = self.place(units)
        out_size = units // out_blocks
        self.write(
            ops.LAYER,
            source,
            target,
            *masks,
            self.keep(panels),
            out_size,
            features * out_size,
            0 if bias is None else self.keep(bias),
            in_blocks,
            features // in_blocks,
            out_blocks,
            out_size,
            ACTIVATIONS[activation],
        )
        return target


def padded(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Adds outputs of zero up to a whole vector: narrow layers run as fast as wide ones."""
    extra = -weight.shape[0] % LANES
    rows = pad(weight.detach(), (0, 0, 0, extra))
    return rows, None if bias is None else pad(bias.detach(), (0, extra))


def filled(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Adds zeros behind each block of `size` along a dimension, up to a multiple of `QUARTER`.

    >>> filled(Tensor([1, 1, 1, 1, 1, 1]), 0, 3)
    tensor([1., 1., 1., 0., 1., 1., 1., 0.])
    """
    blocks = tensor.detach().unflatten(dim, (-1, size))
    behind = [0, 0] * (blocks.ndim - dim - 2)
    return pad(blocks, (*behind, 0, -size % QUARTER)).flatten(dim, dim + 1)


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


def write_chooser(
    writer: Writer,
    chooser: Chooser,
    layer: int,
    blocks: int,
    look: int,
    size: int,
    masks: tuple[int, int] = (ops.NO_MASK, 1),
    block_size: int = 0,
) -> None:
    """Adds the instructions that choose one layer's mask.

    Args:
        writer: of the program.
        chooser: how.
        layer: number of the gated layer.
        blocks: number of its blocks.
        look: place of what the policy looks at.
        size: floats of it.
        masks: layer whose mask zeroes the look, and its number of blocks.
        block_size: units of a block of the look, which lie there filled up; 0 of what has none.

    Raises:
        ValueError: if the maps do not lead from look to blocks, or the rule is unknown.
    """
    check_names([chooser.rule], RULES, "rule")
    if not 1 <= chooser.num_kept <= blocks:
        raise ValueError(f"expected num_kept in 1..{blocks}, got {chooser.num_kept}")
    if isinstance(chooser.maps, Tensor):
        look = write_constant(writer, chooser.maps, blocks)
    else:
        look = write_maps(writer, chooser.maps, blocks, look, size, masks, block_size)
    width = -(-blocks // LANES) * LANES
    if chooser.rule == "drawn_k":
        writer.write(ops.GUMBEL, look, look, layer, blocks, width)
    extra = round(1e6 * chooser.low) if chooser.rule == "drawn" else chooser.num_kept
    writer.write(RULES[chooser.rule], look, 0, layer, blocks, width, extra)


def write_constant(writer: Writer, scores: Tensor, blocks: int) -> int:
    """Adds scores that are the same for every image; returns their place."""
    if scores.shape != (blocks,):
        raise ValueError(f"expected {blocks} scores, got {list(scores.shape)}")
    width = -(-blocks // LANES) * LANES
    place = writer.place(width)
    writer.write(ops.FILL, place, place, writer.keep(pad(scores, (0, width - blocks))), width)
    return place


def write_maps(
    writer: Writer,
    maps: Sequence[tuple[Tensor, Tensor | None]],
    blocks: int,
    look: int,
    size: int,
    masks: tuple[int, int],
    block_size: int,
) -> int:
    """Adds the maps from what the policy looks at to scores; returns the scores' place."""
    sizes = [size, *(weight.shape[0] for weight, _ in maps)]
    if [weight.shape[1] for weight, _ in maps] != sizes[:-1] or sizes[-1] != blocks:
        raise ValueError(
            f"expected maps from {size} features to {blocks} scores, got "
            f"{[(weight.shape[1], weight.shape[0]) for weight, _ in maps]}"
        )
    before, in_blocks = masks
    for step, (weight, bias) in enumerate(maps):
        is_last = step == len(maps) - 1
        if step == 0 and block_size:
            weight = filled(weight, 1, block_size)
        if is_last:
            weight, bias = padded(weight, bias)
        activation = None if is_last else "tanh"
        look = writer.layer(weight, bias, look, activation, (before, ops.NO_MASK), (in_blocks, 1))
        before, in_blocks = ops.NO_MASK, 1
    return look
