"""Networks: sizes -> a classifier whose hidden layers are split in blocks that masks choose."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, Protocol

from torch import Tensor, nn

from ccenv.base.masks import check_mask
from ccenv.base.memory import check_fits
from ccenv.sparse.linear import ACTIVATIONS, block_sparse_linear, resolve_activation
from ccenv.sparse.repeat import repeat_for_masks

Sizes = int | Sequence[int]
"""One size for all layers, or one for each."""


class GatedNetwork(Protocol):
    """What the environment needs of a network; a subclass of `GatedMLP` has all of it.

    It must be a `torch.nn.Module` too, so that its weights can be learned and stored.
    """

    in_features: int
    """number of input features of the first gated layer."""
    num_blocks: tuple[int, ...]
    """blocks of each gated layer."""
    block_sizes: tuple[int, ...]
    """units of a block, for each gated layer."""
    head_sizes: tuple[int, ...]
    """widths of the dense layers after the gated ones; the last is num_classes."""

    def gated_layer(
        self,
        index: int,
        x: Tensor,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        backend: str,
    ) -> Tensor:
        """Activations of gated layer `index` [batch, width], zero where skipped; None keeps all."""

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
        num_blocks: Sizes = (10, 10),
        block_size: Sizes = 64,
        num_classes: int = 10,
        activation: Any = "tanh",
        head_units: Sizes = (),
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
        self.block_sizes = positive_ints(block_size, "block_size")
        if len(self.block_sizes) == 1:
            self.block_sizes *= len(self.num_blocks)
        if len(self.block_sizes) != len(self.num_blocks):
            raise ValueError(
                f"expected one block_size, or one for each of the {len(self.num_blocks)} gated "
                f"layers, got {list(self.block_sizes)}"
            )
        resolve_activation(activation)
        self.activation = activation
        (self.in_features,) = positive_ints(in_features, "in_features")
        tail = positive_ints(head_units, "head_units", allow_none=True)
        self.head_sizes = (*tail, *positive_ints(num_classes, "num_classes"))
        widths = gated_widths(self)
        self.layers = linear_stack([self.in_features, *widths])
        self.head_layers = linear_stack([widths[-1], *self.head_sizes])

    def gated_layer(
        self,
        index: int,
        x: Tensor,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        backend: str = "auto",
    ) -> Tensor:
        """Activations of gated layer `index`: [batch, width], exactly zero where skipped."""
        layer = linear_at(self.layers, index)
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
        last = len(self.head_sizes) - 1
        for index in range(last + 1):
            layer = linear_at(self.head_layers, index)
            activation = None if index == last else self.activation
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
    """Walks any gated network from images to logits.

    Args:
        network: the classifier.
        images: [batch, ...] float32; or a part of so many rows, each for as many neighbouring rows
            of the masks: several masks of one image.
        masks: one bool tensor [batch, num_blocks[l]] for each gated layer.
        backend: see `block_sparse_linear`.

    Returns:
        Logits [batch, num_classes].

    Raises:
        TypeError: if a mask is not a bool tensor.
        ValueError: if there is not one mask for each gated layer, with its number of blocks, or
            images do not divide the masks' rows.
    """
    for index, mask in enumerate(masks):
        check_mask(mask, len(masks[0]), f"masks[{index}]")
    shapes = [mask.shape[-1] for mask in masks]
    if shapes != list(network.num_blocks):
        raise ValueError(
            f"expected one mask for each gated layer with {list(network.num_blocks)} blocks, "
            f"got {len(masks)} with {shapes}"
        )
    return walk(network, images.flatten(1), lambda gate, _: masks[gate], backend)


def walk(
    network: GatedNetwork,
    x: Tensor,
    choose: Callable[[int, Tensor], Tensor | None],
    backend: str = "auto",
    after: Callable[[int, Tensor], Tensor] | None = None,
) -> Tensor:
    """Walks through all gates to the logits: the one loop over a network's layers.

    Args:
        network: the classifier.
        x: [n, in_features] float32.
        choose: (gate, what its layer reads) -> bool [batch, num_blocks[gate]]; None computes all.
        backend: see `block_sparse_linear`.
        after: (gate, its activations [batch, width]) -> what is read behind it, in their place.

    Returns:
        Logits [batch, num_classes].
    """
    before = None
    for gate in range(len(network.num_blocks)):
        mask = choose(gate, x)
        x = pass_gate(network, gate, x, before, mask, backend)
        x = x if after is None else after(gate, x)
        before = mask
    return network.head(x, before, backend)


def pass_gate(
    network: GatedNetwork,
    gate: int,
    x: Tensor,
    before: Tensor | None,
    mask: Tensor | None,
    backend: str = "auto",
) -> Tensor:
    """Computes the kept blocks of one gated layer; masks of one image share the first layer.

    Args:
        network: the classifier.
        gate: number of the layer.
        x: what it reads, float32 [batch, in_features]; of the first layer see `first_layer`.
        before: the previous layer's mask; None for the first, or where all of it was computed.
        mask: bool [batch, num_blocks[gate]]; None computes all.
        backend: see `block_sparse_linear`.

    Returns:
        [batch, width], exactly zero where skipped.
    """
    if gate == 0 and mask is not None:
        return first_layer(network, x, mask, backend)
    return network.gated_layer(gate, x, before, mask, backend)


def first_layer(network: GatedNetwork, x: Tensor, mask: Tensor, backend: str = "auto") -> Tensor:
    """Activations of the first gated layer, of which an image's masks share what they have alike.

    A block that several masks of an image keep is computed once. With k of n blocks kept that is
    never more work than mask by mask, and much less once masks of an image hardly differ.

    Args:
        network: the classifier.
        x: [n, in_features] float32.
        mask: bool [n * group, num_blocks]; neighbouring rows belong to the same image.
        backend: see `block_sparse_linear`.

    Returns:
        [n * group, width], exactly zero where skipped.

    Raises:
        ValueError: if the mask's rows are no multiple of the images.
    """
    if len(mask) == len(x):
        return network.gated_layer(0, x, None, mask, backend)
    group, rest = divmod(len(mask), max(1, len(x)))
    if rest or not group or not len(x):
        raise ValueError(f"expected masks for a multiple of {len(x)} images, got {len(mask)} rows")
    if getattr(type(network), "gated_layer", None) is not GatedMLP.gated_layer:
        # Another layer may treat rows differently that are alike, as dropout does.
        return network.gated_layer(0, x.repeat_interleave(group, 0), None, mask, backend)
    some_keep = mask.unflatten(0, (len(x), group)).any(dim=1)
    shared = network.gated_layer(0, x, None, some_keep, backend)
    return repeat_for_masks(shared, mask)


def dense_forward(network: GatedNetwork, images: Tensor, backend: str = "reference") -> Tensor:
    """Logits [batch, num_classes] with every block kept and no mask looked at: plain products."""
    return walk(network, images.flatten(1), lambda *_: None, backend)


def gated_widths(network: GatedNetwork) -> list[int]:
    """Units of each gated layer."""
    return [n * size for n, size in zip(network.num_blocks, network.block_sizes, strict=True)]


def linear_at(stack: nn.ModuleList, index: int) -> nn.Linear:
    """The linear layer at a place of a stack."""
    layer = stack[index]
    assert isinstance(layer, nn.Linear)
    return layer


def linear_stack(sizes: Sequence[int]) -> nn.ModuleList:
    """Linear layers between neighbouring sizes, Glorot uniform weights and zero biases.

    Raises:
        ValueError: if they do not fit in memory.
    """
    # Learning needs the weights, their gradients and the optimiser's two moments.
    num_floats = 4 * sum(a * b for a, b in itertools.pairwise(sizes))
    check_fits(num_floats, f"layers of widths {list(sizes)}", "choose fewer or smaller blocks")
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        # The kernels read all outputs of one input at once, so those lie together in memory.
        layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
    return nn.ModuleList(layers)


def positive_ints(values: Any, name: str, *, allow_none: bool = False) -> tuple[int, ...]:
    """Checks sizes, one or several, and returns them as a tuple.

    Raises:
        ValueError: if one is not an integer of at least 1, or there are none and some are needed.
    """
    many = isinstance(values, Iterable) and not isinstance(values, str)
    found = tuple(values) if many else (values,)
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) and int(v) > 0 for v in found)
    if not whole or not (found or allow_none):
        raise ValueError(f"expected {name} to be whole numbers of at least 1, got {values!r}")
    return tuple(int(v) for v in found)


NETWORKS: dict[str, Any] = {
    "mlp": GatedMLP,
    "mlp-dropout-0.2": "ccenv.networks.dropout:fifth",
    "mlp-dropout-0.5": "ccenv.networks.dropout:half",
    "probe": "ccenv.networks.probe:probe_network",
}

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "GatedMLP",
    "GatedNetwork",
    "dense_forward",
    "forward",
]
