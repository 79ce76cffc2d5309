"""Which way a layer is computed on a GPU: (operands, masks, backend) -> a route, by shape alone.

Nothing here is measured: the numbers follow from times calculated for the rates of NVIDIA's data
sheets (H100 SXM5, A100 80 GB SXM). Of 2,016 shapes they take 1.8 % more of the calculated time than
the better route of each. Results do not depend on the route beyond rounding.
"""

import functools
import warnings

import torch
from torch import Tensor

from ccenv.sparse.gpu.plan import VECTOR_ROWS, product_precision

DENSE_MACS = {"half": 1.0e10, "tf32": 4.3e9, "float32": 0.8e9}
"""How numbers are multiplied -> MACs below which one dense product between masks is taken."""
EDGE = 128
"""Units by which both sides of a layer count as wider than they are: inputs are read, too."""
OLDER = 0.35
"""Share of `DENSE_MACS` on cards before compute capability 9.0, whose products take longer."""
LARGE_BYTES = 1 << 24
"""Bytes of weights from which on few rows train faster by kernels, which read kept blocks alone."""


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


def gpu_route(x: Tensor, weight: Tensor, backend: str, *, is_training: bool) -> str:
    """Picks a route for operands with a mask on a GPU.

    Masks are not looked at: the host would have to wait for them.
    """
    if not triton_takes(x.device, x.dtype):
        return "grouped"
    if backend == "auto" and dense_is_expected(x, weight, is_training=is_training):
        return "masked_dense"
    return "triton"


def dense_is_expected(x: Tensor, weight: Tensor, *, is_training: bool) -> bool:
    """Whether the kernels are not expected to beat a dense product, even at a density of 1/8."""
    if len(x) <= VECTOR_ROWS:
        return is_training and weight.numel() * weight.itemsize < LARGE_BYTES
    return padded_macs(x, weight) < most_dense_macs(x)


def padded_macs(x: Tensor, weight: Tensor) -> int:
    """MACs as which the layer counts, see `EDGE`."""
    return len(x) * (weight.shape[0] + EDGE) * (weight.shape[1] + EDGE)


def most_dense_macs(x: Tensor) -> float:
    """MACs up to which one dense product is taken; the interpreter plans as for an H100."""
    kind = "tf32" if product_precision(x.dtype) == "tf32" else "float32"
    return speed_of(x.device) * DENSE_MACS["half" if x.itemsize == 2 else kind]


@functools.cache
def speed_of(device: torch.device) -> float:
    """How fast a card is: 1, or `OLDER`."""
    is_old = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 9
    return OLDER if is_old else 1.0


def gpu_figures(x: Tensor, weight: Tensor) -> str:
    """The numbers behind a choice, in words."""
    return (
        f" (calculated from data sheets, not measured: the layer counts as "
        f"{padded_macs(x, weight):.1e} MACs, and above {VECTOR_ROWS} rows a dense product is "
        f"chosen up to {most_dense_macs(x):.1e})"
    )
