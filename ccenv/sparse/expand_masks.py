"""A layer's activations for several masks of the same images: (shared, mask) -> a row a mask."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ccenv.sparse.reference import zero_where_skipped


def repeat_for_masks(shared: Tensor, mask: Tensor) -> Tensor:
    """Gives every mask of an image the blocks that it keeps of the image's activations.

    Differentiable in the activations. What a mask skips never reaches its row, nor that row's
    gradient the image's.

    Args:
        shared: [n, width] float; blocks that no mask of the image keeps may be anything.
        mask: bool [n * group, num_blocks]; neighbouring rows belong to the same image. n and
            num_blocks divide the rows and the width.

    Returns:
        [n * group, width], exactly zero where skipped.

    Raises:
        TypeError: if the mask is not a bool tensor.
        ValueError: if rows or blocks do not divide.
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"expected a bool mask (True = kept), got {mask.dtype}; use mask.bool()")
    if len(mask) % max(1, len(shared)) or shared.shape[1] % mask.shape[1]:
        raise ValueError(
            f"expected rows for a multiple of {len(shared)} images and blocks that divide "
            f"{shared.shape[1]} units, got a mask of shape {list(mask.shape)}"
        )
    on_cpu = shared.device.type == mask.device.type == "cpu"
    if shared.dtype == torch.float32 and on_cpu and len(shared) and len(mask):
        return compiled_repeat()(shared, mask)
    return zero_where_skipped(shared.repeat_interleave(len(mask) // max(1, len(shared)), 0), mask)


@functools.cache
def compiled_repeat() -> Callable[[Tensor, Tensor], Tensor]:
    """The CPU kernels; loaded on use, because numba takes half a second to import."""
    from ccenv.sparse.cpu.expand_masks import kernel_repeat

    return kernel_repeat
