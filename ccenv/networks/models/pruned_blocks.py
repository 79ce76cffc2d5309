"""Pruning and choosing together: blocks of a hidden layer whose weights are pruned as well.

What is left of choosing where a fixed network has already given up the weights that nobody needs.
"""

import math

import torch
from torch import Tensor

from ccenv.networks.mlp import positive_ints
from ccenv.networks.models.linear_stage import in_major_linear, scale_blocks
from ccenv.networks.models.pruned import PrunedNetwork
from ccenv.networks.models.pruned_weights import PrunedWeights
from ccenv.networks.stage import Stage
from ccenv.sparse.linear import block_sparse_linear


class PrunedBlocks(PrunedWeights, Stage):
    """A hidden layer in blocks and what each adds to the answers; a skipped block adds nothing.

    Kept blocks are billed the weights that are left of them, before and behind the hidden layer.
    """

    tells_norms = False

    def __init__(self, in_features: int, num_blocks: int, block_size: int, outputs: int) -> None:
        """Builds both layers, all weights kept.

        Args:
            in_features: columns of its input, maps flattened.
            num_blocks: bits of its mask.
            block_size: hidden units of a block.
            outputs: columns of the answers.
        """
        super().__init__()
        self.num_blocks = num_blocks
        self.hidden = in_major_linear(in_features, num_blocks * block_size)
        self.out = in_major_linear(num_blocks * block_size, outputs, bias=False)
        self.watch([self.hidden, self.out])

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        before: Tensor | None = None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """[rows, ...] -> [rows, outputs]; see `Stage`."""
        hidden, out, x = self.hidden, self.out, x.flatten(1)
        y = block_sparse_linear(
            x, hidden.weight, hidden.bias, None, mask, activation="relu", backend=backend
        )
        return block_sparse_linear(
            scale_blocks(y, weights), out.weight, None, mask, None, backend=backend
        )

    def block_weights(self) -> Tensor:
        """Weights that are left of each block: int64 [num_blocks]."""
        hidden, out = self.kept()
        units = hidden.sum(dim=1) + out.sum(dim=0)
        return units.view(self.num_blocks, -1).sum(dim=1)

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """Those of the kept blocks' weights: int64 [rows]."""
        return torch.where(mask, self.block_weights(), 0).sum(dim=1)


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

    Raises:
        ValueError: if a size, a share or the number of MACs is impossible.
    """
    (blocks,), (size,) = (
        positive_ints(num_blocks, "num_blocks"),
        positive_ints(block_size, "block_size"),
    )
    stage = PrunedBlocks(math.prod(input_shape), blocks, size, num_classes)
    return PrunedNetwork(stage, num_classes, torch.zeros(1, *input_shape), macs, (begin, end))
