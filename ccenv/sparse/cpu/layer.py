"""Block-sparse layer on the CPU: float32 tensors -> the compiled kernels, with their gradients."""

import functools
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccenv.sparse.cpu import gradients, kernels, repeat_kernels
from ccenv.sparse.cpu.buffers import LARGE, new_result
from ccenv.sparse.cpu.codegen.floats import NONE, RELU, TANH
from ccenv.sparse.cpu.packed_weights import panels_of

# Below these a second thread costs more than it saves.
MIN_SHARED_ROWS, MIN_SHARED_MACS = 512, 1 << 26
MIN_SHARED_KEPT_MACS = 1 << 22
MIN_SHARED_UNITS, MIN_SHARED_GRADIENT_MACS = 64, 1 << 24
# Floats of a line of the cache.
LINE = 16
ACTIVATION_CODES = {None: NONE, "tanh": TANH, "relu": RELU}


def in_major(weight: Tensor) -> Tensor:
    """The weight as [in_features, out_features] without gaps; a copy unless it lies so already."""
    return weight.t().contiguous()


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


def run_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: int,
    *,
    is_training: bool,
) -> Tensor:
    """Calls the forward kernel on contiguous operands; weight is [out_features, in_features].

    A weight that is being trained is read in place: every step would make a copy out of date.
    """
    (batch, in_width), out_width = x.shape, weight.shape[0]
    y = new_result(batch, out_width)
    out_blocks, out_size = sizes_of(out_width, out_mask)
    panels = None if is_training else panels_of(weight, out_blocks)
    if panels is None:
        weights = weights_of(weight, out_size)
    else:
        weights = Weights(panels, out_size, 1, in_width * out_size)
    in_blocks, in_size = sizes_of(in_width, in_mask)
    work = partial(
        kernels.forward,
        x.data_ptr(),
        weights.held.data_ptr(),
        *weights[1:],
        address(bias),
        address(in_mask),
        address(out_mask),
        y.data_ptr(),
        in_blocks,
        in_size,
        out_blocks,
        out_size,
        activation,
        1,
    )
    macs_of_row = in_width * out_width
    if torch.get_num_threads() == 1:
        work(0, batch, 0, out_blocks)
    elif out_blocks == 1 or batch >= 2 * MIN_SHARED_ROWS:
        share_rows(lambda start, stop: work(start, stop, 0, out_blocks), batch, macs_of_row)
    else:
        # Few rows are not cut: each thread would read all weights.
        is_large = is_worth_sharing(batch * macs_of_row, in_mask, out_mask)
        share(partial(work, 0, batch), out_blocks, 1 if is_large else out_blocks)
    return y


def is_worth_sharing(macs: int, in_mask: Tensor | None, out_mask: Tensor | None) -> bool:
    """Whether the kept pairs of blocks, of a layer's `macs` in all, keep two threads busy."""
    if macs < MIN_SHARED_MACS:
        return False
    masks = [mask for mask in (in_mask, out_mask) if mask is not None]
    kept = math.prod(int(mask.count_nonzero()) / max(1, mask.numel()) for mask in masks)
    return macs * kept >= MIN_SHARED_KEPT_MACS


def share_rows(work: Callable[[int, int], None], num_rows: int, macs_of_row: int) -> None:
    """Calls work(first, last) on all rows, in as many parts at once as torch has threads.

    Few or cheap rows are computed by the caller: waking a thread takes as long as a small layer.
    """
    is_large = num_rows * macs_of_row >= MIN_SHARED_MACS
    share(work, num_rows, MIN_SHARED_ROWS if is_large else num_rows)


def share_units(work: Callable[[int, int], None], num_units: int, macs_of_unit: int) -> None:
    """The same for a layer's input units, whose gradients come without those of their neighbours.

    Parts are whole cache lines: no two threads write to the same one.
    """
    is_large = num_units * macs_of_unit >= MIN_SHARED_GRADIENT_MACS
    share(work, num_units, MIN_SHARED_UNITS if is_large else num_units, LINE)


