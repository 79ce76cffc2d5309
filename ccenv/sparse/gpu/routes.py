"""Which way a layer is computed on a GPU: (operands, masks, backend) -> a route, by shape alone."""

import functools
import warnings

import torch
from torch import Tensor

from ccenv.sparse.gpu.plan import product_precision
from ccenv.sparse.gpu.roofline import (
    LOW_DENSITY,
    GpuShape,
    card_of,
    dense_is_expected,
    expected_seconds,
)


@functools.cache
def triton_takes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Triton kernels run for a device and dtype; says once why not."""
    from ccenv.sparse.gpu.dispatch import why_not

    reason = why_not(torch.empty(0, device=device, dtype=dtype))
    if reason is not None:
        warnings.warn(
            f"no Triton kernels for {dtype} on {device}: {reason}; torch multiplies the rows of "
            "each block instead, which waits for the GPU in every layer",
            RuntimeWarning,
            stacklevel=2,
        )
    return reason is None


def gpu_route(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    backend: str,
    *,
    is_training: bool,
) -> str:
    """Picks a route for operands with a mask on a GPU.

    Masks are not looked at: the host would have to wait for them.
    """
    if not triton_takes(x.device, x.dtype):
        return "grouped"
    shape = shape_of(x, weight, in_mask, out_mask)
    if backend == "auto" and dense_is_expected(shape, card_of(x.device), is_training=is_training):
        return "masked_dense"
    return "triton"


def shape_of(
    x: Tensor, weight: Tensor, in_mask: Tensor | None, out_mask: Tensor | None
) -> GpuShape:
    """What the calculated time of a layer depends on."""
    return GpuShape(
        batch=x.shape[0],
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        in_blocks=None if in_mask is None else in_mask.shape[1],
        out_blocks=None if out_mask is None else out_mask.shape[1],
        itemsize=x.itemsize,
        is_tf32=product_precision(x.dtype) == "tf32",
    )


def gpu_figures(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    *,
    is_training: bool,
) -> str:
    """The calculated times behind a choice, in words."""
    card = card_of(x.device)
    shape = shape_of(x, weight, in_mask, out_mask)
    kernels, dense = expected_seconds(shape, card, is_training=is_training)
    return (
        f" (calculated from the data sheet of an {card.name}, not measured: "
        f"{1e6 * kernels:.0f} microseconds at density 1/{1 / LOW_DENSITY:.0f}, "
        f"{1e6 * dense:.0f} by a dense product between masks)"
    )
