"""Programs for `ccenv.sparse.program`: (network, choosers) -> a table of instructions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor
from torch.nn.functional import pad

from ccenv.networks import GatedMLP, gated_widths, linear_at
from ccenv.observations import pool_window
from ccenv.registry import check_names
from ccenv.sparse import program as ops
from ccenv.sparse.tiles import NONE, RELU, TANH

RULES = {"top_k": ops.TOP_K, "likely": ops.LIKELY, "drawn": ops.DRAWN}
ACTIVATIONS = {None: NONE, "tanh": TANH, "relu": RELU}
LANES = 16


@dataclass(frozen=True)
class Chooser:
    """How the mask of one gated layer is chosen from what the policy looks at."""

    maps: Sequence[tuple[Tensor, Tensor | None]]
    """affine maps (weight [out, in], bias [out] or None) from look to scores, tanh in between."""
    rule: str = "likely"
    """"top_k" keeps the best k, "likely" those of positive score, "drawn" draws each one with
    probability low + (1 - 2 low) sigmoid(score)."""
    num_kept: int = 1
    """k of "top_k"."""
    low: float = 0.0
    """lowest keep probability of "drawn", to a millionth."""


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


def write_network(
    writer: Writer,
    network: GatedMLP,
    choosers: Sequence[Chooser] | None,
    observation: str,
    image_shape: tuple[int, int, int] | None,
) -> None:
    """Adds a whole network; arguments as those of `FusedClassifier`."""
    widths = [network.in_features, *gated_widths(network)]
    source, before, blocks = ops.IMAGES, ops.NO_MASK, 1
    for index, own in enumerate(network.num_blocks):
        if choosers is not None and observation == "summary":
            assert image_shape is not None
            look, size = write_summary(writer, source, index, image_shape, network)
            write_chooser(writer, choosers[index], index, own, look, size)
        elif choosers is not None:
            masks = (before, blocks)
            write_chooser(writer, choosers[index], index, own, source, widths[index], masks)
        layer = linear_at(network.layers, index)
        source = writer.layer(
            layer.weight, layer.bias, source, network.activation, (before, index), (blocks, own)
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
        if index == last:
            weight, bias = padded(weight, bias)
        activation = None if index == last else network.activation
        source = writer.layer(weight, bias, source, activation, (before, ops.NO_MASK), (blocks, 1))
        before, blocks = ops.NO_MASK, 1
    writer.write(ops.COPY, source, ops.LOGITS, weight.shape[0], network.head_sizes[-1])


def write_summary(
    writer: Writer,
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
    writer.write(ops.POOL, ops.IMAGES, place, size, *image_shape, *windows)
    if index:
        block_size = network.block_sizes[index - 1]
        writer.write(ops.NORMS, hidden, place, size, norms, block_size, pooled)
    return place, size


def write_chooser(
    writer: Writer,
    chooser: Chooser,
    layer: int,
    blocks: int,
    look: int,
    size: int,
    masks: tuple[int, int] = (ops.NO_MASK, 1),
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

    Raises:
        ValueError: if the maps do not lead from look to blocks, or the rule is unknown.
    """
    check_names([chooser.rule], RULES, "rule")
    sizes = [size, *(weight.shape[0] for weight, _ in chooser.maps)]
    inner = [weight.shape[1] for weight, _ in chooser.maps]
    if inner != sizes[:-1] or sizes[-1] != blocks or not 1 <= chooser.num_kept <= blocks:
        raise ValueError(
            f"expected maps from {size} features to {blocks} scores and num_kept in 1..{blocks}, "
            f"got {list(pairwise(sizes))} and {chooser.num_kept}"
        )
    before, in_blocks = masks
    for step, (weight, bias) in enumerate(chooser.maps):
        is_last = step == len(chooser.maps) - 1
        if is_last:
            weight, bias = padded(weight, bias)
        activation = None if is_last else "tanh"
        look = writer.layer(weight, bias, look, activation, (before, ops.NO_MASK), (in_blocks, 1))
        before, in_blocks = ops.NO_MASK, 1
    extra = {"top_k": chooser.num_kept, "drawn": round(1e6 * chooser.low)}.get(chooser.rule, 0)
    width = -(-blocks // LANES) * LANES
    writer.write(RULES[chooser.rule], look, 0, layer, blocks, width, extra)