def share(work: Callable[[int, int], None], total: int, smallest: int, unit: int = 1) -> None:
    """Calls work(first, last) on parts of at least `smallest`, cut at multiples of `unit`.

    The caller computes the first part, then every part that no thread has started: if all cores are
    busy, it never waits for a thread to start.
    """
    parts = min(total // max(1, smallest), torch.get_num_threads())
    if parts <= 1:
        work(0, total)
        return
    cuts = [total * part // parts // unit * unit for part in range(parts)] + [total]
    ranges = list(itertools.pairwise(cuts))
    others = [(thread_pool().submit(work, *part), part) for part in ranges[1:]]
    work(*ranges[0])
    for other, part in others:
        if other.cancel():
            work(*part)
        else:
            other.result()


@functools.cache
def thread_pool() -> ThreadPoolExecutor:
    """Threads that live as long as the process; the kernels let go of Python's lock."""
    return ThreadPoolExecutor(thread_name_prefix="ccenv")


class KernelLinear(torch.autograd.Function):
    """The kernels with their gradients; the gradient of the weight lies as the kernels read it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        activation: int,
    ) -> Tensor:
        """Runs the kernel and keeps what its gradients need."""
        y = run_forward(x, weight, bias, in_mask, out_mask, activation, is_training=True)
        ctx.save_for_backward(x, weight, in_mask, out_mask, y)
        ctx.activation, ctx.has_bias = activation, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, those that are wanted."""
        x, weight, in_mask, out_mask, y = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_y, batch = grad_y.contiguous(), len(x)
        in_sizes, out_sizes = sizes_of(x.shape[1], in_mask), sizes_of(weight.shape[0], out_mask)
        weights = weights_of(weight, out_sizes[1])
        across = weights.of_output != 1
        grad_x = new_result(*x.shape) if need_x else None
        shape = weight.shape if across else weight.shape[::-1]
        grad_weight = new_result(*shape) if need_weight else None
        grad_bias = x.new_empty(weight.shape[0]) if need_bias and ctx.has_bias else None
        work = partial(
            gradients.backward,
            x.data_ptr(),
            weights.held.data_ptr(),
            weights.of_input,
            int(across),
            address(in_mask),
            address(out_mask),
            y.data_ptr(),
            grad_y.data_ptr(),
            0 if across else address(grad_x),
            address(grad_weight),
            address(grad_bias),
            batch,
            *in_sizes,
            *out_sizes,
            ctx.activation,
        )
        if grad_weight is not None or grad_bias is not None or not across:
            share_units(work, x.shape[1], batch * weight.shape[0])
        if grad_x is not None and across:
            z = slopes(y, grad_y, out_mask, ctx.activation)
            run_transposed(z, weights, in_mask, out_mask, grad_x)
        transposed = grad_weight if grad_weight is None or across else grad_weight.t()
        return grad_x, transposed, grad_bias, None, None, None


def slopes(y: Tensor, grad_y: Tensor, out_mask: Tensor | None, activation: int) -> Tensor:
    """Gradients before the activation, where blocks are kept; anything elsewhere."""
    if activation == NONE:
        return grad_y
    z, sizes = new_result(*y.shape), sizes_of(y.shape[1], out_mask)
    addresses = y.data_ptr(), grad_y.data_ptr(), z.data_ptr(), address(out_mask)
    gradients.slope_blocks(*addresses, len(y), *sizes, activation)
    return z


def run_transposed(
    z: Tensor, weights: Weights, in_mask: Tensor | None, out_mask: Tensor | None, grad_x: Tensor
) -> None:
    """Writes the inputs' gradient of weights that lie output by output: the layer backwards.

    They lie input by input for this layer, as the kernels read them fastest.
    """
    (batch, in_width), out_width = grad_x.shape, z.shape[1]
    in_blocks, in_size = sizes_of(in_width, in_mask)
    work = partial(
        kernels.forward,
        z.data_ptr(),
        weights.held.data_ptr(),
        weights.of_output,
        weights.of_input,
        in_size * weights.of_input,
        0,
        address(out_mask),
        address(in_mask),
        grad_x.data_ptr(),
        *sizes_of(out_width, out_mask),
        in_blocks,
        in_size,
        NONE,
        1,
        0,
        batch,
    )
    # Never by rows: gradients do not depend on the number of threads.
    is_large = is_worth_sharing(batch * in_width * out_width, in_mask, out_mask)
    share(work, in_blocks, 1 if is_large else in_blocks)


def kernel_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
    is_training: bool,
) -> Tensor:
    """Computes only the pairs of blocks that each row keeps; arguments as `block_sparse_linear`.

    `is_training` says whether gradients are wanted. float32 only; weights of an input may lie side
    by side, as `GatedMLP` keeps them, or those of an output, as `torch.nn.Linear` does: blocks
    that some row needs are then turned on their side, or read so, in every call. Others are copied.
    """
    x = x.contiguous()
    bias = None if bias is None else bias.contiguous()
    in_mask = None if in_mask is None else in_mask.contiguous()
    out_mask = None if out_mask is None else out_mask.contiguous()
    code = ACTIVATION_CODES[activation]
    if not is_training:
        return run_forward(x, weight, bias, in_mask, out_mask, code, is_training=False)
    y: Tensor = KernelLinear.apply(x, weight, bias, in_mask, out_mask, code)
    return y


class KernelRepeat(torch.autograd.Function):
    """The kernels of `repeat_for_masks` with their gradient."""

    @staticmethod
    def forward(ctx: Any, shared: Tensor, mask: Tensor) -> Tensor:
        """Copies what each mask keeps; the gradient needs the mask only."""
        ctx.save_for_backward(mask)
        ctx.images = len(shared)
        y = new_result(len(mask), shared.shape[1])
        return run_repeat(repeat_kernels.repeat, shared, mask, y, len(shared))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Sums over the masks of an image, block by block."""
        (mask,) = ctx.saved_tensors
        total, grad = new_result(ctx.images, grad.shape[1]), grad.contiguous()
        return run_repeat(repeat_kernels.gather, grad, mask, total, ctx.images), None


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
    """See `ccenv.sparse.repeat.repeat_for_masks`; float32 on the CPU."""
    y: Tensor = KernelRepeat.apply(shared.contiguous(), mask.contiguous())
    return y
