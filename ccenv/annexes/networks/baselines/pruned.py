"""Gradual magnitude pruning: (a plain network, share of its training) -> one with fewer weights.

Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model
compression" (arXiv 1710.01878): while the network learns, its smallest weights become zero for
good, many at first and few at the end. It is one network for all inputs: a policy must gain more;
or a hidden layer in blocks, to see what is left of choosing where weights are pruned as well.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.values import Sizes, positive_ints
from ccenv.networks.core.abilities import Beforehand
from ccenv.networks.core.protocol import Abilities
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows, Stage
from ccenv.networks.stages.linear import (
    Whole,
    fully_connected,
    in_major_linear,
    scale_blocks,
)
from ccenv.networks.vision.experts import strided
from ccenv.networks.vision.residual import Centred
from ccenv.sparse.linear import block_sparse_linear

FLOAT_BYTES, POINTER_BYTES = 4, 4
SHORT_INDEX = 2**16
"""A row of fewer weights than this has indices of two bytes."""


class PrunedWeights(nn.Module):
    """Part of a stage: layers whose smallest weights are given up, and which of them are left."""

    layers: Sequence[nn.Linear | nn.Conv2d]
    places: list[int]

    def watch(self, layers: Sequence[nn.Linear | nn.Conv2d]) -> None:
        """Begins with all weights of these layers, each used once for an input."""
        # A tuple, which torch does not register: they belong to the stage under their own names.
        self.layers = tuple(layers)
        for number, layer in enumerate(self.layers):
            everything = torch.ones_like(layer.weight, dtype=torch.bool)
            self.register_buffer(f"kept_{number}", everything)
        self.places = [1] * len(self.layers)

    def kept(self) -> list[Tensor]:
        """Which weights of each layer are not pruned: bool, as the weights."""
        return [self.get_buffer(f"kept_{number}") for number in range(len(self.layers))]

    def kept_macs(self) -> int:
        """Multiply-accumulates of one input."""
        return sum(int(k.sum()) * n for k, n in zip(self.kept(), self.places, strict=True))

    @torch.no_grad()
    def prune(self, macs: int) -> None:
        """Gives up the smallest weights of all layers until no more MACs than these are left."""
        kept = self.kept()
        # Those that are gone are the smallest, however far the optimiser has moved them.
        sizes = [
            torch.where(k, layer.weight.abs(), -1.0)
            for k, layer in zip(kept, self.layers, strict=True)
        ]
        order = torch.cat([size.flatten() for size in sizes]).argsort(stable=True)
        costs = [k * places for k, places in zip(kept, self.places, strict=True)]
        left = self.kept_macs() - torch.cat([c.flatten() for c in costs])[order].cumsum(0)
        gone = order[: int((left > macs).sum()) + 1]
        parts = torch.ones_like(order, dtype=torch.bool).index_fill(0, gone, False)
        for kept_of_layer, part in zip(kept, parts.split([k.numel() for k in kept]), strict=True):
            kept_of_layer &= part.view(kept_of_layer.shape)

    @torch.no_grad()
    def clear(self) -> None:
        """Weights that were pruned are zero again, wherever an optimiser has moved them."""
        for kept, layer in zip(self.kept(), self.layers, strict=True):
            layer.weight.mul_(kept)

    def memory_bytes(self) -> int:
        """Of kept values with their indices, row by row, and of biases and row pointers."""
        total = 0
        for kept, layer in zip(self.kept(), self.layers, strict=True):
            rows, columns = kept.flatten(1).shape
            index = 2 if columns < SHORT_INDEX else 4
            total += int(kept.sum()) * (FLOAT_BYTES + index) + (rows + 1) * POINTER_BYTES
            total += 0 if layer.bias is None else layer.bias.numel() * FLOAT_BYTES
        return total


NUM_CUTS = 100
"""In so many steps the weights become fewer."""


class PrunedLayers(PrunedWeights, Whole):
    """Layers as one block, whose cost is what products with their kept weights cost.

    Torch multiplies zeros too: the MACs are those of a loop over the weights that are not zero, and
    measured time is the dense network's.
    """

    body: nn.Sequential

    def __init__(self, body: nn.Sequential, outputs: int) -> None:
        """Takes [rows, ...] -> [rows, outputs]; linear layers and convolutions are pruned."""
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


class OutputBias(nn.Module):
    """Adds a number to each column: what is answered where everything is skipped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> the same."""
        return x + self.bias


class PrunedNetwork(GatedSequential):
    """A network of one gate that is pruned while it is co-trained."""

    abilities: Abilities = (*GatedSequential.abilities, Beforehand)
    is_scheduled = True

    def __init__(
        self,
        layers: PrunedWeights,
        outputs: int,
        example: Tensor,
        macs: int | None,
        span: Any,
        stem: nn.Module | None = None,
    ) -> None:
        """See `pruned`; `span` is when pruning begins and ends. A stem is not pruned."""
        start = nn.Identity() if stem is None else stem
        super().__init__(start, {"layers": layers}, OutputBias(outputs), example)
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
        """Refuses: it is pruned while it learns."""
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
    """A fully connected network, after convolutions if `channels` is set, that is pruned.

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
    body.extend(fully_connected([features, *widths, num_classes], last_bias=False))
    layers = PrunedLayers(body, num_classes)
    network = PrunedNetwork(layers, num_classes, example, macs, (begin, end))
    network.norms_learn = norms
    return network


class PrunedBlocks(PrunedWeights, Stage):
    """A hidden layer in blocks and what each adds to the answers; a skipped block adds nothing.

    Kept blocks are billed the weights that are left of them, before and behind the hidden layer.
    """

    tells_norms = False

    def __init__(self, in_features: int, num_blocks: int, block_size: int, outputs: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        self.hidden = in_major_linear(in_features, num_blocks * block_size)
        self.out = in_major_linear(num_blocks * block_size, outputs, bias=False)
        self.watch([self.hidden, self.out])

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, ...] -> [rows, outputs]; see `Stage`."""
        hidden, out, x = self.hidden, self.out, x.flatten(1)
        y = block_sparse_linear(
            x, hidden.weight, hidden.bias, None, mask, activation="relu", backend=backend
        )
        return block_sparse_linear(
            scale_blocks(y, weights), out.weight, None, mask, None, backend=backend
        )

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """Weights that are left of the kept blocks: int64 [rows]."""
        hidden, out = self.kept()
        units = hidden.sum(dim=1) + out.sum(dim=0)
        return torch.where(mask, units.view(self.num_blocks, -1).sum(dim=1), 0).sum(dim=1)


def pruned_blocks(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    num_blocks: int = 16,
    block_size: int = 16,
    macs: int | None = None,
    begin: float = 0.1,
    end: float = 0.7,
) -> PrunedNetwork:
    """One hidden layer in blocks, pruned while it is co-trained with any agent.

    Args:
        input_shape: of one input.
        num_classes: columns of the logits.
        num_blocks: bits of the mask.
        block_size: hidden units of a block.
        macs: weights that are left in the end, of all blocks together; None: a fifth.
        begin: share of the training at which pruning begins.
        end: share of the training at which it ends.
    """
    (blocks,) = positive_ints(num_blocks, "num_blocks")
    (size,) = positive_ints(block_size, "block_size")
    stage = PrunedBlocks(math.prod(input_shape), blocks, size, num_classes)
    return PrunedNetwork(stage, num_classes, torch.zeros(1, *input_shape), macs, (begin, end))
