"""Which way a layer is computed on a GPU: (operands, masks, backend) -> a route, by shape alone.

Nothing here is measured: the numbers follow from times calculated for the rates of NVIDIA's data
sheets (H100 SXM5, A100 80 GB SXM). Of 2,016 shapes they take 1.8 % more of the calculated time than
the better route of each. Results do not depend on the route beyond rounding. Triton is loaded on
use.
"""

import functools
import importlib.util
import os
import warnings

import torch
from torch import Tensor

from ccenv.annexes.sparse_gpu.plan import VECTOR_ROWS, product_precision

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MIN_CAPABILITY = (8, 0)
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
    reason = reason_against(device, dtype)
    if reason is not None:
        warnings.warn(
            f"no Triton kernels for {dtype} on {device}: {reason}; torch multiplies the rows of "
            "each block instead, which waits for the GPU in every layer",
            RuntimeWarning,
            stacklevel=2,
        )
    return reason is None


@functools.cache
def reason_against(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why Triton cannot multiply tensors of a device and dtype; None where it can.

    The first question for them compiles and starts a small kernel.
    """
    if dtype not in DTYPES:
        return f"the Triton kernels take float32, float16 and bfloat16, not {dtype}"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cpu":
        # Triton's interpreter runs kernels on the CPU, in processes that were started for it.
        if os.environ.get("TRITON_INTERPRET") != "1":
            return "Triton needs a CUDA device"
        is_known = dtype != torch.bfloat16
        return None if is_known else "Triton's interpreter does not know bfloat16"
    if device.type != "cuda" or torch.version.hip is not None:
        return f"the Triton kernels are written for NVIDIA's cards, not for {device}"
    if torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    return error_of_trial(device, dtype)


def error_of_trial(device: torch.device, dtype: torch.dtype) -> str | None:
    """Compiles and starts the kernels on a small layer; the error's first line, None without one.

    What may be missing shows nowhere else: a C compiler, Triton's match for the driver.
    """
    mask = torch.ones(32, 2, dtype=torch.bool, device=device)
    x = torch.zeros(32, 32, dtype=dtype, device=device)
    try:
        # Imported on use: it loads Triton.
        from ccenv.annexes.sparse_gpu.layer import triton_linear

        triton_linear((x, x, None, mask, mask), "tanh")
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return f"Triton cannot compile here: {type(error).__name__}: {lines[0]}"
    return None


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
