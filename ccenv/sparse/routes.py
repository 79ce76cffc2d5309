"""Which way a layer is computed: (operands, masks, backend) -> a route and its reason."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.sparse.cost_model import dense_seconds, kernel_seconds, most_pairs
from ccenv.sparse.cpu.packed_weights import panels_of
from ccenv.sparse.gpu.routes import gpu_figures, gpu_route
from ccenv.sparse.layer_costs import Layer
from ccenv.sparse.machine_prices import prices_for
from ccenv.sparse.operands import Sizes

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
# Without a cost model, for the torch route: from so large a share of kept pairs on, and so many
# rows, one dense product is faster.
NEARLY_DENSE, MIN_DENSE_ROWS = 0.9, 64


@dataclass(frozen=True)
class Choice:
    """How a layer would be computed, and why."""

    route: str
    """a name in `ROUTES`."""
    reason: str
    """one sentence."""


def choose_route(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    backend: str = "auto",
    *,
    is_training: bool = False,
) -> str:
    """Picks a route for operands that were checked; `is_training` says that gradients follow.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.
    """
    if choose_backend(backend, x) == "reference":
        return "reference"
    if in_mask is None and out_mask is None:
        return "dense"
    if x.dtype == torch.float32 and x.is_cpu:
        if backend != "auto":
            return "kernels"
        layer = layer_of(x, weight, in_mask, out_mask, is_training=is_training)
        return cheapest(layer, in_mask, out_mask, is_training)
    if x.is_cuda:
        return gpu_route(x, weight, in_mask, out_mask, backend, is_training=is_training)
    return "masked_dense" if backend == "auto" and nearly_dense(in_mask, out_mask) else "grouped"


def route_on_cpu(
    sizes: Sizes,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    backend: str,
    *,
    is_training: bool,
) -> str:
    """The same for float32 operands on the CPU whose sizes are known, with less to look at.

    Args:
        sizes: see `plainly_fit`.
        weight: [out_features, in_features].
        in_mask: bool [batch, in_blocks] or None.
        out_mask: bool [batch, out_blocks] or None.
        backend: "auto" or "cpu".
        is_training: whether gradients follow.
    """
    if in_mask is None and out_mask is None:
        return "dense"
    if backend == "cpu":
        return "kernels"
    layer = Layer(*sizes, lies_by_output(weight, sizes[3], is_training))
    return cheapest(layer, in_mask, out_mask, is_training)


def lies_by_output(weight: Tensor, out_blocks: int, is_training: bool) -> bool:
    """Whether the kernels find weights output by output, because no panels of them are kept."""
    return weight.stride(0) != 1 and (is_training or panels_of(weight, out_blocks) is None)


def cheapest(
    layer: Layer, in_mask: Tensor | None, out_mask: Tensor | None, is_training: bool
) -> str:
    """The route that the cost model expects to be fastest on the CPU."""
    most = most_pairs(layer, is_training=is_training, known=prices_for(layer))
    if most >= layer.all_pairs:
        return "kernels"
    pairs = kept_pairs(layer, in_mask, out_mask)
    # No block's weights are read for nobody: a block that no row keeps is not executed.
    if pairs <= most or pairs < 0:
        return "kernels"
    return "dense" if pairs == layer.all_pairs else "masked_dense"


def layer_of(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    *,
    is_training: bool = False,
) -> Layer:
    """Sizes of a layer, and how its weights lie."""
    batch, features = x.shape
    in_blocks = 1 if in_mask is None else in_mask.shape[1]
    out_blocks = 1 if out_mask is None else out_mask.shape[1]
    out_size = weight.shape[0] // out_blocks
    is_turned = lies_by_output(weight, out_blocks, is_training)
    return Layer(batch, in_blocks, features // in_blocks, out_blocks, out_size, is_turned)


def kept_pairs(layer: Layer, in_mask: Tensor | None, out_mask: Tensor | None) -> int:
    """Number of (input block, output block) pairs over rows; -1 if some block is kept in no row."""
    # Named, so that copies of masks with gaps live until they are counted.
    first = second = None
    at = by = 0
    if in_mask is not None:
        first = in_mask.contiguous()
        at = first.data_ptr()
    if out_mask is not None:
        second = out_mask.contiguous()
        by = second.data_ptr()
    return pair_counter()(at, by, layer.batch, layer.in_blocks, layer.out_blocks)


@functools.cache
def pair_counter() -> Callable[..., int]:
    """Counts pairs; loaded on use, because numba takes half a second to import."""
    from ccenv.sparse.cpu.lists import count_pairs

    counter: Callable[..., int] = count_pairs
    return counter


def explain_backend(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None = None,
    out_mask: Tensor | None = None,
    *,
    backend: str = "auto",
    is_training: bool = False,
) -> Choice:
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
    route = choose_route(x, weight, in_mask, out_mask, backend, is_training=is_training)
    reason = ROUTES[route]
    if backend == "auto" and x.is_cpu and route in ("kernels", "masked_dense"):
        layer = layer_of(x, weight, in_mask, out_mask, is_training=is_training)
        reason += expected_figures(layer, kept_pairs(layer, in_mask, out_mask), is_training)
    if route == "kernels":
        reason += layout_cost(weight)
    if x.is_cuda and route in ("triton", "masked_dense"):
        reason += gpu_figures(x, weight, in_mask, out_mask, is_training=is_training)
    return Choice(route, reason)


def expected_figures(layer: Layer, pairs: int, is_training: bool) -> str:
    """Both times that the choice was made by, and whose prices they are."""
    known = prices_for(layer)
    kernels = 1e6 * kernel_seconds(layer, max(pairs, 0), is_training=is_training, known=known)
    dense = 1e6 * dense_seconds(layer, is_training=is_training, known=known)
    told = f"{kernels:.0f} microseconds, {dense:.0f} by a dense product"
    if known is None:
        return f" (expected by shipped prices: {told})"
    return (
        f" (expected by prices measured on this machine: {told}; kernels are chosen below "
        f"{known.caution:g} of that)"
    )


def layout_cost(weight: Tensor) -> str:
    """What the kernels pay for where a weight [out, in] lies in memory, for `explain_backend`."""
    of_output, of_input = weight.stride()
    if of_output == 1 or len(weight) == 1:
        return ""
    if of_input == 1:
        return (
            "; weights of an output lie side by side, as torch.nn.Linear keeps them: blocks are "
            "turned, or read so, in every call, which costs up to a tenth of a forward pass of 32 "
            "rows or more; a backward pass turns weights that lie the other way instead "
            "(python -m ccenv.runs.lab layouts)"
        )
    return "; weights lie apart both ways: all of them are copied in every call"


def nearly_dense(in_mask: Tensor | None, out_mask: Tensor | None) -> bool:
    """Whether most pairs of blocks are kept by most rows, and every block is kept by somebody."""
    masks = [mask for mask in (in_mask, out_mask) if mask is not None]
    share = 1.0
    for mask in masks:
        if len(mask) < MIN_DENSE_ROWS:
            return False
        share *= int(mask.sum()) / mask.numel()
        # Sparse masks are the rule and are told by one sum.
        if share <= NEARLY_DENSE:
            return False
    return all(bool(mask.any(dim=0).all()) for mask in masks)


def choose_backend(backend: str, x: Tensor) -> str:
    """Turns "auto" into the backend of the tensor's device, and refuses one that cannot run there.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.
    """
    if backend not in BACKENDS:
        check_names([backend], BACKENDS, "backend")
    own = "gpu" if x.is_cuda else "cpu"
    if backend in ("cpu", "gpu") and backend != own:
        raise ValueError(
            f"expected tensors that backend={backend!r} can reach, got a tensor on {x.device}; "
            "move x, weight, bias and masks, or use backend='auto'"
        )
    return own if backend == "auto" else backend
