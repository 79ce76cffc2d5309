"""Residual units as blocks: a skipped unit is its shortcut; CIFAR's residual networks.

He et al. 2016, "Deep residual learning for image recognition" (arXiv 1512.03385), section 4.2, with
their parameter-free shortcuts (option A), so that a unit that changes the shape can be skipped too.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ccenv.base.values import positive_ints
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows, Stage, add_kept_rows


class ResidualUnit(Stage):
    """activation(shortcut(x) + body(x)); skipped: activation(shortcut(x))."""

    skipped: ClassVar[str] = "identity"
    lists_rows: ClassVar[bool] = True
    block_dims: ClassVar[Mapping[str, int]] = {"body": 0}

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | None = None,
        activation: nn.Module | None = None,
        settled: bool = False,
    ) -> None:
        """Takes the parts.

        Args:
            body: features -> what is added.
            shortcut: features -> features of the body's shape; None: as they are.
            activation: after the sum; None for none.
            settled: whether what arrives has been through the activation already and a second time
                changes nothing, as with ReLU behind ReLU: a skipped unit then costs nothing.
        """
        super().__init__()
        if getattr(activation, "inplace", False) and not settled:
            raise ValueError(
                "expected an activation that leaves its input as it is, or settled=True, got "
                f"{activation}: of a skipped unit it would change the unit's own input"
            )
        self.settled = settled or activation is None
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.activation = nn.Identity() if activation is None else activation

    def measure(self, x: Tensor) -> Tensor:
        """See `Stage.measure`; refuses a unit that is said to be settled, and is not."""
        # Without an activation there is nothing to settle; meta tensors have shapes and no values.
        if self.settled and not isinstance(self.activation, nn.Identity) and not x.is_meta:
            values = torch.linspace(-3, 3, x.numel(), dtype=x.dtype, device=x.device)
            settled = self.shortcut(self.activation(values.view_as(x)))
            if not torch.equal(self.activation(settled.clone()), settled):
                raise ValueError(
                    "expected an activation that changes nothing a second time, as ReLU, of a "
                    f"unit that is settled, got {self.activation}; leave settled out"
                )
        self.body_macs = counted(self.body, x)[0]
        self.shortcut_macs, base = counted(self.shortcut, x)
        self.full_macs = self.body_macs + self.shortcut_macs
        return self.activation(base + self.body(x))

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """Runs the body on the rows that keep it; see `Stage`."""
        base = self.shortcut(x)
        if backend == "reference" and mask is not None:
            y = torch.where(mask.reshape(-1, *[1] * (base.ndim - 1)), self.body(x), 0.0)
            weights = None if weights is None else weights.reshape(-1, *[1] * (base.ndim - 1))
            return self.activation(base + (y if weights is None else y * weights))
        return add_kept_rows(base, self.body, x, mask, weights, self.activation, self.settled)

    def of_one(self, x: Tensor, kept: bool) -> Tensor:
        """See `Stage.of_one`."""
        base: Tensor = self.shortcut(x)
        if not kept and self.settled:
            return base
        return self.activation(base + self.body(x) if kept else base)

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """See `Stage.macs`; the shortcut always runs."""
        return mask[:, 0] * self.body_macs + self.shortcut_macs

    def least_macs(self) -> int:
        """See `Stage.least_macs`."""
        return self.shortcut_macs


class PaddedShortcut(nn.Module):
    """Every second pixel, and zero channels on both sides: no parameters and no products."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] -> wider and smaller."""
        left = self.channels // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, left, self.channels - left))


class Centred(nn.Module):
    """Pixels in [0, 1] -> around 0, so that a data set's images need no transform of their own."""

    def forward(self, images: Tensor) -> Tensor:
        """[rows, ...] -> the same, in [-2, 2]."""
        return (images - 0.5) * 4


def basic_unit(inputs: int, outputs: int, stride: int) -> ResidualUnit:
    """Two 3 x 3 convolutions with batch norm, and a shortcut without parameters."""
    body = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    is_plain = stride == 1 and inputs == outputs
    shortcut = None if is_plain else PaddedShortcut(stride, outputs - inputs)
    return ResidualUnit(body, shortcut, nn.ReLU(inplace=True), settled=True)


def resnet(
    input_shape: tuple[int, ...] = (3, 32, 32),
    num_classes: int = 10,
    depth: int = 20,
    width: int = 16,
) -> GatedSequential:
    """CIFAR's residual network: a gate for each of its (depth - 2) / 2 units.

    Args:
        input_shape: (channels, height, width).
        num_classes: columns of the logits.
        depth: 6 n + 2 layers: 8, 14, 20, 32, 44, 56, 110.
        width: channels of the first third; doubled twice.
    """
    positive_ints((depth, width), "depth and width")
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"expected depth to be 6 n + 2 (8, 14, 20, 32, 110), got {depth}")
    channels = input_shape[0]
    stem = nn.Sequential(
        Centred(), nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )
    units: dict[str, nn.Module] = {}
    inputs = width
    for third in range(3):
        outputs = width << third
        for number in range((depth - 2) // 6):
            stride = 2 if third and not number else 1
            units[f"layer{third + 1}.{number}"] = basic_unit(inputs, outputs, stride)
            inputs = outputs
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))
    network = GatedSequential(stem, units, head, torch.zeros(1, *input_shape))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
