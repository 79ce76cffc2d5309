"""Gated layers of a fused program whose blocks are too small to skip: (network, choosers) -> which.

A block of fewer than four units takes the time of four there, so a layer of single units is often
faster computed whole, with zeros put where units were not kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ccenv.choosers import RULES, Chooser
from ccenv.fused_writer import QUARTER, filled_size
from ccenv.networks import GatedMLP
from ccenv.sparse import program as ops
from ccenv.sparse.cost_model import Layer, kernel_seconds

ROWS = 64
"""images at once, at which times are compared."""
UNKNOWN_SHARE = 0.5
"""share of blocks kept where the policy looks, or the caller chooses."""

Side = tuple[int, int, float]
"""blocks of a layer's input or output, units of each, share kept."""


def computed_whole(network: GatedMLP, choosers: Sequence[Chooser] | None) -> list[bool]:
    """Which gated layers are computed whole and then masked, by layer.

    Only layers with blocks of fewer than `QUARTER` units, where the kernels' expected time is
    longer, and never beside weights that are not finite: a zero would not keep those out.
    """
    if min(network.block_sizes) >= QUARTER or not all_finite(network, choosers):
        return [False] * len(network.num_blocks)
    found: list[bool] = []
    before: Side = (1, network.in_features, 1.0)
    ends = [gated_side(network, choosers, index) for index in range(len(network.num_blocks))]
    ends.append((1, network.head_sizes[0], 1.0))
    for index, size in enumerate(network.block_sizes):
        gated, whole, after = (
            ends[index],
            (1, network.num_blocks[index] * size, 1.0),
            ends[index + 1],
        )
        found.append(
            size < QUARTER
            and seconds(before, whole) + seconds(whole, after)
            < seconds(before, gated) + seconds(gated, after)
        )
        before = whole if found[-1] else gated
    return found


def gated_side(network: GatedMLP, choosers: Sequence[Chooser] | None, index: int) -> Side:
    """A gated layer's blocks, filled up as they lie in a program."""
    blocks, size = network.num_blocks[index], network.block_sizes[index]
    share = UNKNOWN_SHARE if choosers is None else expected_share(choosers[index], blocks)
    return blocks, filled_size(size), share


def expected_share(chooser: Chooser, blocks: int) -> float:
    """Share of the blocks that a chooser keeps, as far as that is known beforehand."""
    if RULES.get(chooser.rule) == ops.TOP_K:
        return chooser.num_kept / blocks
    if not isinstance(chooser.maps, Tensor):
        return UNKNOWN_SHARE
    if chooser.rule == "likely":
        return float((chooser.maps > 0).float().mean())
    return float((chooser.low + (1 - 2 * chooser.low) * chooser.maps.sigmoid()).mean())


def seconds(inputs: Side, outputs: Side) -> float:
    """Expected time of one layer by the kernels."""
    layer = Layer(ROWS, *inputs[:2], *outputs[:2])
    pairs = layer.all_pairs * inputs[2] * outputs[2]
    return kernel_seconds(layer, pairs, is_training=False)


def all_finite(network: GatedMLP, choosers: Sequence[Chooser] | None) -> bool:
    """Whether no weight of the network or of its choosers' maps is infinite or NaN."""
    weights: list[Tensor] = list(network.parameters())
    for chooser in choosers or ():
        if not isinstance(chooser.maps, Tensor):
            weights += [weight for weight, _ in chooser.maps]
    return all(bool(torch.isfinite(weight).all()) for weight in weights)
