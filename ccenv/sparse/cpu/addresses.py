"""Where a layer's numbers lie for the kernels, and how its work is shared between threads.

Also how a layer and its gradients become one function (`differentiable`), here and on a GPU.
"""

import functools
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    return Weights(weight.t().contiguous(), out_width, 1, out_size)


def address(tensor: Tensor | None) -> int:
    """Where a tensor's numbers lie, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Of a layer's x, weight and bias."""
Kept = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor]
"""What they need: x, weight, the masks on both sides and the result."""


def once(backward: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """Torch's `once_differentiable`, without the microseconds that it takes of every pass.

    Only where the gradient is to have a gradient itself does it do anything.
    """
    careful = once_differentiable(backward)

    def chosen(ctx: Any, grad: Tensor) -> Any:
        return careful(ctx, grad) if torch.is_grad_enabled() else backward(ctx, grad)

    return chosen


def differentiable(
    run: Callable[..., tuple[Tensor, tuple[Tensor | None, ...], tuple[Any, ...]]],
    gradients: Callable[..., tuple[Tensor | None, ...]],
) -> Callable[..., Tensor]:
    """Makes one function of a layer and its gradients.

    Args:
        run: (operands) -> the result, tensors that its gradients need, and what else they need.
        gradients: (those tensors, the result's gradient, for each operand whether its own is
            wanted, what else there is) -> gradients of the first operands; others have none.
    """

    class Head(torch.autograd.Function):
        """What autograd calls."""

        @staticmethod
        def forward(ctx: Any, *operands: Any) -> Tensor:
            """Runs the layer."""
            y, kept, ctx.more = run(*operands)
            ctx.save_for_backward(*kept)
            return y

        @staticmethod
        @once
        def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
            """Gradients of the operands, those that are wanted."""
            wanted = ctx.needs_input_grad
            grads = gradients(ctx.saved_tensors, grad_y, wanted, *ctx.more)
            return grads + (None,) * (len(wanted) - len(grads))

    apply: Callable[..., Tensor] = Head.apply
    return apply


def differentiable_layer(
    run: Callable[..., Any], gradients: Callable[..., Any]
) -> Callable[..., Tensor]:
    """`differentiable` for a run of `Operands` and what else it takes."""
    apply = differentiable(lambda *arguments: run(arguments[:5], *arguments[5:]), gradients)
    return lambda operands, *more: apply(*operands, *more)


# Below these a second thread costs more than it saves.
MIN_SHARED_ROWS, MIN_SHARED_MACS = 512, 1 << 26
MIN_SHARED_KEPT_MACS = 1 << 22
MIN_SHARED_UNITS, MIN_SHARED_GRADIENT_MACS = 64, 1 << 24
# Floats of a line of the cache.
LINE = 16


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
    share_parts(work, num_rows, MIN_SHARED_ROWS if is_large else num_rows)


def share_units(work: Callable[[int, int], None], num_units: int, macs_of_unit: int) -> None:
    """The same for a layer's input units, whose gradients come without those of their neighbours.

    Parts are whole cache lines: no two threads write to the same one.
    """
    is_large = num_units * macs_of_unit >= MIN_SHARED_GRADIENT_MACS
    share_parts(work, num_units, MIN_SHARED_UNITS if is_large else num_units, LINE)


def share_parts(work: Callable[[int, int], None], total: int, smallest: int, unit: int = 1) -> None:
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
