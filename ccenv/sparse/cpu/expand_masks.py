"""Copies for several masks of an image: float32 tensors -> the kernels, with their gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccenv.sparse.cpu import elementwise_kernels
from ccenv.sparse.cpu.addresses import share
from ccenv.sparse.cpu.buffers import LARGE, new_result


class KernelRepeat(torch.autograd.Function):
    """The kernels of `repeat_for_masks` with their gradient."""

    @staticmethod
    def forward(ctx: Any, shared: Tensor, mask: Tensor) -> Tensor:
        """Copies what each mask keeps; the gradient needs the mask only."""
        ctx.save_for_backward(mask)
        ctx.images = len(shared)
        y = new_result(len(mask), shared.shape[1])
        return run_repeat(elementwise_kernels.repeat, shared, mask, y, len(shared))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Sums over the masks of an image, block by block."""
        (mask,) = ctx.saved_tensors
        total, grad = new_result(ctx.images, grad.shape[1]), grad.contiguous()
        return run_repeat(elementwise_kernels.gather, grad, mask, total, ctx.images), None


def run_repeat(kernel: Any, source: Tensor, mask: Tensor, target: Tensor, images: int) -> Tensor:
    """Runs a kernel on all images, in parts where there are threads and much to write."""
    group, blocks = len(mask) // images, mask.shape[1]
    width = source.shape[1]

    def work(first: int, last: int) -> None:
        addresses = source.data_ptr(), mask.data_ptr(), target.data_ptr()
        kernel(*addresses, group, blocks, width // blocks, first, last)

    share(work, images, max(1, LARGE // (group * width)))
    return target


def kernel_repeat(shared: Tensor, mask: Tensor) -> Tensor:
    """See `ccenv.sparse.expand_masks.repeat_for_masks`; float32 on the CPU."""
    y: Tensor = KernelRepeat.apply(shared.contiguous(), mask.contiguous())
    return y
