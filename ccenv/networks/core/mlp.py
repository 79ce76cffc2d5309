"""Fully connected networks: sizes -> a classifier whose hidden layers are cut in blocks.

A gated layer costs (input units kept) x (output units kept) multiply-accumulates (MACs), the first
dense layer after the gated ones (units kept) x (its width), later dense layers their full product.
Biases and activations are not counted. The head is billed together with the last gated layer.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.annotations import has_mark, marked
from ccenv.base.checks import all_finite
from ccenv.base.machine import check_fits
from ccenv.base.masks import spread_to_units
from ccenv.base.values import Sizes, positive_int, positive_ints, shown
from ccenv.networks.core.abilities import Bounds, Norms, Owns, Packs
from ccenv.networks.core.lowering import Affine, Blocks, Lowered
from ccenv.networks.core.protocol import Abilities, Gate, GatedNetwork, Unread, group_of
from ccenv.sparse import cpu
from ccenv.sparse.buffers import keep_panels
from ccenv.sparse.linear import block_sparse_linear, resolve_activation
from ccenv.sparse.operands import is_readable
from ccenv.sparse.reference import zero_where_skipped
from ccenv.sparse.rows import repeat_for_masks

SMALL_MACS = 2**16
"""MACs up to which torch computes dense products between masks.

