"""Networks that may answer early: (inputs, go on or stop at each exit) -> logits.

`cascade` asks a small network first and a larger one where it is not sure (Viola and Jones 2001,
"Rapid object detection using a boosted cascade of simple features"); `early_exit` has an answer
behind each layer (Teerapittayanon et al. 2016, "BranchyNet", arXiv 1709.01686). Beside them stands
the agent `confidence`, which has no policy to learn.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from ccenv.networks.flow import Exit
from ccenv.networks.mlp import Sizes, positive_ints
from ccenv.networks.models.experts import strided
from ccenv.networks.models.linear_stage import in_major_linear
from ccenv.networks.models.residual import Centred
from ccenv.networks.sequential import GatedSequential

POOL = 2
"""Maps are averaged to so many pixels a side before an exit behind a convolution answers."""


def fully_connected(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers between neighbouring sizes with ReLU between them.

    >>> len(fully_connected([4, 3, 2]))
    3
    """
    body: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        body += [in_major_linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*body[:-1])


def cascade(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    first: Sizes = (16, 64),
    then: Sizes = (64, 64),
) -> GatedSequential:
    """Two fully connected networks that read the input: a small one, and a larger one after it.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        first: units of the hidden layers of the small network, which always runs.
        then: those of the network that runs where the first does not stop.

    Raises:
        ValueError: if a size is impossible.
    """
    example = torch.zeros(1, *input_shape)
    features = example.numel()
    small, large = (
        fully_connected([features, *positive_ints(units, name, allow_none=True), num_classes])
        for units, name in ((first, "first"), (then, "then"))
    )
    # They share no weight, so that each learns as it would alone.
    parts = {"exit": Exit(small, loss_weight=1.0)}
    return GatedSequential(nn.Flatten(), parts, large, example)


def early_exit(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    units: Sizes = (32, 64, 64),
    channels: Sizes = (),
    loss_weight: float = 0.3,
) -> GatedSequential:
    """Convolutions, if there are `channels`, and fully connected layers; an exit between them each.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        units: of each hidden layer.
        channels: of 3 x 3 convolutions of stride 2 before them.
        loss_weight: of each exit's loss beside the last answer's.

    Raises:
        ValueError: if a size is impossible, or there are not two layers for an exit between them.
    """
    widths = positive_ints(units, "units", allow_none=True)
    maps = positive_ints(channels, "channels", allow_none=True)
    if len(maps) + len(widths) < 2:
        raise ValueError(
            f"expected at least two layers with an exit between them, got {len(maps)} channels and "
            f"{len(widths)} units"
        )
    example = torch.zeros(1, *input_shape)
    stem: nn.Module = Centred() if maps else nn.Flatten()
    x = stem(example)
    parts: dict[str, nn.Module] = {}
    for number, width in enumerate([*maps, *widths], start=1):
        layer = convolved(x, width) if number <= len(maps) else connected(x, width)
        with torch.no_grad():
            x = layer(x)
        parts |= {
            f"layer{number}": layer,
            f"exit{number}": Exit(answer_on(x, num_classes), loss_weight),
        }
    # What would be the last exit is the network's answer.
    last = parts.popitem()[1]
    assert isinstance(last, Exit)
    return GatedSequential(stem, parts, last.head, example)


def convolved(x: torch.Tensor, channels: int) -> nn.Sequential:
    """A 3 x 3 convolution at every second pixel, and ReLU."""
    return nn.Sequential(strided(x.shape[1], channels), nn.ReLU())


def connected(x: torch.Tensor, units: int) -> nn.Sequential:
    """A linear layer on features, maps flattened, and ReLU."""
    return nn.Sequential(nn.Flatten(), in_major_linear(x[0].numel(), units), nn.ReLU())


def answer_on(x: torch.Tensor, num_classes: int) -> nn.Sequential:
    """Logits from features; maps are averaged first."""
    if x.ndim != 4:
        return nn.Sequential(in_major_linear(x.shape[1], num_classes))
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(POOL), nn.Flatten())
    return pooled.append(in_major_linear(x.shape[1] * POOL * POOL, num_classes))
