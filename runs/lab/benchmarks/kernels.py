"""Times block-sparse networks with their policies, and draws speed-up over density.

A network that is being used runs in one compiled call, policy included (`deploy.fused`); one
that an environment steps through, or that is being trained, runs layer by layer.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ccenv.annexes.deploy.fused.classifier import Chooser, FusedClassifier
from ccenv.base.masks import mask_of_indices
from ccenv.base.seeding import stream
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP, MLPHidden, kept_units, layer_macs
from ccenv.networks.core.protocol import forward, walk
from ccenv.runs.lab.benchmarks.cases import (
    COLUMNS,
    NOTES,
    Case,
    Pass,
    Row,
    benchmark,
    densities,
    time_case,
    width_of_macs,
)
from ccenv.runs.lab.benchmarks.masks import (
    BATCHES,
    DENSITIES,
    KINDS,
    POOL,
    SHARED_BATCHES,
    SHARED_DENSITIES,
    draw_pool,
    layer_case,
    mean_densities,
    plain_layers,
)
from ccenv.runs.studies.paper.numbers import digitised
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    Picture,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
)
from ccenv.sparse.buffers import keep_panels

GIVEN, STEPPED, TRAINED = "masks given", "layer by layer", "training step"
"""Ways to run the paper's network, and one compiled call with its policies."""
CIFAR_SIZES = (3072, 640, 640, 10)


def step_macs(forward: float, first_layer: float, *, training: bool) -> float:
    """MACs of a pass; a training step also needs the gradients of all weights and hidden layers.

    The images need no gradient, and so the first layer costs twice its product, not three times.
    """
    return 3 * forward - first_layer if training else forward


def mlp_macs(sizes: Sequence[int], *, training: bool = False) -> int:
    """MACs of one image in a dense network of the given widths."""
    total = sum(a * b for a, b in itertools.pairwise(sizes))
    return int(step_macs(total, sizes[0] * sizes[1], training=training))


def executed_macs(
    network: GatedMLP, pool: Sequence[Sequence[Tensor]], *, training: bool = False
) -> float:
    """Executed MACs of a pass of all rows, the head's included, mean over the pool."""
    totals = []
    for masks in pool:
        sides = zip([None, *masks[:-1]], masks, strict=True)
        total = sum(float(layer_macs(network, i, *side).sum()) for i, side in enumerate(sides))
        first = network.in_features * float(kept_units(network, 0, masks[0]).sum())
        totals.append(step_macs(total, first, training=training))
    return statistics.mean(totals)


def fused_pass(
    network: GatedMLP,
    images: Tensor,
    policies: Sequence[Tensor],
    density: float,
    generator: torch.Generator,
) -> tuple[Pass, list[list[Tensor]]]:
    """One compiled call that draws its own masks, and the masks that it draws for a pool's length.

    Biases set the policies to the density; their weights, which cost the same whatever they are,
    hardly move it.
    """
    bias = math.log(density / (1 - density))
    choosers = [Chooser([(w, torch.full((len(w),), bias))], "sampled") for w in policies]
    fused = FusedClassifier(network, choosers)
    pool = [fused(images, generator=generator)[1] for _ in range(POOL)]
    return lambda: fused(images, generator=generator)[0], pool


def next_logits(
    network: GatedMLP,
    images: Tensor,
    turns: Iterator[Sequence[Tensor]],
    policies: Sequence[Tensor],
    generator: torch.Generator,
    backend: str,
) -> Tensor:
    """Logits under the next masks of a pool, layer by layer.

    Choosing masks costs what it does (product, sigmoid and draw), without policies nothing; the
    masks that are taken are the pool's.
    """
    masks = next(turns)

    def choose(gate: int, hidden: MLPHidden) -> Tensor:
        if policies:
            scores = torch.nn.functional.linear(hidden.x.detach(), policies[gate])
            torch.rand(scores.shape, generator=generator).lt(scores.sigmoid())
        return masks[gate]

    return walk(network, images, choose, backend)


def as_pass(model: nn.Module, logits_of: Callable[[], Tensor], labels: Tensor | None) -> Pass:
    """Forward alone; with labels forward and backward, without an optimiser."""
    if labels is None:
        return logits_of

    def descend() -> None:
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(logits_of(), labels).backward()

    return descend