Kernels would take longer to compile than a run takes, and save little.
"""


@dataclass(frozen=True)
class MLPHidden:
    """Inputs on their way through fully connected layers."""

    x: Tensor
    """float32 [rows, width]; what the next layer reads."""
    mask: Tensor | None
    """bool [rows, blocks of the layer before]; None before the first, or where all was kept."""


class LayeredNetwork(GatedNetwork):
    """A network whose gates are fully connected layers in blocks, with dense layers behind them.

    A subclass makes the layers.
    """

    abilities: Abilities = (Norms, Owns, Bounds, Packs)
    layers: nn.ModuleList
    """of each gate its linear layer, perhaps others behind them."""
    activation: Any
    """of every hidden layer."""
    block_sizes: tuple[int, ...]
    """units of a block, for each gated layer."""
    head_sizes: tuple[int, ...]
    """widths of the dense layers after the gated ones; the last is num_classes."""
    widths: tuple[int, ...]
    """columns that the first layer reads, and units of every layer."""
    is_small = False
    """whether kernels do not pay."""

    def set_sizes(
        self, read: int, look: int, num_blocks: Sizes, block_size: Sizes, head_sizes: Sizes
    ) -> None:
        """Writes down sizes, gates and costs; ValueError of impossible sizes.

        The first layer reads `read` columns, of which its gate sees `look`; `head_sizes` are the
        widths of the dense layers, the last one `num_classes`.
        """
        blocks = positive_ints(num_blocks, "num_blocks")
        sizes = positive_ints(block_size, "block_size")
        sizes = sizes * len(blocks) if len(sizes) == 1 else sizes
        if len(sizes) != len(blocks):
            raise ValueError(
                f"expected one block_size, or one for each of the {len(blocks)} gated layers, got "
                f"{list(sizes)}"
            )
        self.block_sizes, self.head_sizes = sizes, positive_ints(head_sizes, "head_units")
        gated = [n * size for n, size in zip(blocks, sizes, strict=True)]
        self.widths = (read, *gated, *self.head_sizes)
        self.num_classes, self.last_look_size = self.widths[-1], gated[-1]
        self.dense_macs = sum(a * b for a, b in itertools.pairwise(self.widths))
        self.gates = tuple(
            Gate(f"layers.{index}", *sizes)
            for index, sizes in enumerate(zip(blocks, [look, *gated], strict=False))
        )

    def dense_layers(self) -> list[nn.Linear]:
        """Linear layers behind the gated ones; the last gives the logits."""
        raise NotImplementedError

    def start(self, inputs: Tensor) -> MLPHidden:
        """See `GatedNetwork.start`: inputs [batch, ...] are flattened."""
        if inputs.ndim < 2:
            raise ValueError(f"expected inputs [batch, ...], got {shown(inputs)}")
        return MLPHidden(inputs.flatten(1), None)

    def step(
        self,
        gate: int,
        hidden: MLPHidden,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> MLPHidden:
        """See `GatedNetwork.step`; a block that several masks of an input keep is computed once."""
        group = group_of(hidden.x.shape[0], mask, weights) if gate == 0 else 1
        if group == 1:
            x = self.units(gate, hidden, mask, backend)
        elif mask is None:
            x = self.units(gate, hidden, None, backend).repeat_interleave(group, 0)
        elif not has_mark(self.gated_layer, "is_by_row"):
            # Another layer may treat rows differently that are alike, as dropout does.
            x = self.gated_layer(gate, hidden.x.repeat_interleave(group, 0), None, mask, backend)
        else:
            # With k of n blocks kept that is never more work than mask by mask, and much less once
            # masks of an input hardly differ.
            some_keep = mask.unflatten(0, (len(hidden.x), group)).any(dim=1)
            x = repeat_for_masks(self.units(gate, hidden, some_keep, backend), mask)
        if weights is not None:
            x = (x.unflatten(1, (weights.shape[1], -1)) * weights.unsqueeze(2)).flatten(1)
        return MLPHidden(x, mask)

    def units(self, gate: int, hidden: MLPHidden, mask: Tensor | None, backend: str) -> Tensor:
        """Activations of a gated layer's kept blocks: [rows, width], skipped ones are zero."""
        return self.gated_layer(gate, hidden.x, hidden.mask, mask, backend)

    @marked("is_by_row")
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
        return self.linear(layer, x, in_mask, out_mask, self.activation, backend)

    def linear(
        self,
        layer: nn.Linear,
        x: Tensor,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        activation: Any,
        backend: str,
    ) -> Tensor:
        """One layer; of small networks on the CPU by the definition. See `block_sparse_linear`."""
        weight: Tensor = layer.weight
        bias: Tensor = layer.bias
        if self.is_small and backend == "auto" and weight.is_cpu:
            return small_linear(x, weight, bias, in_mask, out_mask, activation)
        return block_sparse_linear(
            x, weight, bias, in_mask, out_mask, activation=activation, backend=backend
        )

    def logits(self, hidden: MLPHidden, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        return self.head(hidden.x, hidden.mask, backend)

    def head(self, x: Tensor, in_mask: Tensor | None, backend: str = "auto") -> Tensor:
        """Logits [batch, num_classes] from the last gated layer's activations [batch, width]."""
        *hidden, last = self.dense_layers()
        for layer in hidden:
            x, in_mask = self.linear(layer, x, in_mask, None, self.activation, backend), None
        return self.linear(last, x, in_mask, None, None, backend)

    def look(self, gate: int, hidden: MLPHidden) -> Tensor:
        """See `GatedNetwork.look`: all that the layer reads."""
        return hidden.x

    @marked("counts_layers")
    def macs(self, gate: int, hidden: MLPHidden, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`; `add_macs` has it compiled."""
        return layer_macs(self, gate, hidden.mask, mask)

    def add_macs(
        self, gate: int, hidden: MLPHidden, mask: Tensor, spent: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `GatedNetwork.add_macs`; in one compiled call, unless a subclass counts its own."""
        counts_layers = has_mark(type(self).macs, "counts_layers")
        if not (counts_layers and is_readable(mask) and is_readable(spent)):
            return super().add_macs(gate, hidden, mask, spent)
        before, is_last = hidden.mask, gate == len(self.gates) - 1
        return cpu.layer_costs(
            mask,
            self.block_sizes[gate],
            before,
            self.widths[gate] if before is None else self.block_sizes[gate - 1],
            head=self.head_sizes[0] if is_last else 0,
            fixed=dense_tail_macs(self) if is_last else 0,
            total=self.dense_macs,
            spent=spent,
        )

    def least_macs(self, gate: int) -> int:
        """See `Bounds`: the dense layers whose inputs no mask skips."""
        return dense_tail_macs(self) if gate < len(self.gates) else 0

    def lower(self) -> Lowered:
        """See `ccenv.networks.core.lowering`."""
        gated = [
            Blocks(
                layer.weight,
                layer.bias,
                self.activation,
                num_blocks=gate.num_blocks,
                look=gate.look_size,
            )
            for layer, gate in zip(linears(self.layers), self.gates, strict=False)
        ]
        *hidden, last = self.dense_layers()
        dense = [Affine(layer.weight, layer.bias, self.activation) for layer in hidden]
        operations = (*gated, *dense, Affine(last.weight, last.bias))
        return Lowered(operations, lambda x, before, _: MLPHidden(x.flatten(1), before))

    def tells_norms(self, gate: int) -> bool:
        """See `Norms`."""
        return True

    def block_norms(self, gate: int, hidden: Any) -> Tensor:
        """See `Norms`; of activations `hidden.x`."""
        blocks = hidden.x.unflatten(1, (self.gates[gate].num_blocks, -1))
        return blocks.square().mean(dim=2).sqrt()

    def block_macs(self, gate: int) -> int:
        """See `Norms`: the whole layer with all of its inputs."""
        return self.widths[gate] * self.widths[gate + 1]

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `Owns`."""
        return list(self.layers[gate].parameters())

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `Owns`: a layer's units that are off, and its columns of those before."""
        on = off[0].new_zeros(1)
        layers = [linear_at(self.layers, gate) for gate in range(len(off))]
        pairs: Unread = []
        for layer, units, before in zip(
            [*layers, self.dense_layers()[0]], [*off, on], [on, *off], strict=True
        ):
            weight = spread_to_units(units, layer.weight, 0) | spread_to_units(
                before, layer.weight, 1
            )
            pairs += [(layer.weight, weight), (layer.bias, spread_to_units(units, layer.bias, 0))]
        return pairs

    def pack(self) -> None:
        """See `Packs`: copies of the weights, as the kernels read them fastest."""
        keep_panels(self)


class GatedMLP(LayeredNetwork):
    """Fully connected classifier with blocks in its hidden layers (Bengio et al. 2015, section 3).

    Weights start Glorot uniform and biases zero, as in the paper (section 5).

    >>> import torch
    >>> network = GatedMLP(64, num_blocks=(4, 2), block_size=8)
    >>> masks = [torch.tensor([[True, False, True, False]]), torch.tensor([[True, True]])]
    >>> network(torch.zeros(1, 64), masks).shape
    torch.Size([1, 10])
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
        self.in_features = positive_int(in_features, "in_features")
        tail = positive_ints(head_units, "head_units", allow_none=True)
        head_sizes = (*tail, *positive_ints(num_classes, "num_classes"))
        self.set_sizes(self.in_features, self.in_features, num_blocks, block_size, head_sizes)
        self.is_small = self.dense_macs <= SMALL_MACS
        resolve_activation(activation)
        self.activation = activation
        num_gated = len(self.gates)
        self.layers = linear_stack(self.widths[: num_gated + 1])
        self.head_layers = linear_stack(self.widths[num_gated:])

    @property
    def features_read(self) -> int:  # type: ignore[override]
        """See `GatedNetwork.features_read`."""
        return self.in_features

    def dense_layers(self) -> list[nn.Linear]:
        """See `LayeredNetwork`."""
        return linears(self.head_layers)


def small_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: Any,
) -> Tensor:
    """A layer by the definition, where x is zero already where it was skipped."""
    layer = functools.partial(
        block_sparse_linear, x, out_mask=out_mask, activation=activation, backend="reference"
    )
    # Weights that no row reads change nothing, unless they are not finite: then answers are not.
    is_named = activation is None or isinstance(activation, str)
    if is_named and not torch.is_grad_enabled():
        output = layer(weight, bias)
        if in_mask is None or all_finite(output):
            return output
    return layer(*as_read(weight, bias, in_mask, out_mask))


def as_read(
    weight: Tensor, bias: Tensor, in_mask: Tensor | None, out_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A layer's weight and bias, zero where no row reads them: there they may be anything."""
    if in_mask is not None and not (used := in_mask.any(0, True)).all():
        weight = zero_where_skipped(weight, used)
    # Without a gradient it is enough that what they give is hidden.
    learns = torch.is_grad_enabled()
    if learns and out_mask is not None and not (used := out_mask.any(0, True)).all():
        weight = zero_where_skipped(weight.t(), used).t()
        bias = zero_where_skipped(bias.unsqueeze(0), used).squeeze(0)
    return weight, bias


def kept_units(network: LayeredNetwork, index: int, mask: Tensor) -> Tensor:
    """Units that a mask keeps in gated layer `index`: bool [batch, num_blocks] -> int64 [batch]."""
    return mask.sum(dim=1) * network.block_sizes[index]


def layer_macs(
    network: LayeredNetwork, index: int, in_mask: Tensor | None, out_mask: Tensor
) -> Tensor:
    """MACs that one step executes, with the head's on the last step: int64 [batch].

    Masks are bool [batch, num_blocks] of the layer before, None for all of it, and of this layer.
    """
    kept = kept_units(network, index, out_mask)
    inputs = network.widths[index] if in_mask is None else kept_units(network, index - 1, in_mask)
    macs = inputs * kept
    if index == len(network.gates) - 1:
        macs = macs + kept * network.head_sizes[0] + dense_tail_macs(network)
    return macs


def dense_tail_macs(network: LayeredNetwork) -> int:
    """MACs of the dense layers whose inputs no mask skips: those after the first head layer."""
    return sum(a * b for a, b in itertools.pairwise(network.head_sizes))


def linear_at(stack: nn.ModuleList, index: int) -> nn.Linear:
    """The linear layer at a place of a stack."""
    # Not stack[index], whose own work is a tenth of a small layer's.
    layer = stack._modules[str(index)]
    assert isinstance(layer, nn.Linear)
    return layer


def linears(stack: nn.ModuleList) -> list[nn.Linear]:
    """All linear layers of a stack."""
    return list(stack._modules.values())  # type: ignore[arg-type]


def linear_stack(sizes: Sequence[int]) -> nn.ModuleList:
    """Linear layers between neighbouring sizes, Glorot uniform weights and zero biases."""
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
