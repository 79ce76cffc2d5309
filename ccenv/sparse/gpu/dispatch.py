"""GPU entry point: (x, weight, bias, masks) -> the Triton kernels, which are loaded on use."""

import functools
import importlib.util
import os

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MIN_CAPABILITY = (8, 0)


def triton_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
) -> Tensor:
    """Computes only the pairs of blocks that each row keeps; arguments as `block_sparse_linear`.

    Nothing here waits for the device: it can be captured in a CUDA graph once it has been called
    with operands of the same shapes, which compiles the kernels. Repeats are equal bit by bit.
    float32, float16 and bfloat16, all summed up in float32; float32 is multiplied in tf32 where
    torch's own products are.
    """
    if not x.shape[0] or not min(weight.shape):
        # Nothing to start a kernel for; torch's product is as empty, and has its gradients.
        return torch.nn.functional.linear(x, weight, bias)
    from ccenv.sparse.gpu.layer import trained

    bias = None if bias is None else bias.contiguous()
    return trained(x.contiguous(), weight, bias, in_mask, out_mask, activation)


def masked_dense_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
) -> Tensor:
    """One dense product between masks; arguments, promises and dtypes as `triton_linear`.

    Rows that skip a block do not meet its weights, NaN or not, though they are multiplied. The
    gradient of the weights is a dense product as well: a kept unit that is not finite itself spoils
    it beyond its own pairs of blocks.
    """
    if not x.shape[0] or not min(weight.shape):
        return torch.nn.functional.linear(x, weight, bias)
    from ccenv.sparse.gpu.dense import trained

    bias = None if bias is None else bias.contiguous()
    return trained(x, weight, bias, in_mask, out_mask, activation)


def why_not(x: Tensor) -> str | None:
    """Why Triton cannot multiply tensors such as x here; None where it can.

    The first question for a device and dtype compiles and starts a small kernel.
    """
    return reason_against(x.device, x.dtype)


@functools.cache
def reason_against(device: torch.device, dtype: torch.dtype) -> str | None:
    """As `why_not`, of a device and a dtype."""
    if dtype not in DTYPES:
        return f"the Triton kernels take float32, float16 and bfloat16, not {dtype}"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cpu":
        return reason_against_interpreter(dtype)
    if device.type != "cuda" or torch.version.hip is not None:
        return f"the Triton kernels are written for NVIDIA's cards, not for {device}"
    if torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    return error_of_trial(device, dtype)


def reason_against_interpreter(dtype: torch.dtype) -> str | None:
    """Triton's interpreter runs kernels on the CPU, in processes that were started for it."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return "Triton needs a CUDA device"
    if dtype == torch.bfloat16:
        return "Triton's interpreter does not know bfloat16"
    return None


def error_of_trial(device: torch.device, dtype: torch.dtype) -> str | None:
    """Compiles and starts the kernels on a small layer; the error's first line, None without one.

    What may be missing shows nowhere else: a C compiler, Triton's match for the driver.
    """
    mask = torch.ones(32, 2, dtype=torch.bool, device=device)
    x = torch.zeros(32, 32, dtype=dtype, device=device)
    try:
        triton_linear(x, x, None, mask, mask, "tanh")
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return f"Triton cannot compile here: {type(error).__name__}: {lines[0]}"
    return None
