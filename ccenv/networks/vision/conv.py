"""Convolutions with channel groups as blocks: (maps, mask of groups) -> maps; a small network."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.base.values import positive_ints
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows, Stage
from ccenv.networks.stages.linear import kept_of, scale_blocks
from ccenv.networks.vision.residual import Centred
from ccenv.sparse.conv2d import block_sparse_conv2d
from ccenv.sparse.linear import resolve_activation
from ccenv.sparse.operands import check_multiple


class BlockConv2d(Stage):
    """A convolution and its activation; a block is a group of neighbouring output channels.

    Where the stage before has channel groups too, only those that a row has kept are read, and
    billed.
    """

    marks_output: ClassVar[bool] = True
    block_dims: ClassVar[Mapping[str, int]] = {"weight": 0, "bias": 0}
    input_dims: ClassVar[Mapping[str, int]] = {"weight": 1}

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        num_blocks: int,
        stride: int = 1,
        activation: Any = "relu",
        after: nn.Module | None = None,
    ) -> None:
        """Builds the layer; weights start normal as in He et al. 2015 (fan in), biases zero.

        Args:
            inputs: channels.
            outputs: channels, `outputs / num_blocks` a block.
            kernel: pixels a side; zeros around the map are half as many.
            num_blocks: bits of its mask.
            stride: pixels from place to place.
            activation: "relu", "tanh", None, or a function that maps 0 to 0.
            after: maps -> maps, each channel by itself and zero to zero, such as max-pooling.
        """
        super().__init__()
        check_multiple(outputs, num_blocks, "the convolution's mask")
        resolve_activation(activation)
        # Not torch's module: what prepares that one for torch's convolutions turns its weights
        # around, and the kernels would turn them back in every call.
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride, self.padding = stride, kernel // 2
        self.num_blocks, self.activation, self.after = num_blocks, activation, after
        self.pixels = 0

    def measure(self, x: Tensor) -> Tensor:
        """See `Stage.measure`; what comes after must keep channels apart, and zero at zero."""
        y = super().measure(x)
        self.pixels = self.full_macs // self.weight.numel()
        at_zero = y if self.after is None else self.after(torch.zeros_like(self.convolved(x)))
        if self.after is not None and (y.shape[1] != len(self.weight) or bool(at_zero.any())):
            raise ValueError(
                "expected what comes after a convolution to keep its channels apart and zero at "
                f"zero, such as max-pooling, got {self.after}; make it a part of the network"
            )
        return y

    def convolved(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        before: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """Convolution and activation."""
        return block_sparse_conv2d(
            x,
            self.weight,
            self.bias,
            before,
            mask,
            stride=self.stride,
            padding=self.padding,
            activation=self.activation,
            backend=backend,
        )

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, inputs, height, width] -> [rows, outputs, ...]; see `Stage`."""
        y = self.convolved(x, mask, before, backend)
        return scale_blocks(y if self.after is None else self.after(y), weights)

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """Kernel's places x kept inputs x kept outputs x pixels: int64 [rows]."""
        channels, width, kernel, _ = self.weight.shape
        inputs, outputs = kept_of(before, width), kept_of(mask, channels)
        return kernel**2 * self.pixels * outputs * inputs  # type: ignore[return-value]


def conv(
    input_shape: tuple[int, ...] = (3, 32, 32),
    num_classes: int = 10,
    channels: Sequence[int] = (32, 64, 128),
    num_blocks: int = 8,
    strides: Sequence[int] = (1, 2, 2),
    pool: int = 2,
) -> GatedSequential:
    """A small convolutional network: 3 x 3 convolutions in channel groups, one gate each.

    Args:
        input_shape: (channels, height, width).
        num_classes: columns of the logits.
        channels: of each layer.
        num_blocks: groups of each layer.
        strides: pixels from place to place, of each layer.
        pool: the last maps are averaged to so many pixels a side before the linear head.
    """
    positive_ints((num_blocks, pool, *channels, *strides), "num_blocks, pool, channels and strides")
    if len(channels) != len(strides):
        raise ValueError(
            f"expected a stride for each of the {len(channels)} layers, got {list(strides)}"
        )
    sizes = [input_shape[0], *channels]
    parts = {
        f"conv{number + 1}": BlockConv2d(sizes[number], width, 3, num_blocks, stride)
        for number, (width, stride) in enumerate(zip(channels, strides, strict=True))
    }
    features = channels[-1] * pool * pool
    head = nn.Sequential(nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.Linear(features, num_classes))
    return GatedSequential(Centred(), parts, head, torch.zeros(1, *input_shape))
