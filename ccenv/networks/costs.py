"""Bill of a `GatedMLP`: (block masks, layer widths) -> MACs, billed against the dense network's.

A gated layer costs (input units kept) x (output units kept) multiply-accumulates (MACs), the first
dense layer after the gated ones (units kept) x (its width), later dense layers their full product.
Biases and activations are not counted. The head is billed together with the last gated layer.
"""

import itertools
from typing import Protocol

from torch import Tensor


class LayerSizes(Protocol):
    """Sizes of a multi-layer perceptron with gated layers."""

    in_features: int
    """number of input features of the first gated layer."""
    num_blocks: tuple[int, ...]
    """blocks of each gated layer."""
    block_sizes: tuple[int, ...]
    """units of a block, for each gated layer."""
    head_sizes: tuple[int, ...]
    """widths of the dense layers after the gated ones; the last is num_classes."""


def gated_widths(network: LayerSizes) -> list[int]:
    """Units of each gated layer."""
    return [n * size for n, size in zip(network.num_blocks, network.block_sizes, strict=True)]


def kept_units(network: LayerSizes, index: int, mask: Tensor) -> Tensor:
    """Units that a mask keeps in gated layer `index`: bool [batch, num_blocks] -> int64 [batch]."""
    return mask.sum(dim=1) * network.block_sizes[index]


def layer_macs(network: LayerSizes, index: int, in_mask: Tensor | None, out_mask: Tensor) -> Tensor:
    """MACs that one step executes for each image, with the head's on the last step.

    Args:
        network: the network that the masks belong to.
        index: number of the gated layer.
        in_mask: bool [batch, num_blocks[index - 1]] of the layer before, None for the first layer.
        out_mask: bool [batch, num_blocks[index]].

    Returns:
        int64 [batch].
    """
    kept = kept_units(network, index, out_mask)
    inputs = network.in_features if in_mask is None else kept_units(network, index - 1, in_mask)
    macs = inputs * kept
    if index == len(network.num_blocks) - 1:
        macs = macs + kept * network.head_sizes[0] + dense_tail_macs(network)
    return macs


def dense_tail_macs(network: LayerSizes) -> int:
    """MACs of the dense layers whose inputs no mask skips: those after the first head layer."""
    return sum(a * b for a, b in itertools.pairwise(network.head_sizes))


def dense_macs(network: LayerSizes) -> int:
    """MACs of one image with every block kept, head included.

    >>> from ccenv.networks.mlp import GatedMLP
    >>> dense_macs(GatedMLP(784, num_blocks=(16,), block_size=16))
    203264
    """
    sizes = [network.in_features, *gated_widths(network), *network.head_sizes]
    return sum(a * b for a, b in itertools.pairwise(sizes))
