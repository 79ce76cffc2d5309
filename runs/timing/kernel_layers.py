"""A square block-sparse layer beside dense ones: (width, blocks, density, batch) -> a case."""

import itertools
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.networks.mlp import linear_at, linear_stack
from ccenv.runs.timing.kernel_masks import draw_pool, mean_densities
from ccenv.runs.timing.kernel_timing import Case, width_of_macs
from ccenv.sparse.cpu.packed_weights import keep_panels
from ccenv.sparse.linear import block_sparse_linear


def make_layer(in_features: int, out_features: int) -> nn.Linear:
    """A layer with frozen random weights, as a network of the package keeps it in memory."""
    generator = stream(0, "kernel operands")
    layer = linear_at(linear_stack([in_features, out_features]), 0).requires_grad_(False)
    weight = torch.randn(out_features, in_features, generator=generator)
    layer.weight.copy_(weight / in_features**0.5)
    return layer


def kept_pairs(in_mask: Tensor, out_mask: Tensor) -> int:
    """Pairs of an input and an output block that are multiplied, of all rows together."""
    return int((in_mask.sum(dim=1) * out_mask.sum(dim=1)).sum())


def plain_layers(sizes: Sequence[int], activation: nn.Module | None = None) -> nn.Sequential:
    """Linear layers as torch keeps them in memory, with an activation between: the baselines."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linears = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    parts: list[nn.Module] = [linears[0]]
    for linear in linears[1:]:
        parts += [activation or nn.Identity(), linear]
    return nn.Sequential(*parts)


def layer_case(
    width: int,
    num_blocks: int,
    density: float,
    batch: int,
    *,
    masks: str = "independent",
    backend: str = "auto",
) -> Case:
    """A square layer with masks on both sides, forward, frozen as an environment keeps it.

    Args:
        width: units on each side.
        num_blocks: blocks on each side.
        density: share of blocks kept on each side.
        batch: rows.
        masks: a name in `ccenv.runs.timing.kernel_masks.KINDS`.
        backend: how the sparse pass is computed; see `block_sparse_linear`.
    """
    layer = make_layer(width, width)
    keep_panels(layer)
    pool, size = draw_pool(batch, (num_blocks, num_blocks), density, masks), width // num_blocks
    macs = statistics.mean(kept_pairs(*pair) for pair in pool) * size * size
    units = width_of_macs(macs, lambda n: batch * n * n)
    x, small_x = (torch.randn(batch, n, generator=stream(0, "inputs")) for n in (width, units))
    dense, small = (plain_layers((n, n)).requires_grad_(False) for n in (width, units))
    turns = itertools.cycle(pool)

    def sparse(route: str) -> Tensor:
        return block_sparse_linear(x, layer.weight, layer.bias, *next(turns), backend=route)

    return Case(
        name=f"{width} to {width}, {num_blocks} blocks of {size}",
        masks=masks,
        batch=batch,
        densities=mean_densities(pool),
        macs=macs,
        dense_macs=batch * width * width,
        equal_macs=batch * units * units,
        sparse=lambda: sparse(backend),
        dense=lambda: dense(x),
        masked_dense=lambda: sparse("reference"),
        equal_dense=lambda: small(small_x),
    )