def cifar_case(density: float, batch: int, way: str = "") -> Case:
    """The paper's CIFAR-10 network with its affine policies on the full layer inputs.

    The way is `GIVEN`, one compiled call without policies, `STEPPED` or `TRAINED`, both with them;
    else one compiled call with policies.
    """
    generator, training = stream(0, "kernel operands"), way == TRAINED
    images = torch.rand(batch, 3072, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator) if training else None
    network = build_network(GatedMLP, 0, in_features=3072).requires_grad_(training)
    widths = () if way == GIVEN else CIFAR_SIZES[:2]
    policies = [torch.randn(10, n, generator=generator) / n for n in widths]
    pool = draw_pool(batch, network.num_blocks, density)
    turns = itertools.cycle(pool)

    def gated(backend: str) -> Pass:
        logits = functools.partial(
            next_logits, network, images, turns, policies, generator, backend
        )
        return as_pass(network, logits, labels)

    def plain(sizes: Sequence[int]) -> Pass:
        model = plain_layers(sizes, nn.Tanh()).requires_grad_(training)
        return as_pass(model, functools.partial(model, images), labels)

    sparse = gated("auto")
    if not training:
        keep_panels(network)
    if way == GIVEN:
        fused = FusedClassifier(network)
        sparse = lambda: fused(images, next(turns))[0]  # noqa: E731
    elif not way:
        sparse, pool = fused_pass(network, images, policies, density, generator)
    macs = executed_macs(network, pool, training=training) + batch * 10 * sum(widths)
    units = width_of_macs(macs / batch, lambda n: mlp_macs((3072, n, n, 10), training=training))
    narrow = (3072, units, units, 10)
    return Case(
        name="CIFAR-10 network 3072, 10 x 64, 10 x 64, 10" + (way and f", {way}"),
        batch=batch,
        densities=mean_densities(pool),
        macs=macs,
        dense_macs=batch * mlp_macs(CIFAR_SIZES, training=training),
        sparse=sparse,
        dense=plain(CIFAR_SIZES),
        masked_dense=gated("reference"),
        equal_dense=plain(narrow),
        equal_macs=batch * mlp_macs(narrow, training=training),
    )


def mnist_case(batch: int, dense_units: int) -> Case:
    """The network of `rloo` on MNIST: 32 blocks of 8, 2 kept, a policy on the pooled digit.

    Each image's masks are its policy's own, which is cheap enough to be the real one; other
    weights of the policy in every pass make other masks. The dense network has `dense_units`.
    """
    generator = stream(0, "kernel operands")
    images = torch.rand(batch, 1, 28, 28, generator=generator)
    sizes = {"in_features": 784, "num_blocks": (32,), "block_size": 8, "activation": "relu"}
    network = build_network(GatedMLP, 0, **sizes).requires_grad_(False)
    keep_panels(network)
    policies = [torch.randn(32, 49, generator=generator) for _ in range(POOL)]
    fuse = functools.partial(
        FusedClassifier, network, observation="summary", image_shape=(1, 28, 28)
    )
    fused = itertools.cycle([fuse([Chooser([(policy, None)], "top_k", 2)]) for policy in policies])
    turns = itertools.cycle(policies)

    def masked() -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(images, 4).flatten(1)
        scores = torch.nn.functional.linear(pooled, next(turns))
        masks = [mask_of_indices(scores.topk(2, dim=1).indices, 32)]
        return forward(network, images, masks, "reference")

    def plain(units: int) -> Pass:
        model = plain_layers((784, units, 10), nn.ReLU()).requires_grad_(False)
        return lambda: model(images.flatten(1))

    macs = 49 * 32 + 784 * 16 + 16 * 10
    units = width_of_macs(macs, lambda n: mlp_macs((784, n, 10)))
    return Case(
        name=f"MNIST network 784, 32 x 8 with 2 kept, 10; against dense {dense_units}",
        masks="chosen",
        batch=batch,
        densities=(2 / 32,),
        macs=batch * macs,
        dense_macs=batch * mlp_macs((784, dense_units, 10)),
        sparse=lambda: next(fused)(images)[0],
        dense=plain(dense_units),
        masked_dense=masked,
        equal_dense=plain(units),
        equal_macs=batch * mlp_macs((784, units, 10)),
    )


