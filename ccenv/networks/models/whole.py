"""A whole network as one block: (layers) -> a stage that runs all of them or none.

For rivals that choose nothing, so that they are trained, billed and judged as all others are.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ccenv.networks.stage import Stage, add_kept_rows


class Whole(Stage):
    """One block; skipped, its outputs are zero."""

    skipped: ClassVar[str] = "zero"

    def __init__(self, body: nn.Sequential, outputs: int) -> None:
        """Takes the layers.

        Args:
            body: [rows, ...] -> [rows, outputs].
            outputs: columns of its answers.
        """
        super().__init__()
        self.body, self.outputs = body, outputs

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        before: Tensor | None = None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """[rows, ...] -> [rows, outputs], zero where skipped; see `Stage`."""
        if mask is None and weights is None:
            found: Tensor = self.body(x)
            return found
        if backend == "reference" and mask is not None and weights is None:
            return torch.where(mask, self.body(x), 0.0)
        return add_kept_rows(x.new_zeros(len(x), self.outputs), self.body, x, mask, weights)
