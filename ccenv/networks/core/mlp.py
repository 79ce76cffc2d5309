"""Networks: sizes -> a classifier whose hidden layers are split in blocks that masks choose.

Bill of a `GatedMLP`: (block masks, layer widths) -> MACs, billed against the dense network's.

A gated layer costs (input units kept) x (output units kept) multiply-accumulates (MACs), the first
dense layer after the gated ones (units kept) x (its width), later dense layers their full product.
Biases and activations are not counted. The head is billed together with the last gated layer.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

from torch import Tensor, nn

from ccenv.base.memory import check_fits
from ccenv.base.values import shown
from ccenv.networks.core.lowering import Affine, Blocks, Lowered
from ccenv.networks.core.protocol import Gate, GatedNetwork, rows_each
from ccenv.sparse.cpu.buffers import keep_panels
from ccenv.sparse.expand_masks import repeat_for_masks
from ccenv.sparse.linear import block_sparse_linear, resolve_activation


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

    >>> from ccenv.networks.core.mlp import GatedMLP
    >>> dense_macs(GatedMLP(784, num_blocks=(16,), block_size=16))
    203264
    """
    sizes = [network.in_features, *gated_widths(network), *network.head_sizes]
    return sum(a * b for a, b in itertools.pairwise(sizes))


Sizes = int | Sequence[int]
"""One size for all layers, or one for each."""


@dataclass(frozen=True)
class MLPHidden:
    """Inputs on their way through a `GatedMLP`."""

    x: Tensor
    """float32 [rows, width]; what the next layer reads."""
    mask: Tensor | None
    """bool [rows, blocks of the layer before]; None before the first, or where all was kept."""


class LayeredNetwork(GatedNetwork):
    """A network whose gates are fully connected layers: what a gate's layer costs and holds."""

    layers: nn.ModuleList
    """of each gate its linear layer, perhaps others behind them."""

    def block_norms(self, gate: int, hidden: Any) -> Tensor:
        """See `GatedNetwork`; of activations `hidden.x`."""
        blocks = hidden.x.unflatten(1, (self.gates[gate].num_blocks, -1))
        return blocks.square().mean(dim=2).sqrt()

    def block_macs(self, gate: int) -> int:
        """See `GatedNetwork`: the whole layer with all of its inputs."""
        layer = linear_at(self.layers, gate)
        return layer.in_features * layer.out_features

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `GatedNetwork`."""
        return list(self.layers[gate].parameters())

    def pack(self) -> None:
        """See `GatedNetwork`: copies of the weights, as the kernels read them fastest."""
        keep_panels(self)


class GatedMLP(LayeredNetwork):
    """Fully connected classifier with blocks in its hidden layers (Bengio et al. 2015, section 3).

    Weights start Glorot uniform and biases zero, as in the paper (section 5).
    """

    in_features: int
    num_blocks: tuple[int, ...] = ()
    """of each gated layer."""

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
        self.num_classes, self.last_look_size = self.head_sizes[-1], widths[-1]
        self.dense_macs = dense_macs(self)
        self.gates = tuple(
            Gate(f"layers.{index}", blocks, look)
            for index, (blocks, look) in enumerate(
                zip(self.num_blocks, [self.in_features, *widths], strict=False)
            )
        )

    def start(self, inputs: Tensor) -> MLPHidden:
        """See `GatedNetwork.start`: images [batch, ...] are flattened."""
        return MLPHidden(inputs.flatten(1), None)

    def step(
        self,
        gate: int,
        hidden: MLPHidden,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> MLPHidden:
        """See `GatedNetwork.step`."""
        x = pass_gate(self, gate, hidden.x, hidden.mask, mask, backend)
        if weights is not None:
            x = (x.unflatten(1, (weights.shape[1], -1)) * weights.unsqueeze(2)).flatten(1)
        return MLPHidden(x, mask)

    def logits(self, hidden: MLPHidden, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        return self.head(hidden.x, hidden.mask, backend)

    def look(self, gate: int, hidden: MLPHidden) -> Tensor:
        """See `GatedNetwork.look`: all that the layer reads."""
        return hidden.x

    def macs(self, gate: int, hidden: MLPHidden, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`."""
        return layer_macs(self, gate, hidden.mask, mask)

    def least_macs(self, gate: int) -> int:
        """See `GatedNetwork`: the dense layers whose inputs no mask skips."""
        return dense_tail_macs(self) if gate < len(self.num_blocks) else 0

    def lower(self) -> Lowered:
        """See `ccenv.networks.core.lowering`."""
        gated = [
            Blocks(
                layer.weight,
                layer.bias,
                self.activation,
                num_blocks=blocks,
                look=layer.in_features,
            )
            for layer, blocks in zip(linears(self.layers), self.num_blocks, strict=True)
        ]
        *hidden, last = linears(self.head_layers)
        dense = [Affine(layer.weight, layer.bias, self.activation) for layer in hidden]
        operations = (*gated, *dense, Affine(last.weight, last.bias))
        return Lowered(operations, lambda x, before, _: MLPHidden(x.flatten(1), before))

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


def pass_gate(
    network: GatedMLP,
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


def first_layer(network: GatedMLP, x: Tensor, mask: Tensor, backend: str = "auto") -> Tensor:
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
    group = rows_each(len(x), len(mask))
    if group == 1:
        return network.gated_layer(0, x, None, mask, backend)
    if type(network).gated_layer is not GatedMLP.gated_layer:
        # Another layer may treat rows differently that are alike, as dropout does.
        return network.gated_layer(0, x.repeat_interleave(group, 0), None, mask, backend)
    some_keep = mask.unflatten(0, (len(x), group)).any(dim=1)
    shared = network.gated_layer(0, x, None, some_keep, backend)
    return repeat_for_masks(shared, mask)


def linear_at(stack: nn.ModuleList, index: int) -> nn.Linear:
    """The linear layer at a place of a stack."""
    # Not stack[index], whose own work is a tenth of a small layer's.
    layer = stack._modules[str(index)]
    assert isinstance(layer, nn.Linear)
    return layer


def linears(stack: nn.ModuleList) -> list[nn.Linear]:
    """All linear layers of a stack."""
    return [linear_at(stack, index) for index in range(len(stack))]


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
    # An array of no dimensions calls itself iterable.
    many = isinstance(values, Iterable) and not isinstance(values, str)
    many = many and getattr(values, "ndim", 1) > 0
    found = tuple(values) if many else (values,)
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) and int(v) > 0 for v in found)
    if not whole or not (found or allow_none):
        raise ValueError(
            f"expected {name} to be whole numbers of at least 1, got {shown(values)}; "
            "give an int or a list of ints"
        )
    return tuple(int(v) for v in found)