def all_cases(*, quick: bool) -> Iterator[Case]:
    """Layers, the paper's CIFAR-10 network, `rloo`'s MNIST network; made when they are reached."""
    if quick:
        yield from (layer_case(256, 8, 0.1, 32, kind) for kind in KINDS)
        yield cifar_case(1 / 16, 4)
        return
    sizes = itertools.product(BATCHES, DENSITIES)
    yield from (layer_case(1024, 32, density, batch) for batch, density in sizes)
    shared = itertools.product(list(KINDS)[1:], SHARED_BATCHES, SHARED_DENSITIES)
    yield from (layer_case(1024, 32, density, batch, kind) for kind, batch, density in shared)
    ways = [(density, batch, "") for density in (1 / 16, 0.18) for batch in (128, 4096)]
    ways += [(1 / 16, 1, ""), (1 / 16, 1, GIVEN)]
    ways += [(1 / 16, batch, STEPPED) for batch in (1, 128, 4096)]
    yield from itertools.starmap(cifar_case, [*ways, (1 / 16, 128, TRAINED)])
    yield from itertools.starmap(mnist_case, [(b, n) for n in (256, 48) for b in (1024, 1)])


def network_rows(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every case in turn."""
    for case in all_cases(quick=quick):
        yield time_case(case, rounds)
    if not quick:
        # Seconds a pass: fewer rounds.
        yield time_case(layer_case(4096, 64, 1 / 8, 8192), min(rounds, 5))


MIN_DENSITY = 0.04
"""The thesis starts at 0.01, where its lines would hide ours."""


def curves(rows: Sequence[Row]) -> tuple[str, dict[int, list[Row]]]:
    """The case with most densities under independent masks: its name, and its rows by batch."""
    independent = [row for row in rows if row["masks"] == "independent"]
    names = [row["case"] for row in independent]
    case = max(names, key=names.count)
    of_case = sorted((r for r in independent if r["case"] == case), key=lambda row: row["density"])
    return case, {
        b: [r for r in of_case if r["batch"] == b] for b in sorted({r["batch"] for r in of_case})
    }


def density_figure(rows: Sequence[Row]) -> Picture:
    """Speed-up over density: a line a batch size, dense layers of equal MACs dashed."""
    case, by_batch = curves(rows)
    lines, names = [], []
    figure = new_figure(2.7 + legend_height([""] * (len(by_batch) + 4)))
    axes = figure.add_subplot()
    for color, (batch, of_batch) in zip(COLORS, by_batch.items(), strict=False):
        at = [r["density"] for r in of_batch]
        lines += axes.plot(
            at, [r["speedup"] for r in of_batch], color=color, marker="o", markersize=3, lw=1.2
        )
        names.append(f"batch {batch:,}")
        low, high = ([r[name] for r in of_batch] for name in ("speedup_low", "speedup_high"))
        axes.fill_between(at, low, high, color=color, alpha=0.2)
        axes.plot(at, [r["ceiling"] for r in of_batch], color=color, ls="--", lw=0.8, alpha=0.6)
    lines += axes.plot([], [], color=INK, ls="--", lw=0.8)
    names.append("dense, equal MACs")
    for (name, points), marker in zip(digitised("fig5.2").items(), "+x", strict=True):
        shown = sorted((x, y) for x, y in points if x >= MIN_DENSITY)
        lines += axes.plot(*zip(*shown, strict=True), color=THEIRS, marker=marker, lw=0.8)
        names.append(f"thesis, {name}")
    axes.axhline(1.0, color=INK, lw=0.8)
    axes.set(yscale="log", xlabel="share of blocks kept", ylabel="speed-up over the dense product")
    plain_logarithms(axes.yaxis)
    legend_below(figure, lines, names)
    speeds = "; ".join(
        f"batch {b:,}: {of_batch[0]['speedup']:.1f}" for b, of_batch in by_batch.items()
    )
    alt = f"Speed-up over density, {case}; at the lowest density {speeds}"
    return Picture(figure, "fig5.2", f"Speed-up over density, {case}.", alt)


KERNELS = benchmark(
    "kernels",
    "block-sparse layers and networks compared with dense ones",
    network_rows,
    COLUMNS,
    kind="kernels",
    recorded_as="kernel-speed",
    shown=densities,
    notes=NOTES,
    figure=density_figure,
)
