"""Stages of linear layers: blocks of units, experts, or any layers as one block for all of them."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.networks.core.protocol import group_of, rows_each
from ccenv.networks.core.stage import Rows, Stage, add_kept_rows, scaled
from ccenv.sparse.linear import block_sparse_linear, resolve_activation
from ccenv.sparse.rows import repeat_for_masks


class BlockLinear(Stage):
    """A linear layer and its activation in blocks of neighbouring units (`block_sparse_linear`).

    Bengio et al. 2015, "Conditional computation in neural networks for faster models", section 3.
    """

    marks_output: ClassVar[bool] = True
    block_dims: ClassVar[Mapping[str, int]] = {"linear": 0}
    input_dims: ClassVar[Mapping[str, int]] = {"linear.weight": 1}

    def __init__(
        self, in_features: int, num_blocks: int, block_size: int, activation: Any = "relu"
    ) -> None:
        """Builds the layer; weights start Glorot uniform, biases zero.

        Args:
            in_features: columns of its input, maps flattened.
            num_blocks: bits of its mask.
            block_size: units of a block.
            activation: "tanh", "relu", None, or a function that maps 0 to 0.
        """
        super().__init__()
        resolve_activation(activation)
        self.num_blocks, self.block_size, self.activation = num_blocks, block_size, activation
        self.linear = in_major_linear(in_features, num_blocks * block_size)

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, ...] -> [rows, num_blocks * block_size]; see `Stage`."""
        y = block_sparse_linear(
            x.flatten(1),
            self.linear.weight,
            self.linear.bias,
            before,
            mask,
            activation=self.activation,
            backend=backend,
        )
        return scale_blocks(y, weights)

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """Kept inputs times kept units: int64 [rows]."""
        inputs = kept_of(before, self.linear.in_features)
        return mask.sum(dim=1) * self.block_size * inputs


class LinearExperts(Stage):
    """n matrices on the same features; what the kept ones give is added up.

    Experts without a hidden layer. Their matrices lie side by side, so that they are the input
    blocks of one layer whose inputs are the features, once for each expert.
    """

    shares_rows: ClassVar[bool] = True
    tells_norms: ClassVar[bool] = False
    block_dims: ClassVar[Mapping[str, int]] = {"output.weight": 1}

    def __init__(self, in_features: int, num_experts: int, outputs: int) -> None:
        """Draws the matrices, each Glorot uniform by itself; there are no biases.

        Args:
            in_features: columns of what they read.
            num_experts: bits of the mask.
            outputs: columns of what they add.
        """
        super().__init__()
        self.num_blocks = num_experts
        self.output = in_major_linear(num_experts * in_features, outputs, bias=False)
        bound = (6 / (in_features + outputs)) ** 0.5
        nn.init.uniform_(self.output.weight, -bound, bound)

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[n, in_features] -> sums [rows, outputs]; n divides the rows of the mask."""
        copies = x.repeat(1, self.num_blocks)
        if mask is not None:
            copies = repeat_for_masks(copies, mask)
        elif weights is not None:
            copies = copies.repeat_interleave(rows_each(len(x), len(weights)), dim=0)
        copies = scale_blocks(copies, weights)
        return block_sparse_linear(copies, self.output.weight, None, mask, backend=backend)


def in_major_linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer, Glorot uniform and zero, as the kernels read it: by inputs."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    # The kernels read all outputs of one input at once, so those lie together in memory.
    linear.weight = nn.Parameter(linear.weight.detach().t().contiguous().t())
    return linear


def fully_connected(sizes: Sequence[int], *, last_bias: bool = True) -> nn.Sequential:
    """Linear layers between neighbouring sizes with ReLU between them."""
    body: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=2):
        is_last = place == len(sizes)
        body.append(in_major_linear(inputs, outputs, bias=last_bias or not is_last))
        body += [] if is_last else [nn.ReLU()]
    return nn.Sequential(*body)


def kept_of(mask: Tensor | None, width: int) -> Tensor | int:
    """Units or channels that are kept of a width, by rows; all without a mask."""
    return width if mask is None else mask.sum(dim=1) * (width // mask.shape[1])


def scale_blocks(y: Tensor, weights: Tensor | None) -> Tensor:
    """Multiplies each block along dimension 1 with its weight: float [rows, num_blocks] or None."""
    if weights is None:
        return y
    blocks = y.unflatten(1, (weights.shape[1], -1))
    return (blocks * weights.reshape(*weights.shape, *[1] * (blocks.ndim - 2))).flatten(1, 2)


class Experts(Stage):
    """n small networks of one hidden layer on the same features; skipped ones contribute zero.

    The hidden layers lie side by side, so experts are the blocks of one layer, and of the inputs of
    the next: `block_sparse_linear` twice.
    """

    shares_rows: ClassVar[bool] = True
    tells_norms: ClassVar[bool] = False
    block_dims: ClassVar[Mapping[str, int]] = {"hidden": 0, "output.weight": 1}
    input_dims: ClassVar[Mapping[str, int]] = {"hidden.weight": 1}

    def __init__(
        self,
        in_features: int,
        num_experts: int,
        expert_size: int,
        outputs: int,
        activation: Any = "relu",
    ) -> None:
        """Builds the experts; Glorot uniform weights, zero biases, none at the output.

        Args:
            in_features: columns of what they read, maps flattened.
            num_experts: bits of the mask.
            expert_size: hidden units of one.
            outputs: columns of what they contribute.
            activation: "relu", "tanh", or a function that maps 0 to 0.
        """
        super().__init__()
        resolve_activation(activation)
        self.num_blocks, self.expert_size, self.activation = num_experts, expert_size, activation
        self.hidden = in_major_linear(in_features, num_experts * expert_size)
        self.output = in_major_linear(num_experts * expert_size, outputs, bias=False)

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[n, ...] -> contributions [rows, outputs]; see `Stage`.

        An expert that several masks of an input keep runs once for it.
        """
        first, second = self.hidden, self.output
        group, some = group_of(x.shape[0], mask, weights), mask
        if group > 1 and mask is not None:
            some = mask.unflatten(0, (len(x), group)).any(dim=1)
        y = block_sparse_linear(
            x.flatten(1), first.weight, first.bias, before, some,
            activation=self.activation, backend=backend,
        )  # fmt: skip
        if group > 1:
            y = y.repeat_interleave(group, 0) if mask is None else repeat_for_masks(y, mask)
        y = scale_blocks(y, weights)
        return block_sparse_linear(y, second.weight, None, mask, backend=backend)

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """(Kept inputs + outputs) x kept hidden units: int64 [rows]."""
        inputs = kept_of(before, self.hidden.in_features) + self.output.out_features
        return mask.sum(dim=1) * self.expert_size * inputs


class Whole(Stage):
    """One block; skipped, its outputs are zero. For baselines that choose nothing."""

    skipped: ClassVar[str] = "zero"
    lists_rows: ClassVar[bool] = True
    block_dims: ClassVar[Mapping[str, int]] = {"body": 0}

    def __init__(self, body: nn.Sequential, outputs: int) -> None:
        """Takes the layers, [rows, ...] -> [rows, outputs]."""
        super().__init__()
        self.body, self.outputs = body, outputs

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, ...] -> [rows, outputs], zero where skipped; see `Stage`."""
        if mask is None and weights is None:
            output: Tensor = self.body(x)
            return output
        if backend == "reference" and mask is not None:
            return scaled(torch.where(mask, self.body(x), 0.0), weights)
        return add_kept_rows(x.new_zeros(len(x), self.outputs), self.body, x, mask, weights)
