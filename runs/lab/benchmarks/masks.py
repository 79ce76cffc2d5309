"""What kernels are measured with: pools of fresh masks, layers and dense ones.

Which blocks the rows of a batch share decides how often a block of weights is used again. Masks
that a policy has learned share more than independent ones: images of a class take the same blocks,
and some blocks are nearly everybody's.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.networks.core.mlp import linear_at, linear_stack
from ccenv.runs.lab.benchmarks.cases import Case, width_of_macs
from ccenv.sparse.buffers import keep_panels
from ccenv.sparse.linear import block_sparse_linear

POOL = 32


@dataclass(frozen=True)
class MaskKind:
    """How likely the blocks of a layer are, before all are scaled to the density asked for."""

    num_classes: int
    """each row belongs to one of so many classes, in all layers the same; a class has its own
    likely blocks."""
    likely_share: float
    """number of likely blocks over the number of blocks kept on average; at least one is."""
    rest: float
    """keep probability of the other blocks over that of the likely ones."""


KINDS = {
    "independent": MaskKind(num_classes=1, likely_share=0.0, rest=1.0),
    "by class": MaskKind(num_classes=10, likely_share=1.0, rest=0.01),
    "unbalanced": MaskKind(num_classes=1, likely_share=2 / 3, rest=0.05),
}
"""Kinds of masks by the name that tables show."""


def keep_probabilities(
    kind: MaskKind, num_blocks: int, density: float, generator: torch.Generator
) -> Tensor:
    """Draws classes' likely blocks: [num_classes, num_blocks] in [0, 1], rows' mean `density`."""
    kept = density * num_blocks
    likely = min(num_blocks, max(1, int(kind.likely_share * kept)))
    others = num_blocks - likely
    # What likely blocks cannot take, because none is kept oftener than always, the others do.
    high = min(1.0, kept / (likely + kind.rest * others))
    low = (kept - likely * high) / max(1, others)
    order = torch.rand(kind.num_classes, num_blocks, generator=generator).argsort(dim=1)
    return torch.full(order.shape, low).scatter_(1, order[:, :likely], high)


def draw_pool(
    batch: int,
    num_blocks: Sequence[int],
    density: float,
    kind: str = "independent",
    *,
    passes: int = POOL,
) -> list[list[Tensor]]:
    """Draws the masks of several passes: for each layer bool [batch, num_blocks].

    The density is the share of blocks kept, in (0, 1]; the kind is a name in `KINDS`.
    """
    generator = stream(0, f"kernel masks {kind}")
    mask_kind = KINDS[kind]
    tables = [keep_probabilities(mask_kind, n, density, generator) for n in num_blocks]
    pool = []
    for _ in range(passes):
        classes = torch.randint(mask_kind.num_classes, (batch,), generator=generator)
        rows = [table[classes] for table in tables]
        pool.append([torch.rand(row.shape, generator=generator) < row for row in rows])
    return pool


def mean_densities(pool: Sequence[Sequence[Tensor]]) -> tuple[float, ...]:
    """Realised share of blocks kept, of each layer, mean over a pool."""
    return tuple(
        statistics.mean(mask.float().mean().item() for mask in masks)
        for masks in zip(*pool, strict=True)
    )


BATCHES, DENSITIES = (1, 32, 1024), (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
SHARED_BATCHES, SHARED_DENSITIES = (32, 1024), (0.05, 0.1, 0.3)
"""of masks that are not independent."""


def make_layer(in_features: int, out_features: int) -> nn.Linear:
    """A layer with frozen random weights, as a network of the package keeps it in memory."""
    generator = stream(0, "kernel operands")
    layer = linear_at(linear_stack([in_features, out_features]), 0).requires_grad_(False)
    weight = torch.randn(out_features, in_features, generator=generator)
    layer.weight.copy_(weight / in_features**0.5)
    return layer


def plain_layers(sizes: Sequence[int], activation: nn.Module | None = None) -> nn.Sequential:
    """Linear layers as torch keeps them in memory, with an activation between: the baselines."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linears = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    parts: list[nn.Module] = [linears[0]]
    for linear in linears[1:]:
        parts += [activation or nn.Identity(), linear]
    return nn.Sequential(*parts)


def executed_pairs(pool: Sequence[tuple[Tensor, Tensor] | Sequence[Tensor]]) -> float:
    """Pairs of an input and an output block that a pass multiplies, of all rows; mean of a pool."""
    return statistics.mean(
        int((in_mask.sum(dim=1) * out_mask.sum(dim=1)).sum()) for in_mask, out_mask in pool
    )


def layer_case(
    width: int, num_blocks: int, density: float, batch: int, masks: str = "independent"
) -> Case:
    """A square layer with masks of a kind on both sides, forward, frozen as in an environment."""
    layer = make_layer(width, width)
    keep_panels(layer)
    pool, size = draw_pool(batch, (num_blocks, num_blocks), density, masks), width // num_blocks
    macs = executed_pairs(pool) * size * size
    units = width_of_macs(macs, lambda n: batch * n * n)
    x, small_x = (torch.randn(batch, n, generator=stream(0, "inputs")) for n in (width, units))
    dense, small = (plain_layers((n, n)).requires_grad_(False) for n in (width, units))
    turns = itertools.cycle(pool)

    def sparse(backend: str) -> Tensor:
        return block_sparse_linear(x, layer.weight, layer.bias, *next(turns), backend=backend)

    return Case(
        name=f"{width} to {width}, {num_blocks} blocks of {size}",
        masks=masks,
        batch=batch,
        densities=mean_densities(pool),
        macs=macs,
        dense_macs=batch * width * width,
        sparse=lambda: sparse("auto"),
        dense=lambda: dense(x),
        masked_dense=lambda: sparse("reference"),
        equal_dense=lambda: small(small_x),
        equal_macs=batch * units * units,
    )
