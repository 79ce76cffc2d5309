"""Time of block-sparse layers and networks beside dense ones: cases as data, timed in turns.

Every pass takes other masks, from a pool drawn beforehand, so that neither caches nor branch
predictors learn them; building lists from the masks is part of a pass. Policies, where a case has
them, are part of it too.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.blocks import mask_of_indices
from ccenv.costs import dense_macs, layer_macs
from ccenv.latency import time_in_turns
from ccenv.networks import GatedMLP, dense_forward, forward, linear_stack
from ccenv.seeding import stream
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.panel_cache import keep_panels

POOL = 32
LAYER_BATCHES = (1, 32, 1024)
LAYER_DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
Pass = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """One case: how much faster the kept blocks alone are."""

    case: str
    """what was multiplied."""
    batch: int
    """rows of a pass."""
    density: float
    """share of blocks kept, realised, mean over gated layers."""
    speedup: float
    """dense time over time, median over rounds."""
    speedup_low: float
    """lower quartile."""
    speedup_high: float
    """upper quartile."""
    limit: float
    """dense MACs over executed MACs, the policy's included."""
    milliseconds: float
    """median time of a pass."""
    dense_gflops: float
    """floating-point operations of the dense pass a second, in billions."""
    gflops: float
    """of the sparse pass, by executed MACs."""


