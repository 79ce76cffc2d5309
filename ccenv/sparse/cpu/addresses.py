"""Where a layer's numbers lie: tensors -> addresses, distances and sizes for the kernels.

Backward passes that have no own gradient: a function -> one that says so when it is asked.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def in_major(weight: Tensor) -> Tensor:
    """The weight as [in_features, out_features] without gaps; a copy unless it lies so already."""
    return weight.t().contiguous()


Sizes = tuple[int, int, int, int, int]
"""Rows, input blocks, units of one, output blocks, units of one."""


class Weights(NamedTuple):
    """Where the kernels find a layer's weights."""

    held: Tensor
    """lives while they are read."""
    of_input: int
    """floats from an input unit's weights to those of the next one."""
    of_output: int
    """floats from an output unit's weights to those of the next one; this or the other is 1."""
    panel: int
    """floats from an output block's weights to those of the next one."""


def weights_of(weight: Tensor, out_size: int) -> Weights:
    """A weight [out_features, in_features] as it lies; a copy if units lie apart both ways."""
    (out_width, in_width), (of_output, of_input) = weight.shape, weight.stride()
    if of_input == out_width and (of_output == 1 or out_width == 1):
        return Weights(weight, out_width, 1, out_size)
    if of_input == 1 and of_output >= in_width:
        return Weights(weight, 1, of_output, out_size * of_output)
    return Weights(in_major(weight), out_width, 1, out_size)


def address(tensor: Tensor | None) -> int:
    """Where a tensor's numbers lie, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def sizes_of(width: int, mask: Tensor | None) -> tuple[int, int]:
    """Number of blocks and units of a block; a side without a mask is one block."""
    if mask is None:
        return 1, width
    blocks = mask.shape[1]
    return blocks, width // blocks


Backward = Callable[[Any, Tensor], Any]


def once(backward: Backward) -> Backward:
    """Torch's `once_differentiable`, without the microseconds that it takes of every pass.

    Only where the gradient is to have a gradient itself does it do anything.
    """
    careful: Backward = once_differentiable(backward)

    @functools.wraps(backward)
    def chosen(ctx: Any, grad: Tensor) -> Any:
        return careful(ctx, grad) if torch.is_grad_enabled() else backward(ctx, grad)

    return chosen
