"""Convolution on kept channel groups on the CPU: float32 tensors -> the compiled kernels."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ccenv.sparse.cpu import conv_gradients, conv_kernels
from ccenv.sparse.cpu.addresses import Gradients, Kept, address, differentiable, share, share_rows
from ccenv.sparse.cpu.buffers import buffer_pool, new_result
from ccenv.sparse.cpu.conv_kernels import Shape
from ccenv.sparse.cpu.layer import ACTIVATION_CODES
from ccenv.sparse.operands import sizes_of

# Input groups of a part of the gradients: below these a second thread costs more than it saves.
MIN_SHARED_MACS = 1 << 24


def shape_of(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    stride: int,
    padding: int,
) -> Shape:
    """Sizes of a convolution; a side without a mask is one group."""
    _, channels, height, width = x.shape
    kernel = weight.shape[2]
    in_blocks, in_size = sizes_of(channels, in_mask)
    return Shape(
        in_blocks,
        in_size,
        height,
        width,
        *sizes_of(len(weight), out_mask),
        (height + 2 * padding - kernel) // stride + 1,
        (width + 2 * padding - kernel) // stride + 1,
        kernel,
        stride,
        padding,
    )


def run_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    shape: Shape,
    activation: int,
) -> Tensor:
    """Calls the forward kernel on contiguous operands."""
    batch, pixels = x.shape[0], shape.out_height * shape.out_width
    out_channels = shape.out_blocks * shape.out_size
    y = new_result(batch, out_channels * pixels)
    operands = x.data_ptr(), weight.data_ptr(), address(bias), address(in_mask), address(out_mask)
    target, size, pool = y.data_ptr(), conv_kernels.room(shape), buffer_pool()

    def work(start: int, stop: int) -> None:
        # Fresh memory would be mapped page by page, which for one image takes as long as its sums.
        room = pool.take(size)
        at = room.ctypes.data
        conv_kernels.forward(*operands, target, shape, activation, at, start, stop)
        pool.give(room)

    share_rows(work, batch, weight.numel() * pixels)
    return y.view(batch, out_channels, shape.out_height, shape.out_width)


def run_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    shape: Shape,
    activation: int,
) -> tuple[Tensor, Kept, tuple[Shape, int]]:
    """The kernel's result, with what `gradients_of_conv` needs."""
    y = run_forward(x, weight, bias, in_mask, out_mask, shape, activation)
    return y, (x, weight, in_mask, out_mask, y), (shape, activation)


def gradients_of_conv(
    kept: Kept, grad_y: Tensor, wanted: Sequence[bool], shape: Shape, activation: int
) -> Gradients:
    """Gradients of x, weight and bias, those that are wanted."""
    x, weight, in_mask, out_mask, y = kept
    need_x, need_weight, need_bias = wanted[:3]
    turned, grad_y = weight.flatten(1).t().contiguous(), grad_y.contiguous()
    grad_x = new_result(len(x), x.shape[1:].numel()).view_as(x) if need_x else None
    grad_weight = torch.empty_like(turned) if need_weight else None
    grad_bias = x.new_empty(len(weight)) if need_bias else None
    work = partial(
        conv_gradients.backward,
        x.data_ptr(),
        turned.data_ptr(),
        address(in_mask),
        address(out_mask),
        y.data_ptr(),
        grad_y.data_ptr(),
        address(grad_x),
        address(grad_weight),
        address(grad_bias),
        shape,
        activation,
        len(x),
    )
    macs = len(x) * weight.numel() * shape.out_height * shape.out_width
    share(work, shape.in_blocks, 1 if macs >= MIN_SHARED_MACS else shape.in_blocks)
    if grad_weight is not None:
        grad_weight = grad_weight.t().reshape(weight.shape)
    return grad_x, grad_weight, grad_bias


trained = differentiable(run_conv, gradients_of_conv)


def kernel_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    stride: int,
    padding: int,
    activation: str | None,
    is_training: bool,
) -> Tensor:
    """Computes the pairs of channel groups that each image keeps, as `block_sparse_conv2d`.

    `is_training` says whether gradients are wanted. float32 only.
    """
    x, weight = x.contiguous(), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    in_mask = None if in_mask is None else in_mask.contiguous()
    out_mask = None if out_mask is None else out_mask.contiguous()
    shape = shape_of(x, weight, in_mask, out_mask, stride, padding)
    operands = (x, weight, bias, in_mask, out_mask, shape, ACTIVATION_CODES[activation])
    return trained(*operands) if is_training else run_forward(*operands)
