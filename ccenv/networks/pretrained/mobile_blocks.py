"""Blocks of mobile networks: (rows of the paper's table) -> modules, residual ones as gates.

Sandler et al. 2018, "MobileNetV2" (arXiv 1801.04381), as EfficientNet-Lite has them: ReLU6, and
TensorFlow's paddings and batch norms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ccenv.networks.models.residual import ResidualUnit


@dataclass(frozen=True)
class BlockGroup:
    """Neighbouring blocks of one width: a row of the paper's table 1."""

    repeats: int
    kernel: int
    stride: int
    """of the first block; 1 in the others."""
    expansion: int
    """channels inside a block over those of its input."""
    channels: int
    """of the outputs."""


class SameConv2d(nn.Conv2d):
    """A convolution without bias and with TensorFlow's padding "same": odd pixels go behind."""

    folds_norms: ClassVar[bool] = True

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        """Takes the sizes; with stride 1 the padding is the usual one."""
        usual = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, usual, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] -> sides divided by the stride, rounded up."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if stride == 1:
            return super().forward(x)
        ends = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            ends += [total // 2, total - total // 2]
        return super().forward(nn.functional.pad(x, ends))


class ImagenetPixels(nn.Module):
    """Images in [0, 1] of any size -> the size and scale that the weights were trained with."""

    def __init__(self, image_size: int) -> None:
        """Takes the side in pixels."""
        super().__init__()
        self.image_size = image_size

    def forward(self, images: Tensor) -> Tensor:
        """[rows, 1 or 3, height, width] -> [rows, 3, image_size, image_size], about [-1, 1]."""
        side = self.image_size
        if tuple(images.shape[2:]) != (side, side):
            images = nn.functional.interpolate(
                images, (side, side), mode="bilinear", antialias=max(images.shape[2:]) > side
            )
        scaled = ((images * 255 - 127) / 128).expand(-1, 3, -1, -1)
        # Channels last: convolutions of CPUs then copy nothing on their way, so that skipping
        # a block saves its time.
        return scaled.contiguous(memory_format=torch.channels_last)


class MBConv(nn.Module):
    """Widens by 1 x 1, filters each channel, narrows by 1 x 1; attributes as the weights' names."""

    norms_behind: Mapping[str, str]
    """see `ccenv.networks.packed.packed`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        """Takes the sizes; see `BlockGroup`."""
        super().__init__()
        inner = inputs * expansion
        self.is_wider = expansion != 1
        self.norms_behind = {"depthwise_conv": "bn1", "project_conv": "bn2"}
        if self.is_wider:
            self.norms_behind = {"expand_conv": "bn0", **self.norms_behind}
            self.expand_conv, self.bn0 = SameConv2d(inputs, inner, 1), norm(inner)
        self.depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.bn1 = norm(inner)
        self.project_conv, self.bn2 = SameConv2d(inner, outputs, 1), norm(outputs)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, inputs, height, width] -> [rows, outputs, ...]."""
        if self.is_wider:
            x = self.act(self.bn0(self.expand_conv(x)))
        x = self.act(self.bn1(self.depthwise_conv(x)))
        y: Tensor = self.bn2(self.project_conv(x))
        return y


class PooledHead(nn.Module):
    """Features of the last block -> pooled features -> logits."""

    norms_behind: ClassVar[Mapping[str, str]] = {"conv": "bn"}
    """see `ccenv.networks.packed.packed`."""

    def __init__(self, inputs: int, width: int, num_classes: int) -> None:
        """Takes the sizes."""
        super().__init__()
        self.conv, self.bn, self.act = SameConv2d(inputs, width, 1), norm(width), nn.ReLU6(True)
        self.fc = nn.Linear(width, num_classes)

    def pooled(self, x: Tensor) -> Tensor:
        """What the linear layer sees: [rows, channels, height, width] -> [rows, width]."""
        return self.act(self.bn(self.conv(x))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] -> logits [rows, num_classes]."""
        logits: Tensor = self.fc(self.pooled(x))
        return logits


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm as TensorFlow has it."""
    return nn.BatchNorm2d(channels, eps=1e-3)


def mobile_blocks(groups: Sequence[BlockGroup], channels: int) -> dict[str, nn.Module]:
    """All blocks by name; those that keep the shape are residual units.

    Args:
        groups: see `BlockGroup`.
        channels: of the stem's output.
    """
    blocks: dict[str, nn.Module] = {}
    for group in groups:
        for number in range(group.repeats):
            stride = 1 if number else group.stride
            body = MBConv(channels, group.channels, group.kernel, stride, group.expansion)
            is_residual = stride == 1 and channels == group.channels
            blocks[f"blocks.{len(blocks)}"] = ResidualUnit(body) if is_residual else body
            channels = group.channels
    return blocks
