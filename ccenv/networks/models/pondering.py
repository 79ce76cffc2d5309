"""Pondering: one recurrent cell on the same input, up to N times, with an exit behind each step.

The network of Graves 2016, "Adaptive computation time for recurrent neural networks" (arXiv
1603.08983), for one input: s_n = tanh(W x + U s_(n-1) + b), answers y_n = V s_n, one cell and one
readout for all steps. The first step has a bias of its own, in place of the paper's input that
marks it. Beside the agent `act` the answer is the mean of the y_n that the halting values weigh
(readout is affine, so that it is the answer of the mean state too); under masks it is the last
one's. The input's part W x is computed once, before the first step. Left out: states that go on to
a next input of a sequence.

`loss_weight` 0 is the paper's training, by the weighed answer alone; above 0 every step learns to
answer by itself, which agents without halting values need.
"""

import math

import torch
from torch import Tensor, nn

from ccenv.networks.flow import Exit
from ccenv.networks.mlp import positive_ints
from ccenv.networks.models.linear_stage import in_major_linear
from ccenv.networks.sequential import GatedSequential


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


class Cell(nn.Module):
    """One more step: [rows, 2 * units] -> the same, with the next state."""

    def __init__(self, units: int) -> None:
        """Orthogonal weights, no bias beside that of the input's part."""
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
        answers: Tensor = self.output(x[:, self.units :])
        return answers


def pondering(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    units: int = 64,
    num_steps: int = 6,
    loss_weight: float = 0.3,
) -> GatedSequential:
    """A recurrent cell on one input, with an exit behind each step but the last.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        units: of the state.
        num_steps: N, at least 2.
        loss_weight: of each exit's own loss; 0 for the agent `act`, see the module.

    Raises:
        ValueError: if a size is impossible.
    """
    (width,) = positive_ints(units, "units")
    if num_steps < 2:
        raise ValueError(f"expected num_steps of at least 2, got {num_steps}")
    cell, readout = Cell(width), Readout(width, num_classes)
    parts: dict[str, nn.Module] = {"exit1": Exit(readout, loss_weight)}
    for step in range(2, num_steps + 1):
        # The same modules at every step, by several names: their weights are one.
        parts |= {f"step{step}": cell, f"exit{step}": Exit(readout, loss_weight)}
    parts.popitem()
    stem = FirstStep(math.prod(input_shape), width)
    return GatedSequential(stem, parts, readout, torch.zeros(1, *input_shape))
