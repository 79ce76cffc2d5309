"""Which way a convolution on channel groups is computed: (operands, masks, backend) -> a route."""

import torch
from torch import Tensor

from ccenv.sparse.cost_model import Layer
from ccenv.sparse.routes import choose_backend, kept_pairs

SPARSE = 0.5


def choose_conv_route(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    backend: str = "auto",
    *,
    is_training: bool = False,
) -> str:
    """t."""
    if choose_backend(backend, x) == "reference":
        return "reference"
    if in_mask is None and out_mask is None:
        return "dense"
    has_kernels = x.is_cpu and x.dtype == weight.dtype == torch.float32
    if backend != "auto" or not len(x):
        return "kernels" if has_kernels else "grouped"
    return "kernels" if has_kernels else "grouped"
