"""Networks: sizes -> a classifier whose hidden layers are split in blocks that masks choose."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ccenv.sparse.linear import ACTIVATIONS, block_sparse_linear, resolve_activation


class GatedNetwork(Protocol):
    """What the environment needs of a network; a subclass of `GatedMLP` has all of it."""

    in_features: int
    """number of input features of the first gated layer."""
    num_blocks: tuple[int, ...]
    """blocks of each gated layer."""
    block_sizes: tuple[int, ...]
    """units of a block, for each gated layer."""
    head_sizes: tuple[int, ...]
    """widths of the dense layers after the gated ones; the last is num_classes."""

    def gated_layer(
        self, index: int, x: Tensor, in_mask: Tensor | None, out_mask: Tensor, backend: str
    ) -> Tensor:
        """Activations of gated layer `index` [batch, width], zero where skipped."""

    def head(self, x: Tensor, in_mask: Tensor | None, backend: str) -> Tensor:
        """Logits [batch, num_classes] from the last gated layer's activations."""


class GatedMLP(nn.Module):
    """Fully connected classifier with blocks in its hidden layers (Bengio et al. 2015, section 3).

    Weights start Glorot uniform and biases zero, as in the paper (section 5).
    """

    has_own_weights = False
    """True where the builder has set the weights itself, so that none are learned beforehand."""

    def __init__(
        self,
        in_features: int,
        num_blocks: Sequence[int] = (10, 10),
        block_size: int | Sequence[int] = 64,
        num_classes: int = 10,
        activation: Any = "tanh",
        head_units: Sequence[int] = (),
    ) -> None:
        """Builds the layers.

        Args:
            in_features: number of input features.
            num_blocks: blocks of each gated layer; uneven numbers are allowed.
            block_size: units of a block, one for all gated layers or one for each.
            num_classes: number of classes.
            activation: "tanh", "relu" or a function that maps 0 to 0, after every hidden layer.
            head_units: widths of dense layers between the gated ones and the logits.

        Raises:
            ValueError: if a size is not a positive integer or the activation does not fit.
        """
        super().__init__()
        self.num_blocks = positive_ints(num_blocks, "num_blocks")
        sizes = [block_size] * len(self.num_blocks) if isinstance(block_size, int) else block_size
        self.block_sizes = positive_ints(sizes, "block_size")
        if len(self.block_sizes) != len(self.num_blocks):
            raise ValueError(
                f"expected one block_size, or one for each of the {len(self.num_blocks)} gated "
                f"layers, got {list(self.block_sizes)}"
            )
        if head_units:
            positive_ints(head_units, "head_units")
        resolve_activation(activation)
        self.in_features = positive_ints([in_features], "in_features")[0]
        self.head_sizes = (*head_units, *positive_ints([num_classes], "num_classes"))
        self.activation = activation
        widths = [n * size for n, size in zip(self.num_blocks, self.block_sizes, strict=True)]
        self.layers = linear_stack([in_features, *widths])
        self.head_layers = linear_stack([widths[-1], *self.head_sizes])

    def gated_layer(
        self, index: int, x: Tensor, in_mask: Tensor | None, out_mask: Tensor, backend: str = "auto"
    ) -> Tensor:
        """Activations of gated layer `index`: [batch, width], exactly zero where skipped."""
        layer = self.layers[index]
        return block_sparse_linear(
            x,
            layer.weight,
            layer.bias,
            in_mask,
            out_mask,
            activation=self.activation,
            backend=backend,
        )

    def head(self, x: Tensor, in_mask: Tensor | None, backend: str = "auto") -> Tensor:
        """Logits [batch, num_classes] from the last gated layer's activations [batch, width]."""
        for layer in self.head_layers:
            last = layer is self.head_layers[-1]
            activation = None if last else self.activation
            x = block_sparse_linear(
                x, layer.weight, layer.bias, in_mask, activation=activation, backend=backend
            )
            in_mask = None
        return x

    def forward(self, images: Tensor, masks: Sequence[Tensor], backend: str = "auto") -> Tensor:
        """Classifies images under masks.

        Args:
            images: [batch, ...] float32, flattened to [batch, in_features].
            masks: one bool tensor [batch, num_blocks[l]] for each gated layer.
            backend: see `block_sparse_linear`.

        Returns:
            Logits [batch, num_classes].
        """
        return forward(self, images, masks, backend)


def forward(
    network: GatedNetwork, images: Tensor, masks: Sequence[Tensor], backend: str = "auto"
) -> Tensor:
    """Walks any gated network from images [batch, ...] to logits [batch, num_classes].

    Raises:
        ValueError: if there is not one mask for each gated layer, with its number of blocks.
    """
    shapes = [mask.shape[-1] for mask in masks]
    if shapes != list(network.num_blocks):
        raise ValueError(
            f"expected one mask for each gated layer with {list(network.num_blocks)} blocks, "
            f"got {len(masks)} with {shapes}"
        )
    x, in_mask = images.flatten(1), None
    for index, mask in enumerate(masks):
        x = network.gated_layer(index, x, in_mask, mask, backend)
        in_mask = mask
    return network.head(x, in_mask, backend)


def linear_stack(sizes: Sequence[int]) -> nn.ModuleList:
    """Linear layers between neighbouring sizes, Glorot uniform weights and zero biases."""
    layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layers


def positive_ints(values: Sequence[int], name: str) -> tuple[int, ...]:
    """Checks sizes and returns them as a tuple.

    Raises:
        ValueError: if there are none, or one is not an integer of at least 1.
    """
    values = tuple(values) if isinstance(values, Sequence) else (values,)
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
    if not values or not whole:
        raise ValueError(f"expected {name} to be whole numbers of at least 1, got {list(values)}")
    return values


def build_network(builder: Any, seed: int, **sizes: Any) -> Any:
    """Builds a network with initial weights that depend on the seed alone.

    Initialisers of torch draw from its global generator; it is put back afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builder(**sizes)


NETWORKS: dict[str, Any] = {"mlp": GatedMLP, "probe": "ccenv.probe:probe_network"}

__all__ = ["ACTIVATIONS", "NETWORKS", "GatedMLP", "GatedNetwork", "build_network", "forward"]
