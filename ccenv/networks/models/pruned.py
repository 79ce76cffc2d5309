"""Gradual magnitude pruning: (a plain network, share of its training) -> one with fewer weights.

Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model
compression" (arXiv 1710.01878): while the network learns, its smallest weights become zero for
good, many at first and few at the end. It is one network for all inputs: a policy must gain more.
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.mlp import Sizes, positive_ints
from ccenv.networks.models.experts import strided
from ccenv.networks.models.linear_stage import in_major_linear
from ccenv.networks.models.pruned_weights import FLOAT_BYTES, PrunedWeights
from ccenv.networks.models.residual import Centred
from ccenv.networks.models.whole import Whole
from ccenv.networks.sequential import GatedSequential

NUM_CUTS = 100
"""In so many steps the weights become fewer."""


class PrunedLayers(PrunedWeights, Whole):
    """Layers as one block, whose cost is what products with their kept weights cost.

    Torch multiplies zeros too: the bill is that of a loop over the weights that are not zero, and
    measured time is the dense network's.
    """

    body: nn.Sequential

    def __init__(self, body: nn.Sequential, outputs: int) -> None:
        """Takes the layers.

        Args:
            body: [rows, ...] -> [rows, outputs]; linear layers and convolutions are pruned.
            outputs: columns of its answers.
        """
        super().__init__(body, outputs)
        self.watch([m for m in body if isinstance(m, nn.Linear | nn.Conv2d)])

    def measure(self, x: Tensor) -> Tensor:
        """See `Stage.measure`; of a convolution each weight is used at every place of its map."""
        y, sizes = x, []
        for module in self.body:
            y = module(y)
            if isinstance(module, nn.Linear | nn.Conv2d):
                sizes.append(math.prod(y.shape[2:]))
        self.places = sizes
        return super().measure(x)

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """Those of the kept weights: int64 [rows]."""
        return mask[:, 0].long() * self.kept_macs()


class Shift(nn.Module):
    """Adds a number to each column: what is answered where everything is skipped."""

    def __init__(self, width: int) -> None:
        """Begins with zeros."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> the same."""
        return x + self.bias


class PrunedNetwork(GatedSequential):
    """A network of one gate that is pruned while it is co-trained."""

    def __init__(
        self,
        layers: PrunedWeights,
        outputs: int,
        example: Tensor,
        macs: int | None,
        span: Any,
        stem: nn.Module | None = None,
    ) -> None:
        """See `pruned`; `span` is when pruning begins and ends, as shares of the training.

        A stem is not pruned.
        """
        start = nn.Identity() if stem is None else stem
        super().__init__(start, {"layers": layers}, Shift(outputs), example)
        first, last = span
        if not 0 <= first < last <= 1:
            raise ValueError(
                f"expected pruning to begin and end in 0 <= begin < end <= 1, got {first}, {last}"
            )
        macs = self.dense_macs // 5 if macs is None else macs
        (self.wanted_macs,) = positive_ints(macs, "macs")
        if self.wanted_macs > self.dense_macs:
            raise ValueError(
                f"expected macs of at most the whole network's {self.dense_macs:,}, got {macs:,}"
            )
        self.begin, self.end = first, last

    @property
    def layers(self) -> PrunedWeights:
        """What is pruned."""
        stage = self.part(0)
        assert isinstance(stage, PrunedWeights)
        return stage

    def macs_at(self, done: float) -> int:
        """MACs that are left at a share of the training: Zhu and Gupta, equation 1."""
        share = (done - self.begin) / (self.end - self.begin)
        steps = math.floor(NUM_CUTS * min(max(share, 0.0), 1.0)) / NUM_CUTS
        return self.wanted_macs + round((self.dense_macs - self.wanted_macs) * (1 - steps) ** 3)

    def after_update(self, done: float) -> None:
        """See `GatedNetwork`: prunes as far as the schedule is."""
        wanted = self.macs_at(done)
        if self.layers.kept_macs() > wanted:
            self.layers.prune(wanted)
        self.layers.clear()

    def memory_bytes(self) -> int:
        """See `GatedNetwork`: what is stored of the weights that are left, the stem's whole."""
        whole = self.num_classes + sum(weight.numel() for weight in self.stem.parameters())
        # With fixed statistics a norm is folded into the weights before it, but for a bias.
        whole += sum(m.num_features for m in self.modules() if isinstance(m, nn.BatchNorm2d))
        return self.layers.memory_bytes() + whole * FLOAT_BYTES

    def learn_beforehand(self, split: Any) -> None:
        """Refuses: it is pruned while it learns.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "expected weights='cotrain' of a network that is pruned while it learns, got 'frozen'"
        )


def pruned(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    units: Sizes = (128, 64),
    channels: Sizes = (),
    macs: int | None = None,
    begin: float = 0.1,
    end: float = 0.7,
    norms: bool = False,
) -> PrunedNetwork:
    """A fully connected network, behind convolutions if there are `channels`, that is pruned.

    It must be co-trained with `schedule_updates`, by the agent `dense`.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        units: of each hidden layer, of all weights.
        channels: of 3 x 3 convolutions of stride 2 before them.
        macs: what is left in the end, without convolutions the number of weights that are not zero;
            None: a fifth.
        begin: share of the training at which pruning begins.
        end: share of the training at which it ends.
        norms: whether convolutions have batch norms, which learn along and cost nothing.

    Raises:
        ValueError: if a size, a share or the number of MACs is impossible.
    """
    widths = positive_ints(units, "units", allow_none=True)
    maps = positive_ints(channels, "channels", allow_none=True)
    body = nn.Sequential(Centred()) if maps else nn.Sequential()
    for inputs, outputs in itertools.pairwise([input_shape[0], *maps]):
        between = [nn.BatchNorm2d(outputs)] if norms else []
        body.extend([strided(inputs, outputs, bias=not norms), *between, nn.ReLU()])
    body.append(nn.Flatten())
    example = torch.zeros(1, *input_shape)
    with torch.no_grad():
        features = body.eval()(example).shape[1]
    for inputs, outputs in itertools.pairwise([features, *widths]):
        body.extend([in_major_linear(inputs, outputs), nn.ReLU()])
    body.append(in_major_linear([features, *widths][-1], num_classes, bias=False))
    layers = PrunedLayers(body, num_classes)
    network = PrunedNetwork(layers, num_classes, example, macs, (begin, end))
    network.norms_learn = norms
    return network
