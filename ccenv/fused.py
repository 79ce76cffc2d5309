"""A network and its policy in one compiled call: (network, choosers) -> images to logits and masks.

For one image the calls between layers take longer than the layers themselves: here there is one
call in all. It computes what `GatedMLP` and an affine policy compute, to rounding; of equal scores
the first one counts.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ccenv.networks import GatedMLP, gated_widths, linear_at
from ccenv.observations import pool_window
from ccenv.registry import check_names
from ccenv.sparse import program as ops
from ccenv.sparse.tiles import NONE, RELU, TANH

RULES = {"top_k": ops.TOP_K, "likely": ops.LIKELY, "drawn": ops.DRAWN}
ACTIVATIONS = {None: NONE, "tanh": TANH, "relu": RELU}
LANES = 16
# Rows at once: enough to share weights, few enough that what lies between layers stays in cache.
CHUNK_BYTES, MIN_CHUNK = 1 << 19, 64


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
    rows = torch.nn.functional.pad(weight.detach(), (0, 0, 0, extra))
    return rows, None if bias is None else torch.nn.functional.pad(bias.detach(), (0, extra))


def why_not_fused(network: Any) -> str | None:
    """Why a network cannot run in one compiled call, None where it can."""
    own = [getattr(type(network), name, None) for name in ("gated_layer", "head")]
    if own != [GatedMLP.gated_layer, GatedMLP.head]:
        return "its layers are not those of GatedMLP"
    if network.activation not in ACTIVATIONS:
        return f"its activation is {network.activation!r}, not one of tanh and relu"
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    return None if kinds == {("cpu", torch.float32)} else "it is not float32 on the CPU"


class FusedClassifier:
    """Images to logits in one compiled call, on copies of the weights as they are now."""

    def __init__(
        self,
        network: GatedMLP,
        choosers: Sequence[Chooser] | None = None,
        *,
        observation: str = "layer_input",
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        """Writes the program.

        Args:
            network: a `GatedMLP`, float32 on the CPU.
            choosers: one for each gated layer; None where the caller gives masks.
            observation: what the policy looks at, "layer_input" or "summary"; without the zeros
                and the layer's index that pad an observation.
            image_shape: channels, height and width, for "summary".

        Raises:
            ValueError: if the network cannot be fused, or choosers do not fit it.
        """
        reason = why_not_fused(network)
        if reason is not None:
            raise ValueError(f"cannot fuse {type(network).__name__}: {reason}")
        check_names([observation], ("layer_input", "summary"), "observation")
        if choosers is not None and len(choosers) != len(network.num_blocks):
            raise ValueError(
                f"expected a chooser for each of {len(network.num_blocks)} gated layers, "
                f"got {len(choosers)}"
            )
        if observation == "summary" and choosers is not None and image_shape is None:
            raise ValueError("expected image_shape (channels, height, width) for 'summary'")
        self.num_blocks, self.in_features = network.num_blocks, network.in_features
        self.num_classes = network.head_sizes[-1]
        self.draws = any(chooser.rule == "drawn" for chooser in choosers or ())
        self.chooses = choosers is not None
        self._writer = Writer()
        self._write(network, choosers, observation, image_shape)
        self._table = torch.tensor(self._writer.codes, dtype=torch.int64)
        chunk = max(MIN_CHUNK, CHUNK_BYTES // (4 * self._writer.floats))
        self._program = (
            self._table.data_ptr(),
            len(self._table),
            len(self.num_blocks),
            self.in_features,
            self.num_classes,
            chunk,
            self._writer.floats,
        )

    def _write(
        self,
        network: GatedMLP,
        choosers: Sequence[Chooser] | None,
        observation: str,
        image_shape: tuple[int, int, int] | None,
    ) -> None:
        writer, widths = self._writer, [network.in_features, *gated_widths(network)]
        source, before, blocks = ops.IMAGES, ops.NO_MASK, 1
        for index, own in enumerate(network.num_blocks):
            if choosers is not None:
                look, size = source, widths[index]
                if observation == "summary":
                    assert image_shape is not None
                    look, size = self._summary(source, index, image_shape, network)
                    write_chooser(writer, choosers[index], index, own, look, size)
                else:
                    masks = (before, blocks)
                    write_chooser(writer, choosers[index], index, own, look, size, masks)
            layer = linear_at(network.layers, index)
            source = writer.layer(
                layer.weight, layer.bias, source, network.activation, (before, index), (blocks, own)
            )
            before, blocks = index, own
        last = len(network.head_sizes) - 1
        for index in range(last + 1):
            layer = linear_at(network.head_layers, index)
            weight: Tensor = layer.weight
            bias: Tensor | None = layer.bias
            if index == last:
                weight, bias = padded(weight, bias)
            activation = None if index == last else network.activation
            source = writer.layer(
                weight, bias, source, activation, (before, ops.NO_MASK), (blocks, 1)
            )
            before, blocks = ops.NO_MASK, 1
        writer.write(ops.COPY, source, ops.LOGITS, weight.shape[0], self.num_classes)

    def _summary(
        self, hidden: int, index: int, image_shape: tuple[int, int, int], network: GatedMLP
    ) -> tuple[int, int]:
        channels, height, width = image_shape
        windows = [pool_window(side) for side in (height, width)]
        sides = zip((height, width), windows, strict=True)
        pooled = channels * math.prod(-(-side // window) for side, window in sides)
        norms = network.num_blocks[index - 1] if index else 0
        place, size = self._writer.place(pooled + norms), pooled + norms
        self._writer.write(ops.POOL, ops.IMAGES, place, size, *image_shape, *windows)
        if index:
            block_size = network.block_sizes[index - 1]
            self._writer.write(ops.NORMS, hidden, place, size, norms, block_size, pooled)
        return place, size

    def __call__(
        self,
        images: Tensor,
        masks: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Classifies images.

        Args:
            images: [batch, ...] float32 on the CPU.
            masks: bool [batch, num_blocks] by layer, where there are no choosers.
            generator: of the uniform numbers of the rule "drawn".

        Returns:
            Logits [batch, num_classes] and the masks.

        Raises:
            TypeError: if images or masks have the wrong type.
            ValueError: if shapes do not fit, masks are missing or not wanted, or there is no
                generator to draw from.
        """
        batch = images.shape[0]
        if (
            images.dtype is not torch.float32
            or not images.is_cpu
            or images.numel() != batch * self.in_features
        ):
            raise self._misfit(images)
        images = images.contiguous()
        if not self.chooses:
            masks = self._checked_masks(masks, batch)
        elif masks is not None:
            raise ValueError("expected no masks: choosers choose them")
        else:
            masks = [torch.empty(batch, n, dtype=torch.bool) for n in self.num_blocks]
        uniforms = self._uniforms(batch, generator) if self.draws else ()
        logits = images.new_empty(batch, self.num_classes)
        at_masks = array("q", [mask.data_ptr() for mask in masks])
        at_draws = array("q", [uniform.data_ptr() for uniform in uniforms])
        ops.run_program(
            *self._program,
            images.data_ptr(),
            logits.data_ptr(),
            at_masks.buffer_info()[0],
            at_draws.buffer_info()[0],
            batch,
        )
        return logits, masks

    def _uniforms(self, batch: int, generator: torch.Generator | None) -> list[Tensor]:
        if generator is None:
            raise ValueError("expected a generator: masks are drawn")
        return [torch.rand(batch, n, generator=generator) for n in self.num_blocks]

    def _misfit(self, images: Tensor) -> Exception:
        if images.dtype is not torch.float32 or not images.is_cpu:
            return TypeError(
                f"expected float32 images on the CPU, got {images.dtype} on {images.device}"
            )
        return ValueError(
            f"expected images of {self.in_features} features, got {list(images.shape)}"
        )

    def _checked_masks(self, masks: Sequence[Tensor] | None, batch: int) -> list[Tensor]:
        shapes = [(batch, n) for n in self.num_blocks]
        if masks is None or [tuple(mask.shape) for mask in masks] != shapes:
            got = "none" if masks is None else [list(mask.shape) for mask in masks]
            raise ValueError(f"expected masks of shapes {shapes}, got {got}")
        if any(mask.dtype is not torch.bool or not mask.is_cpu for mask in masks):
            raise TypeError("expected bool masks on the CPU")
        return [mask.contiguous() for mask in masks]


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
