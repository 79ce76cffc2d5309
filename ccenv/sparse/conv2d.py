"""Entry point of block-sparse convolutions: (maps, weight, bias, masks) -> kept groups' maps."""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ccenv.sparse import cpu
from ccenv.sparse.linear import resolve_activation
from ccenv.sparse.operands import Operands, as_autocast, check_sides, layer_sizes
from ccenv.sparse.reference import (
    Activation,
    empty_sum,
    rows_of_blocks,
    used_units,
    zero_where_skipped,
)
from ccenv.sparse.routes import cheapest, choose_backend

# Where the kernels lose to one dense convolution between masks. Measured on one core with AVX-512,
# 1, 16 and 128 images, five layers of 3 to 128 channels on maps of 8 to 32 pixels, forward and with
# gradients: with 9 of 16 pairs of groups kept the kernels took 0.5 to 0.9 of the dense time in most
# of the 30 cases, with all pairs kept 0.7 to 5 times; with 27 weights an output, or for one image,
# hardly ever more.
NEARLY_DENSE = 0.65
"""share of kept pairs of groups from which on one dense convolution is taken."""
FEW_INPUTS = 64
"""weights of an output channel below which the kernels always win: writing maps is all there is."""


def choose_conv_route(operands: Operands, backend: str) -> str:
    """Picks a route for operands that were checked: a name in `ccenv.sparse.routes.ROUTES`.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.
    """
    x, weight, _, in_mask, out_mask = operands
    if choose_backend(backend, x) == "reference":
        return "reference"
    if in_mask is None and out_mask is None:
        return "dense"
    if x.is_cpu and x.dtype == torch.float32:
        few = FEW_INPUTS * weight.shape[0]
        if backend != "auto" or x.shape[0] == 1 or weight.numel() < few:
            return "kernels"
        sizes = layer_sizes(operands)
        limit = NEARLY_DENSE * sizes[0] * sizes[1] * sizes[3]
        return cheapest(sizes, in_mask, out_mask, math.ceil(limit) - 1)
    return "masked_dense" if backend == "auto" and x.is_cuda else "grouped"


def block_sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None = None,
    out_mask: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str | Activation | None = None,
    backend: str = "auto",
) -> Tensor:
    """Convolution on the channel groups that the masks keep; skipped groups are exactly zero.

    Differentiable in x, weight and bias. A group that no row keeps is not executed: its weights are
    not read and their gradient is zero.

    Args:
        x: [batch, in_channels, height, width] float; channels of skipped input groups are ignored,
            whatever they are.
        weight: [out_channels, in_channels, kernel, kernel], as in `torch.nn.Conv2d`.
        bias: [out_channels] or None.
        in_mask: bool [batch, in_blocks], or None for all input channels.
        out_mask: bool [batch, out_blocks], or None for all output channels.
        stride: pixels from place to place.
        padding: zero pixels around the map.
        activation: None, "tanh", "relu" or an elementwise function that maps 0 to 0.
        backend: "reference" computes everything and masks; "cpu" and "gpu" what is kept and nothing
            else, on that device; "auto" whichever is faster.

    Returns:
        [batch, out_channels, out_height, out_width] of x's dtype; under `torch.autocast` of the
        dtype that it names.

    Raises:
        TypeError: if a tensor or mask has the wrong type.
        ValueError: if shapes, devices, backend or activation do not fit.
    """
    operands = as_autocast((x, weight, bias, in_mask, out_mask))
    check_convolution(operands, stride, padding)
    x, weight, bias, *_ = operands
    act = resolve_activation(activation, like=x)
    is_training = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )
    route = choose_conv_route(operands, backend)
    if route == "kernels":
        fused = activation if isinstance(activation, str) else None
        y = cpu.kernel_conv2d(operands, stride, padding, fused, is_training)
        # A function of the user's runs on the result: it maps 0 to 0, so skipped groups stay zero.
        return y if act is None or fused is not None else act(y)
    if route == "grouped":
        return grouped_conv2d(operands, stride, padding, act)
    if route == "dense":
        y = conv2d(x, weight, bias, stride, padding)
        return y if act is None else act(y)
    if route == "masked_dense" and x.is_cuda:
        weight = used_weights(weight, in_mask, out_mask)
    y = conv2d(zero_maps(x, in_mask), weight, bias, stride, padding)
    return zero_maps(y if act is None else act(y), out_mask)


def check_convolution(operands: Operands, stride: int, padding: int) -> None:
    """Refuses operands that do not fit together; see `block_sparse_conv2d`."""
    shape, sizes = operands[0].shape, operands[1].shape
    if len(shape) != 4 or len(sizes) != 4 or shape[1] != sizes[1]:
        raise ValueError(
            "expected x [batch, in_channels, height, width] and weight [out_channels, in_channels, "
            f"kernel, kernel], got {list(shape)} and {list(sizes)}"
        )
    smallest = min(shape[2], shape[3]) + 2 * padding
    if sizes[2] != sizes[3] or sizes[2] > smallest or stride < 1 or padding < 0:
        raise ValueError(
            f"expected a square kernel that fits maps {list(shape[2:])}, a stride of at least 1 "
            f"and a padding of at least 0, got {list(sizes[2:])}, {stride} and {padding}"
        )
    check_sides(operands)


def zero_maps(x: Tensor, mask: Tensor | None) -> Tensor:
    """Sets the channels of skipped groups to exactly 0: [batch, channels, height, width]."""
    return x if mask is None else zero_where_skipped(x.flatten(1), mask).view_as(x)


def used_weights(weight: Tensor, in_mask: Tensor | None, out_mask: Tensor | None) -> Tensor:
    """Weights without those of groups that no row keeps, which are zero here, whatever they are."""
    for dim, mask in ((0, out_mask), (1, in_mask)):
        if mask is not None:
            used = mask.any(dim=0).repeat_interleave(weight.shape[dim] // mask.shape[1])
            shape = [-1 if d == dim else 1 for d in range(weight.ndim)]
            weight = torch.where(used.reshape(shape), weight, 0.0)
    return weight


def grouped_conv2d(
    operands: Operands, stride: int, padding: int, activation: Activation | None
) -> Tensor:
    """In plain torch: for each output group the rows that keep it, and the channels these have."""
    x, weight, bias, in_mask, out_mask = operands
    x = zero_maps(x, in_mask)
    if out_mask is None:
        out_mask = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
    num_blocks = out_mask.shape[1]
    weights = weight.unflatten(0, (num_blocks, -1))
    biases = None if bias is None else bias.unflatten(0, (num_blocks, -1))
    height, width = ((n + 2 * padding - weight.shape[2]) // stride + 1 for n in x.shape[2:])
    nothing = x.new_zeros(len(x), weights.shape[1], height, width)
    nothing = nothing + empty_sum(x, weight, bias)
    parts = [nothing] * num_blocks
    for block, rows in rows_of_blocks(out_mask):
        channels = None if in_mask is None else used_units(in_mask[rows], x.shape[1])
        if channels is not None and not len(channels):
            y = nothing.index_select(0, rows)
            y = y if biases is None else y + biases[block].reshape(-1, 1, 1)
        else:
            some, kernel = x.index_select(0, rows), weights[block]
            if channels is not None:
                some = some.index_select(1, channels)
                kernel = kernel.index_select(1, channels)
            y = conv2d(some, kernel, None if biases is None else biases[block], stride, padding)
        y = y if activation is None else activation(y)
        parts[block] = nothing.index_copy(0, rows, y)
    return torch.cat(parts, dim=1)
