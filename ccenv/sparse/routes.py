"""Which way a layer is computed: (operands, masks, backend) -> a route and its reason."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.annotations import checks_types
from ccenv.base.registry import NameTable, check_names
from ccenv.sparse import cpu
from ccenv.sparse.operands import (
    Operands,
    Sizes,
    as_autocast,
    check_operands,
    layer_sizes,
)

BACKENDS = ("auto", "reference", "cpu", "gpu")
ROUTES = {
    "reference": "backend='reference' asks for the definition: a dense product times the mask",
    "dense": "every block is kept, and so the product is dense",
    "masked_dense": "one dense product is faster: nearly all pairs of blocks are kept, or on a "
    "GPU all weights are read anyway",
    "kernels": "compiled kernels compute the pairs of blocks that each row keeps",
    "triton": "Triton kernels compute the pairs of blocks that each row keeps",
    "grouped": "no kernel takes this device or dtype: torch multiplies the rows of each block",
}
GPU = NameTable(
    {
        "dense_linear": "ccenv.annexes.sparse_gpu.dense:dense_linear",
        "gpu_route": "ccenv.annexes.sparse_gpu.routes:gpu_route",
        "most_dense_macs": "ccenv.annexes.sparse_gpu.routes:most_dense_macs",
        "triton_linear": "ccenv.annexes.sparse_gpu.layer:triton_linear",
    }
)
"""What the kernels of a GPU offer, imported where there is one."""
EDGE = 28
"""Units by which both sides of a kept pair of blocks count as wider than they are."""


@dataclass(frozen=True)
class RouteChoice:
    """How a layer would be computed, and why."""

    route: str
    """a name in `ROUTES`."""
    reason: str
    """one sentence."""


@functools.cache
def on_gpu(name: str) -> Callable[..., Any]:
    """A function of the table `GPU`, looked up once."""
    function: Callable[..., Any] = GPU[name]
    return function


def choose_route(
    operands: Operands,
    backend: str = "auto",
    *,
    is_training: bool = False,
    sizes: Sizes | None = None,
) -> str:
    """Picks a route for operands that were checked; arguments and errors as `explain_backend`.

    `sizes` are those of operands that `plainly_fit`: float32 on the CPU.
    """
    x, weight, _, in_mask, out_mask = operands
    if sizes is None or not isinstance(backend, str) or backend not in ("auto", "cpu"):
        if choose_backend(backend, x) == "reference":
            return "reference"
        if x.dtype == torch.float32 and x.is_cpu:
            sizes = layer_sizes(operands)
    if in_mask is None and out_mask is None:
        return "dense"
    if sizes is not None:
        if backend != "auto":
            return "kernels"
        return cheapest(sizes, in_mask, out_mask, most_pairs(sizes))
    if x.is_cuda:
        route: str = on_gpu("gpu_route")(x, weight, backend, is_training=is_training)
        return route
    return "grouped"


def hides_skipped(x: Tensor, macs: int, backend: str) -> bool:
    """Whether a unit, of so many MACs a row, is computed for all rows and hidden in some of them.

    To leave rows out, the host has to know which; a GPU is waited for then, and with few MACs that
    takes longer than the rows. The number is that below which a layer is one dense product.
    """
    if not x.is_cuda or backend != "auto":
        return False
    return bool(len(x) * macs < on_gpu("most_dense_macs")(x))


def cheapest(sizes: Sizes, in_mask: Tensor | None, out_mask: Tensor | None, most: float) -> str:
    """The route on the CPU where the kernels are faster up to `most` kept pairs of blocks."""
    rows, in_blocks, _, out_blocks, _ = sizes
    all_pairs = rows * in_blocks * out_blocks
    if most >= all_pairs:
        return "kernels"
    pairs = kept_pairs(sizes, in_mask, out_mask)
    # A block that no row keeps is not executed: a dense product would read its weights.
    if pairs < 0 or pairs <= most:
        return "kernels"
    return "dense" if pairs == all_pairs else "masked_dense"


def most_pairs(sizes: Sizes) -> float:
    """Kept pairs of blocks, of all rows, up to which the kernels are expected to be faster.

    A kept pair counts as if both sides were `EDGE` units wider, because small blocks do not fill
    the vectors and every block of a row has to be found. The kernels are chosen up to the MACs of
    the dense product. The one number is fitted by `python -m ccenv.runs.lab auto` and does not
    depend on the machine, so that results repeat. A wrong choice costs time alone.
    """
    rows, in_blocks, in_size, out_blocks, out_size = sizes
    dense_macs = rows * in_blocks * in_size * out_blocks * out_size
    return dense_macs / pair_macs(in_size, out_size)


def pair_macs(in_size: int, out_size: int) -> int:
    """MACs as which a kept pair of blocks of so many units counts."""
    return (in_size + EDGE) * (out_size + EDGE)


def kept_pairs(sizes: Sizes, in_mask: Tensor | None, out_mask: Tensor | None) -> int:
    """Number of (input block, output block) pairs over rows; -1 if some block is kept in no row."""
    # The names keep copies of masks with gaps alive until they are counted.
    first = None if in_mask is None else in_mask.contiguous()
    second = None if out_mask is None else out_mask.contiguous()
    at = 0 if first is None else first.data_ptr()
    by = 0 if second is None else second.data_ptr()
    pairs: int = cpu.count_pairs(at, by, sizes[0], sizes[1], sizes[3])
    return pairs


@checks_types
def explain_backend(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None = None,
    out_mask: Tensor | None = None,
    *,
    backend: str = "auto",
    is_training: bool = False,
) -> RouteChoice:
    """Says how `block_sparse_linear` would compute a layer, and why.

    Args:
        x: [batch, in_features].
        weight: [out_features, in_features].
        in_mask: bool [batch, in_blocks] or None.
        out_mask: bool [batch, out_blocks] or None.
        backend: as given to `block_sparse_linear`.
        is_training: whether a backward pass follows.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.

    >>> explain_backend(torch.zeros(4, 8), torch.zeros(2, 8)).route
    'dense'
    """
    operands = as_autocast((x, weight, None, in_mask, out_mask))
    check_operands(operands)
    x, weight, *_ = operands
    route = choose_route(operands, backend, is_training=is_training)
    reason = ROUTES[route]
    if backend == "auto" and x.is_cpu and route in ("kernels", "masked_dense"):
        reason += kept_share(operands)
    if route == "grouped":
        reason += f" ({x.dtype} on {x.device.type})"
    return RouteChoice(route, reason)


def kept_share(operands: Operands) -> str:
    """How much the masks keep, and up to where kernels are chosen, for `explain_backend`."""
    sizes = layer_sizes(operands)
    all_pairs = sizes[0] * sizes[1] * sizes[3]
    pairs = kept_pairs(sizes, *operands[3:])
    if pairs < 0:
        return " (some block is kept by no row, and its weights are not read)"
    most = min(1.0, most_pairs(sizes) / all_pairs)
    return f" (masks keep {pairs / all_pairs:.0%} of these; kernels are chosen up to {most:.0%})"


def choose_backend(backend: str, x: Tensor) -> str:
    """Turns "auto" into the backend of the tensor's device, and refuses one that cannot run there.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.
    """
    check_names([backend], BACKENDS, "backend")
    native = "gpu" if x.is_cuda else "cpu"
    if backend in ("cpu", "gpu") and backend != native:
        raise ValueError(
            f"expected tensors that backend={backend!r} can reach, got a tensor on {x.device}; "
            "move x, weight, bias and masks, or use backend='auto'"
        )
    return native if backend == "auto" else backend
