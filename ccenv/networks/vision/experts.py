"""Experts as blocks: (features, mask of experts) -> the sum of what kept ones contribute.

`experts` is a small convolutional stem, first logits that always run, and k of n experts that add
to them; a policy sees the first logits and the features. Shazeer et al. 2017, "Outrageously large
neural networks" (arXiv 1701.06538), has such experts behind a gate learned by back-propagation.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from ccenv.base.values import positive_ints
from ccenv.networks.core.protocol import group_of
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows, pooled
from ccenv.networks.stages.linear import Experts, in_major_linear
from ccenv.networks.vision.residual import Centred


class ExpertsOnAnswer(Experts):
    """Experts that add to first answers: [rows, features + outputs] -> answers [rows, outputs].

    Its input holds features and, behind them, the first answers (`FirstAnswer`); experts read both,
    so that nothing is copied. The look is how sure these answers are, and the features pooled.
    """

    def __init__(
        self,
        map_shape: tuple[int, ...],
        num_experts: int,
        expert_size: int,
        outputs: int,
    ) -> None:
        """Builds the experts on features of shape (channels, height, width); see `Experts`."""
        features = math.prod(map_shape)
        super().__init__(features + outputs, num_experts, expert_size, outputs)
        self.map_shape, self.num_features = map_shape, features

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """See `Experts.compute`; what comes before has no blocks."""
        first, group = x[:, self.num_features :], group_of(x.shape[0], mask, weights)
        first = first if group == 1 else first.repeat_interleave(group, 0)
        return first + super().compute(x, mask, None, weights, backend)

    def look(self, x: Tensor) -> Tensor:
        """Log-probabilities of the first answers, and features pooled to 2 x 2."""
        first = x[:, self.num_features :].log_softmax(dim=1)
        maps = x[:, : self.num_features].unflatten(1, self.map_shape)
        return torch.cat([first, pooled(maps)], dim=1)


class FirstAnswer(nn.Module):
    """Appends a small layer's logits to features: [rows, ...] -> [rows, features + classes]."""

    def __init__(self, in_features: int, units: int, num_classes: int) -> None:
        """Builds the layer; Glorot uniform weights, zero biases."""
        super().__init__()
        self.hidden = in_major_linear(in_features, units)
        self.output = in_major_linear(units, num_classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Flattens, and answers."""
        x = maps.flatten(1)
        return torch.cat([x, self.output(self.hidden(x).relu())], dim=1)


def strided(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """A 3 x 3 convolution at every second pixel."""
    layer = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def experts(
    input_shape: tuple[int, ...] = (3, 32, 32),
    num_classes: int = 10,
    num_experts: int = 32,
    expert_size: int = 16,
    channels: tuple[int, int] = (16, 32),
    first_units: int = 32,
    norms: bool = False,
) -> GatedSequential:
    """Two strided convolutions and first logits, then one gate of experts that add logits.

    Args:
        input_shape: (channels, height, width).
        num_classes: columns of the logits.
        num_experts: blocks of the gate.
        expert_size: hidden units of one.
        channels: of the two convolutions.
        first_units: hidden units of the first logits, which always run.
        norms: whether batch norm follows each convolution. It learns while the network is
            co-trained: it lies before the gate, so that what it averages over is never masked.
    """
    sizes = (num_experts, expert_size, first_units, *channels)
    positive_ints(sizes, "num_experts, expert_size, first_units and channels")
    stem = nn.Sequential(Centred())
    for inputs, outputs in itertools.pairwise((input_shape[0], *channels)):
        stem.append(strided(inputs, outputs, bias=not norms))
        stem.extend([nn.BatchNorm2d(outputs), nn.ReLU()] if norms else [nn.ReLU()])
    example = torch.zeros(1, *input_shape)
    with torch.no_grad():
        map_shape = tuple(stem.eval()(example).shape[1:])
    stem.append(FirstAnswer(math.prod(map_shape), first_units, num_classes))
    stage = ExpertsOnAnswer(map_shape, num_experts, expert_size, num_classes)
    network = GatedSequential(stem, {"experts": stage}, nn.Identity(), example)
    network.norms_learn = norms
    return network
