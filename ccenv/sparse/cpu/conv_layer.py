"""Convolution on kept channel groups on the CPU: float32 tensors -> the compiled kernels."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ccenv.sparse.buffers import buffer_pool, new_result
from ccenv.sparse.cpu import conv_gradients, conv_kernels
from ccenv.sparse.cpu.addresses import (
    Gradients,
    Kept,
    address,
    differentiable_layer,
    share_parts,
    share_rows,
)
from ccenv.sparse.cpu.conv_kernels import ConvShape
from ccenv.sparse.cpu.layer import ACTIVATION_CODES
from ccenv.sparse.operands import Operands, side_sizes

# Input groups of a part of the gradients: below these a second thread costs more than it saves.
MIN_SHARED_MACS = 1 << 24


def conv_shape(operands: Operands, stride: int, padding: int) -> ConvShape:
    """Sizes of a convolution; a side without a mask is one group."""
    x, weight, _, in_mask, out_mask = operands
    _, channels, height, width = x.shape
    kernel = weight.shape[2]
    out_height = (height + 2 * padding - kernel) // stride + 1
    out_width = (width + 2 * padding - kernel) // stride + 1
    ins, outs = side_sizes(channels, in_mask), side_sizes(len(weight), out_mask)
    return ConvShape(*ins, height, width, *outs, out_height, out_width, kernel, stride, padding)


def run_convolve(operands: Operands, shape: ConvShape, activation: int) -> Tensor:
    """Calls the forward kernel on contiguous operands."""
    x, weight, bias, in_mask, out_mask = operands
    batch, pixels = x.shape[0], shape.out_height * shape.out_width
    out_channels = shape.out_blocks * shape.out_size
    y = new_result(batch, out_channels * pixels)
    addresses = x.data_ptr(), weight.data_ptr(), address(bias), address(in_mask), address(out_mask)
    target, size, pool = y.data_ptr(), conv_kernels.room(shape), buffer_pool()

    def work(start: int, stop: int) -> None:
        # Fresh memory would be mapped page by page, which for one image takes as long as its sums.
        room = pool.take(size)
        at = room.ctypes.data
        conv_kernels.convolve(*addresses, target, shape, activation, at, start, stop)
        pool.give(room)

    share_rows(work, batch, weight.numel() * pixels)
    return y.view(batch, out_channels, shape.out_height, shape.out_width)


def run_conv(
    operands: Operands, shape: ConvShape, activation: int
) -> tuple[Tensor, Kept, tuple[ConvShape, int]]:
    """The kernel's result, with what `gradients_of_conv` needs."""
    y = run_convolve(operands, shape, activation)
    x, weight, _, in_mask, out_mask = operands
    return y, (x, weight, in_mask, out_mask, y), (shape, activation)


def gradients_of_conv(
    kept: Kept, grad_y: Tensor, wanted: Sequence[bool], shape: ConvShape, activation: int
) -> Gradients:
    """Gradients of x, weight and bias, those that are wanted."""
    x, weight, in_mask, out_mask, y = kept
    need_x, need_weight, need_bias = wanted[:3]
    turned, grad_y = weight.flatten(1).t().contiguous(), grad_y.contiguous()
    grad_x = new_result(len(x), x.shape[1:].numel()).view_as(x) if need_x else None
    grad_weight = torch.empty_like(turned) if need_weight else None
    grad_bias = x.new_empty(len(weight)) if need_bias else None
    tensors = x, turned, in_mask, out_mask, y, grad_y, grad_x, grad_weight, grad_bias
    places = map(address, tensors)
    work = partial(conv_gradients.convolve_back, *places, shape, activation, len(x))
    macs = len(x) * weight.numel() * shape.out_height * shape.out_width
    share_parts(work, shape.in_blocks, 1 if macs >= MIN_SHARED_MACS else shape.in_blocks)
    if grad_weight is not None:
        grad_weight = grad_weight.t().reshape(weight.shape)
    return grad_x, grad_weight, grad_bias


trained = differentiable_layer(run_conv, gradients_of_conv)


def kernel_conv2d(
    operands: Operands,
    stride: int,
    padding: int,
    activation: str | None,
    is_training: bool,
) -> Tensor:
    """Computes the pairs of channel groups that each image keeps, as `block_sparse_conv2d`.

    `is_training` says whether gradients are wanted. float32 only.
    """
    x, weight, bias, in_mask, out_mask = operands
    bias = None if bias is None else bias.contiguous()
    in_mask = None if in_mask is None else in_mask.contiguous()
    out_mask = None if out_mask is None else out_mask.contiguous()
    packed = x.contiguous(), weight.contiguous(), bias, in_mask, out_mask
    run = trained if is_training else run_convolve
    return run(packed, conv_shape(packed, stride, padding), ACTIVATION_CODES[activation])
