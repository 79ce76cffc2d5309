"""Dense baselines: a small convolutional network, and networks with dropout of units.

Batch norms (Ioffe and Szegedy 2015, arXiv 1502.03167) cost nothing: with fixed statistics they are
folded into the weights before them. Dropout is as it should be, rescaled in training, off at test:
Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting". The
paper's authors left it on at test and rescaled nothing: that is the agent `block_dropout` with
blocks of one unit.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.values import Sizes, positive_ints
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import Whole
from ccenv.networks.vision.residual import Centred


def small_conv(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    channels: Sizes = (8, 16),
    kernel: Sizes = 3,
    units: Sizes = (),
    strides: Sequence[int] = (),
    padded: bool = True,
) -> GatedSequential:
    """Convolutions, then fully connected layers if there are `units`; one gate, for all of it.

    Its norms learn while it is co-trained, as every row runs: train it by the agent `dense`.

    Args:
        input_shape: (channels, height, width).
        num_classes: columns of the logits.
        channels: of each convolution.
        kernel: side of each, odd; one number or one for each.
        units: of hidden layers behind the flattened maps.
        strides: pixels from place to place of each convolution; none: 2 each.
        padded: whether edges are padded by half a kernel; without, there are fewer places.
    """
    maps = positive_ints(channels, "channels")
    widths = positive_ints(units, "units", allow_none=True)
    steps = positive_ints(strides or (2,) * len(maps), "strides")
    sides = positive_ints(kernel, "kernel")
    sides = sides * len(maps) if len(sides) == 1 else sides
    if len(steps) != len(maps) or len(sides) != len(maps):
        raise ValueError(
            f"expected {len(maps)} strides and kernels, got {list(steps)} and {list(sides)}"
        )
    if not all(side % 2 for side in sides):
        raise ValueError(f"expected odd kernels, got {list(sides)}")
    body = nn.Sequential()
    sizes = itertools.pairwise([input_shape[0], *maps])
    for (inputs, outputs), stride, side in zip(sizes, steps, sides, strict=True):
        edge = side // 2 if padded else 0
        conv = nn.Conv2d(inputs, outputs, side, stride, edge, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        body.extend([conv, nn.BatchNorm2d(outputs), nn.ReLU()])
    body.append(nn.Flatten())
    example = torch.zeros(1, *input_shape)
    with torch.no_grad():
        features = body.eval()(example).shape[1]
    for inputs, outputs in itertools.pairwise([features, *widths]):
        body.extend([nn.Linear(inputs, outputs), nn.ReLU()])
    last = [features, *widths][-1]
    head = nn.Linear(last, num_classes)
    network = GatedSequential(Centred(), {"layers": Whole(body, last)}, head, example)
    network.norms_learn = True
    return network


class DropoutMLP(GatedMLP):
    """A `GatedMLP` whose gated layers lose units at random, while `CoTrainer` trains it only.

    What is dropped is drawn from torch's global stream, which a run seeds, keeps and puts back.
    """

    def __init__(self, *sizes: Any, dropout: float, **settings: Any) -> None:
        """Takes the share of units dropped, in [0, 1), and what `GatedMLP` takes."""
        if not 0 <= dropout < 1:
            raise ValueError(f"expected dropout in [0, 1), got {dropout}")
        super().__init__(*sizes, **settings)
        self.dropout = dropout

    def gated_layer(
        self,
        index: int,
        x: Tensor,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        backend: str = "auto",
    ) -> Tensor:
        """See `GatedMLP.gated_layer`."""
        hidden = super().gated_layer(index, x, in_mask, out_mask, backend)
        return torch.nn.functional.dropout(hidden, self.dropout, self.training)


def fifth(**sizes: Any) -> DropoutMLP:
    """The network `mlp` with dropout of 0.2 of the units."""
    return DropoutMLP(dropout=0.2, **sizes)


def half(**sizes: Any) -> DropoutMLP:
    """The network `mlp` with dropout of half of the units."""
    return DropoutMLP(dropout=0.5, **sizes)
