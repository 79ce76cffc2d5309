"""Which way a layer is computed: (operands, masks, backend) -> a route and its reason."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.registry import check_names

BACKENDS = ("auto", "reference", "cpu", "gpu")
ROUTES = {
    "reference": "backend='reference' asks for the definition: a dense product times the mask",
    "dense": "there is no mask on either side, so the product is dense",
    "masked_dense": "nearly all pairs of blocks are kept, and so one dense product is faster",
    "kernels": "compiled kernels compute the pairs of blocks that each row keeps",
    "grouped": "no kernel takes this device or dtype: torch multiplies the rows of each block",
}
# Measured by `python -m runs.benchmark kernels`: there torch's dense product overtakes the kernels,
# but for few rows, where even looking at the masks would cost more than it saves.
NEARLY_DENSE, MIN_DENSE_ROWS = 0.9, 64


@dataclass(frozen=True)
class Choice:
    """How a layer would be computed, and why."""

    route: str
    """a name in `ROUTES`."""
    reason: str
    """one sentence."""


def choose_route(
    x: Tensor, in_mask: Tensor | None, out_mask: Tensor | None, backend: str = "auto"
) -> str:
    """Picks a route for operands that were checked.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.
    """
    if choose_backend(backend, x) == "reference":
        return "reference"
    if in_mask is None and out_mask is None:
        return "dense"
    if backend == "auto" and is_nearly_dense(in_mask, out_mask):
        return "masked_dense"
    return "kernels" if x.dtype == torch.float32 and x.device.type == "cpu" else "grouped"


def explain_backend(
    x: Tensor,
    in_mask: Tensor | None = None,
    out_mask: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Choice:
    """Says how `block_sparse_linear` would compute a layer, and why.

    Args:
        x: [batch, in_features].
        in_mask: bool [batch, in_blocks] or None.
        out_mask: bool [batch, out_blocks] or None.
        backend: as given to `block_sparse_linear`.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.

    >>> explain_backend(torch.zeros(4, 8)).route
    'dense'
    """
    route = choose_route(x, in_mask, out_mask, backend)
    return Choice(route, ROUTES[route])


def is_nearly_dense(in_mask: Tensor | None, out_mask: Tensor | None) -> bool:
    """Whether one dense product is faster: most pairs of blocks are kept by most rows.

    Only where every block is kept by somebody, so that no block's weights are read for nobody.
    """
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