def measure(
    case: str,
    dense: Pass,
    sparse: Pass,
    *,
    batch: int,
    density: float,
    macs: float,
    all_macs: float,
    repeats: int,
) -> Timing:
    """Times a dense and a sparse pass in turns.

    Args:
        case: its name.
        dense: one dense pass.
        sparse: one pass on kept blocks.
        batch: rows of a pass.
        density: share of blocks kept.
        macs: executed MACs of a sparse pass, of all rows.
        all_macs: MACs of a dense pass, of all rows.
        repeats: rounds.
    """
    pairs = time_in_turns(dense, sparse, repeats)
    ratios = [a / b for a, b in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    dense_seconds, seconds = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Timing(
        case=case,
        batch=batch,
        density=density,
        speedup=statistics.median(ratios),
        speedup_low=low,
        speedup_high=high,
        limit=all_macs / max(macs, 1.0),
        milliseconds=1e3 * seconds,
        dense_gflops=2e-9 * all_macs / dense_seconds,
        gflops=2e-9 * macs / seconds,
    )


def draw_pool(batch: int, num_blocks: Sequence[int], density: float) -> list[list[Tensor]]:
    """Masks of all layers for `POOL` passes, each block kept independently."""
    generator = stream(0, "kernel masks")
    return [
        [torch.rand(batch, n, generator=generator) < density for n in num_blocks]
        for _ in range(POOL)
    ]


def mean_density(pool: Sequence[Sequence[Tensor]]) -> float:
    """Realised share of blocks kept."""
    return statistics.mean(mask.float().mean().item() for masks in pool for mask in masks)


def layer_timing(
    width: int, num_blocks: int, density: float, batch: int, repeats: int, backend: str = "auto"
) -> Timing:
    """A square layer with masks on both sides, forward."""
    generator = stream(0, "kernel operands")
    x = torch.randn(batch, width, generator=generator)
    # A frozen layer, as an environment keeps it.
    layer = linear_stack([width, width])[0].requires_grad_(False)
    layer.weight.copy_(torch.randn(width, width, generator=generator) / width**0.5)
    weight, bias = layer.weight, layer.bias
    keep_panels(layer)
    pool = draw_pool(batch, (num_blocks, num_blocks), density)
    turns = itertools.cycle(pool)

    def sparse() -> Tensor:
        in_mask, out_mask = next(turns)
        return block_sparse_linear(x, weight, bias, in_mask, out_mask, backend=backend)

    size = width // num_blocks
    pairs = statistics.mean(
        float((m.sum(dim=1) * n.sum(dim=1)).sum().item()) * size * size for m, n in pool
    )
    return measure(
        f"{width} to {width}, {num_blocks} blocks of {size}",
        lambda: torch.nn.functional.linear(x, weight, bias),
        sparse,
        batch=batch,
        density=mean_density(pool),
        macs=pairs,
        all_macs=batch * width * width,
        repeats=repeats,
    )


def network_macs(network: GatedMLP, pool: Sequence[Sequence[Tensor]]) -> float:
    """Executed MACs of a pass, mean over the pool."""
    totals = []
    for masks in pool:
        before = [None, *masks[:-1]]
        layers = enumerate(zip(before, masks, strict=True))
        totals.append(sum(float(layer_macs(network, i, a, b).sum()) for i, (a, b) in layers))
    return statistics.mean(totals)


def cifar_timing(density: float, batch: int, repeats: int, *, training: bool = False) -> Timing:
    """The paper's CIFAR-10 network with its affine policies on the full layer inputs."""
    generator = stream(0, "kernel operands")
    images = torch.rand(batch, 3072, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GatedMLP(3072, (10, 10), 64).requires_grad_(training)
    if not training:
        keep_panels(network)
    policies = [torch.randn(10, n, generator=generator) / n for n in (3072, 640)]
    pool = draw_pool(batch, network.num_blocks, density)
    turns = itertools.cycle(pool)

    def look(x: Tensor, layer: int) -> Tensor:
        # What a policy costs: its product, its sigmoid and the draw; the masks come from the pool.
        scores = torch.nn.functional.linear(x.detach(), policies[layer])
        return torch.rand(batch, 10) < scores.sigmoid()

    def sparse() -> Tensor:
        x, before = images, None
        for layer, mask in enumerate(next(turns)):
            look(x, layer)
            x = network.gated_layer(layer, x, before, mask)
            before = mask
        return network.head(x, before)

    def step(logits: Tensor) -> Tensor:
        loss = torch.nn.functional.cross_entropy(logits, labels)
        network.zero_grad(set_to_none=True)
        loss.backward()
        return loss

    def dense() -> Tensor:
        return dense_forward(network, images)

    policy_macs = 0 if training else batch * (3072 + 640) * 10
    factor = 3 if training else 1
    return measure(
        "CIFAR-10 network 3072, 10 x 64, 10 x 64, 10" + (", training step" if training else ""),
        (lambda: step(dense())) if training else dense,
        (lambda: step(sparse())) if training else sparse,
        batch=batch,
        density=mean_density(pool),
        macs=factor * network_macs(network, pool) + policy_macs,
        all_macs=factor * batch * dense_macs(network),
        repeats=repeats,
    )


def mnist_timing(batch: int, repeats: int, dense_units: int) -> Timing:
    """The network of `rloo` on MNIST: 32 blocks of 8, 2 kept, a policy on the pooled digit."""
    generator = stream(0, "kernel operands")
    images = torch.rand(batch, 1, 28, 28, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GatedMLP(784, (32,), 8, activation="relu").requires_grad_(False)
        dense_network = GatedMLP(784, (1,), dense_units, activation="relu").requires_grad_(False)
    keep_panels(network)
    policy = torch.randn(32, 49, generator=generator)

    def sparse() -> Tensor:
        # Each image's own masks here: the policy is cheap enough to be the real one.
        pooled = torch.nn.functional.avg_pool2d(images, 4).flatten(1)
        mask = mask_of_indices(
            torch.nn.functional.linear(pooled, policy).topk(2, dim=1).indices, 32
        )
        return forward(network, images, [mask])

    kept = 2 * 8
    return measure(
        f"MNIST network 784, 32 x 8 with 2 kept, 10; against dense {dense_units}",
        lambda: dense_forward(dense_network, images),
        sparse,
        batch=batch,
        density=2 / 32,
        macs=batch * (49 * 32 + 784 * kept + kept * 10),
        all_macs=batch * dense_macs(dense_network),
        repeats=repeats,
    )


def all_cases(*, quick: bool, repeats: int) -> Iterator[Timing]:
    """Every case in turn; the quick ones are a few small layers.

    Args:
        quick: seconds instead of minutes.
        repeats: rounds of each case.
    """
    if quick:
        yield layer_timing(256, 8, 0.1, 32, repeats)
        return
    for batch, density in itertools.product(LAYER_BATCHES, LAYER_DENSITIES):
        yield layer_timing(1024, 32, density, batch, repeats)
    for density, batch in itertools.product((1 / 16, 0.18), (128, 4096)):
        yield cifar_timing(density, batch, repeats)
    yield cifar_timing(1 / 16, 1, repeats)
    yield cifar_timing(1 / 16, 128, repeats, training=True)
    for units, batch in itertools.product((256, 48), (1024, 1)):
        yield mnist_timing(batch, repeats, units)
    yield layer_timing(4096, 64, 1 / 8, 8192, min(repeats, 5))
