"""Kernels of the CPU: numba compiles them when they are first used, and is loaded no earlier."""

from typing import TYPE_CHECKING

from ccenv.base.registry import names_on_use

if TYPE_CHECKING:
    from ccenv.sparse.cpu.conv_layer import kernel_conv2d
    from ccenv.sparse.cpu.elementwise_kernels import merge
    from ccenv.sparse.cpu.layer import kernel_linear
    from ccenv.sparse.cpu.masked_dense import masked_dense_linear
    from ccenv.sparse.cpu.row_lists import count_pairs
    from ccenv.sparse.cpu.rows import repeated
    from ccenv.sparse.cpu.step import answers, layer_costs, observation

__all__ = [
    "answers",
    "count_pairs",
    "kernel_conv2d",
    "kernel_linear",
    "layer_costs",
    "masked_dense_linear",
    "merge",
    "observation",
    "repeated",
]

__getattr__ = names_on_use(
    __name__,
    {
        "conv_layer": ["kernel_conv2d"],
        "elementwise_kernels": ["merge"],
        "layer": ["kernel_linear"],
        "masked_dense": ["masked_dense_linear"],
        "row_lists": ["count_pairs"],
        "rows": ["repeated"],
        "step": ["answers", "layer_costs", "observation"],
    },
)
