"""Dense networks with dropout of units as it should be: rescaled in training, off at test.

Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting": the
networks `mlp-dropout-0.2` and `mlp-dropout-0.5`. The paper's authors left dropout on at test and
rescaled nothing: that is the agent `block_dropout` with blocks of one unit.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.networks.core.mlp import GatedMLP


class DropoutMLP(GatedMLP):
    """A `GatedMLP` whose gated layers lose units at random, while `CoTrainer` trains it only.

    What is dropped is drawn from torch's global stream, which a run seeds, keeps and puts back.
    """

    def __init__(self, *sizes: Any, dropout: float, **settings: Any) -> None:
        """Builds the layers.

        Args:
            *sizes: see `GatedMLP`.
            dropout: share of units dropped, in [0, 1).
            **settings: see `GatedMLP`.

        Raises:
            ValueError: if the share is out of range, or as in `GatedMLP`.
        """
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
    """A fifth of the units is dropped."""
    return DropoutMLP(dropout=0.2, **sizes)


def half(**sizes: Any) -> DropoutMLP:
    """Half of the units are dropped."""
    return DropoutMLP(dropout=0.5, **sizes)
