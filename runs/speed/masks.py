"""Masks to measure kernels with: (kind, batch, density) -> a pool of fresh masks for all layers.

Which blocks the rows of a batch share decides how often a block of weights is used again. Masks
that a policy has learned share more than independent ones: images of a class take the same blocks,
and some blocks are nearly everybody's.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.base.seeding import stream

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
    """Draws each class's likely blocks: [num_classes, num_blocks] in [0, 1], rows' mean `density`.

    Args:
        kind: how unequal the blocks are.
        num_blocks: of a layer.
        density: share of blocks kept, in (0, 1].
        generator: source of randomness.
    """
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

    Args:
        batch: rows of a pass.
        num_blocks: blocks of each layer.
        density: share of blocks kept, in (0, 1].
        kind: a name in `KINDS`.
        passes: how many.
    """
    generator = stream(0, f"kernel masks {kind}")
    found = KINDS[kind]
    tables = [keep_probabilities(found, n, density, generator) for n in num_blocks]
    pool = []
    for _ in range(passes):
        classes = torch.randint(found.num_classes, (batch,), generator=generator)
        rows = [table[classes] for table in tables]
        pool.append([torch.rand(row.shape, generator=generator) < row for row in rows])
    return pool


def mean_densities(pool: Sequence[Sequence[Tensor]]) -> tuple[float, ...]:
    """Realised share of blocks kept, of each layer, mean over a pool."""
    return tuple(
        statistics.mean(mask.float().mean().item() for mask in masks)
        for masks in zip(*pool, strict=True)
    )
