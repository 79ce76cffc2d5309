"""Networks that may answer early: (inputs, go on or stop at each exit) -> logits.

`cascade` asks a small network first and a larger one where it is not sure (Viola and Jones 2001,
"Rapid object detection using a boosted cascade of simple features"); `early_exit` has an answer
behind each layer (Teerapittayanon et al. 2016, "BranchyNet", arXiv 1709.01686).

`pondering` is the network of Graves 2016, "Adaptive computation time for recurrent neural networks"
(arXiv 1603.08983), for one input: s_n = tanh(W x + U s_(n-1) + b), answers y_n = V s_n, one cell
and one readout for all steps. The first step has a bias of its own, in place of the paper's input
that marks it. With the agent `act` the answer is the mean of the y_n that the halting values
weigh (readout is affine, so that it is the answer of the mean state too); under masks it is the
last one's. Left out: states that go on to a next input of a sequence. `loss_weight` 0 is the
paper's training, by the weighed answer alone; above 0 every step learns to answer by itself, which
agents without halting values need.
"""

import math

import torch
from torch import Tensor, nn

from ccenv.base.values import Sizes, positive_ints
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import fully_connected, in_major_linear
from ccenv.networks.vision.experts import strided
from ccenv.networks.vision.residual import Centred

POOL = 2
"""Maps are averaged to so many pixels a side before an exit behind a convolution answers."""


def cascade(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    first: Sizes = (16, 64),
    then: Sizes = (64, 64),
) -> GatedSequential:
    """Two fully connected networks on the input: a small one, then a larger one.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        first: units of the hidden layers of the small network, which always runs.
        then: those of the network that runs where the first does not stop.
    """
    features = math.prod(input_shape)
    return cascade_on(
        nn.Flatten(), features, num_classes, first, then, torch.zeros(1, *input_shape)
    )


def cascade_on(
    stem: nn.Module, features: int, num_classes: int, first: Sizes, then: Sizes, example: Tensor
) -> GatedSequential:
    """`cascade` on the features of a stem."""
    small, large = (
        fully_connected([features, *positive_ints(units, name, allow_none=True), num_classes])
        for units, name in ((first, "first"), (then, "then"))
    )
    # They share no weight, so that each learns as it would alone.
    return GatedSequential(stem, {"exit": Exit(small, loss_weight=1.0)}, large, example)


def early_exit(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    units: Sizes = (32, 64, 64),
    channels: Sizes = (),
    loss_weight: float = 0.3,
) -> GatedSequential:
    """Fully connected layers, after convolutions if `channels` is set, with exits in between.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        units: of each hidden layer.
        channels: of 3 x 3 convolutions of stride 2 before them.
        loss_weight: of each exit's loss next to the last answer's.
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
        if number <= len(maps):
            layer = nn.Sequential(strided(x.shape[1], width), nn.ReLU())
        else:
            layer = nn.Sequential(nn.Flatten(), in_major_linear(x[0].numel(), width), nn.ReLU())
        with torch.no_grad():
            x = layer(x)
        answer = nn.Sequential()
        if x.ndim == 4:
            answer.extend([nn.AdaptiveAvgPool2d(POOL), nn.Flatten()])
        features = x.shape[1] * (POOL * POOL if x.ndim == 4 else 1)
        answer.append(in_major_linear(features, num_classes))
        parts |= {f"layer{number}": layer, f"exit{number}": Exit(answer, loss_weight)}
    # What would be the last exit is the network's answer.
    last = parts.popitem()[1]
    assert isinstance(last, Exit)
    return GatedSequential(stem, parts, last.head, example)


class FirstStep(nn.Module):
    """Input [rows, ...] -> its part and the first state, side by side: [rows, 2 * units]."""

    def __init__(self, in_features: int, units: int) -> None:
        """Glorot uniform weights, zero biases."""
        super().__init__()
        self.input = in_major_linear(in_features, units)
        self.first = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        """Reads the input, once for all steps."""
        part = self.input(x.flatten(1))
        return torch.cat([part, (part + self.first).tanh()], dim=1)


class PonderingCell(nn.Module):
    """One more step: [rows, 2 * units] -> the same, with the next state."""

    def __init__(self, units: int) -> None:
        """Orthogonal weights, no bias except that of the input's part."""
        super().__init__()
        self.units = units
        self.state = nn.Linear(units, units, bias=False)
        nn.init.orthogonal_(self.state.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Moves the state on."""
        part, state = x[:, : self.units], x[:, self.units :]
        return torch.cat([part, (part + self.state(state)).tanh()], dim=1)


class Readout(nn.Module):
    """What a state answers: [rows, 2 * units] -> [rows, num_classes]."""

    def __init__(self, units: int, num_classes: int) -> None:
        """Glorot uniform weights, zero biases."""
        super().__init__()
        self.units, self.output = units, in_major_linear(units, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Reads the state."""
        return self.output(x[:, self.units :])


def pondering(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    units: int = 64,
    num_steps: int = 6,
    loss_weight: float = 0.3,
) -> GatedSequential:
    """A recurrent cell on one input, with an exit after each step except the last.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        units: of the state.
        num_steps: N, at least 2.
        loss_weight: of each exit's own loss; 0 for the agent `act`, see the module.
    """
    (width,) = positive_ints(units, "units")
    if num_steps < 2:
        raise ValueError(f"expected num_steps of at least 2, got {num_steps}")
    cell, readout = PonderingCell(width), Readout(width, num_classes)
    parts: dict[str, nn.Module] = {"exit1": Exit(readout, loss_weight)}
    for step in range(2, num_steps + 1):
        # The same modules at every step, by several names: their weights are one.
        parts |= {f"step{step}": cell, f"exit{step}": Exit(readout, loss_weight)}
    # The last step has no exit: the network answers there.
    parts.popitem()
    stem = FirstStep(math.prod(input_shape), width)
    return GatedSequential(stem, parts, readout, torch.zeros(1, *input_shape))
