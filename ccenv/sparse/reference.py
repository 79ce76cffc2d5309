"""What a block-sparse layer means: (x, weight, bias, masks) -> dense product times mask."""

from collections.abc import Callable

import torch
from torch import Tensor

from ccenv.blocks import expand_mask

Activation = Callable[[Tensor], Tensor]


def zero_where_skipped(x: Tensor, mask: Tensor | None) -> Tensor:
    """Sets the units of skipped blocks to exactly 0: [batch, width], [batch, num_blocks]."""
    if mask is None:
        return x
    return torch.where(expand_mask(mask, x.shape[1] // mask.shape[1]), x, 0.0)


def reference_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: Activation | None,
) -> Tensor:
    """Computes everything and throws the skipped blocks away: the definition, and the slow way."""
    y = torch.nn.functional.linear(zero_where_skipped(x, in_mask), weight, bias)
    return zero_where_skipped(y if activation is None else activation(y), out_mask)
