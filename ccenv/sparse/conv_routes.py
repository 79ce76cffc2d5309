"""Which way a convolution on channel groups is computed: (operands, masks, backend) -> a route."""

import torch
from torch import Tensor

from ccenv.sparse.routes import ROUTES, Choice, choose_backend, kept_pairs

# Where the kernels lose to one dense convolution between masks. Measured on one core with AVX-512,
# 1, 16 and 128 images, five layers of 3 to 128 channels on maps of 8 to 32 pixels, forward and with
# gradients: with 9 of 16 pairs of groups kept the kernels took 0.5 to 0.9 of the dense time in most
# of the 30 cases, with all pairs kept 0.7 to 5 times; with 27 weights an output, or for one image,
# hardly ever more.
NEARLY_DENSE = 0.65
"""share of kept pairs of groups from which on one dense convolution is taken."""
FEW_INPUTS = 64
"""weights of an output channel below which the kernels always win: writing maps is all there is."""


def choose_conv_route(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    backend: str = "auto",
) -> str:
    """Picks a route for operands that were checked: a name in `ccenv.sparse.routes.ROUTES`.

    Raises:
        ValueError: if the backend is unknown or does not fit the device.
    """
    if choose_backend(backend, x) == "reference":
        return "reference"
    if in_mask is None and out_mask is None:
        return "dense"
    if x.is_cpu and x.dtype == torch.float32:
        is_plain = (
            backend != "auto" or x.shape[0] == 1 or weight.numel() < FEW_INPUTS * weight.shape[0]
        )
        return "kernels" if is_plain else on_cpu(in_mask, out_mask)
    return "masked_dense" if backend == "auto" and x.is_cuda else "grouped"


def on_cpu(in_mask: Tensor | None, out_mask: Tensor | None) -> str:
    """The route that is expected to be fastest for several images, by the share of kept pairs."""
    masks = [mask for mask in (in_mask, out_mask) if mask is not None]
    in_blocks, out_blocks = (1 if m is None else m.shape[1] for m in (in_mask, out_mask))
    rows = len(masks[0])
    all_pairs = rows * in_blocks * out_blocks
    pairs = kept_pairs((rows, in_blocks, 1, out_blocks, 1), in_mask, out_mask)
    # A group that no row keeps is not executed: a dense convolution would read its weights.
    if pairs < NEARLY_DENSE * all_pairs:
        return "kernels"
    return "dense" if pairs == all_pairs else "masked_dense"


def explain_conv(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None = None,
    out_mask: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Choice:
    """Says how `block_sparse_conv2d` would compute a layer, and why; as `explain_backend`.

    >>> explain_conv(torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3)).route
    'dense'
    """
    route = choose_conv_route(x, weight, in_mask, out_mask, backend)
    return Choice(route, ROUTES[route])
