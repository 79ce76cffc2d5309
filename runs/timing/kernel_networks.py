"""Block-sparse networks with their policies beside dense ones: (density, batch) -> a case.

A network that is being used runs in one compiled call, policy included (`ccenv.deploy.fused`); one
that an environment steps through, or that is being trained, runs layer by layer.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ccenv.base.masks import mask_of_indices
from ccenv.base.seeding import stream
from ccenv.deploy.fused.classifier import Chooser, FusedClassifier
from ccenv.networks.build import build_network
from ccenv.networks.costs import kept_units, layer_macs
from ccenv.networks.mlp import GatedMLP, forward, gated_widths
from ccenv.runs.timing.kernel_layers import plain_layers
from ccenv.runs.timing.kernel_masks import POOL, draw_pool, mean_densities
from ccenv.runs.timing.kernel_timing import Case, width_of_macs
from ccenv.runs.timing.turns import Pass
from ccenv.sparse.cpu.packed_weights import keep_panels

CIFAR_NAME = "CIFAR-10 network 3072, 10 x 64, 10 x 64, 10"
Look = Callable[[Tensor, int], object]


def affine_weights(network: GatedMLP, generator: torch.Generator) -> list[Tensor]:
    """Random weights of the paper's policies (section 3.1): [num_blocks, input width] a layer."""
    widths = (network.in_features, *gated_widths(network))
    sizes = zip(network.num_blocks, widths, strict=False)
    return [torch.randn(blocks, n, generator=generator) / n for blocks, n in sizes]


def affine_look(weights: Sequence[Tensor], generator: torch.Generator) -> Look:
    """What choosing costs: product, sigmoid and draw; the masks of a case are from its pool."""

    def look(x: Tensor, layer: int) -> Tensor:
        scores = torch.nn.functional.linear(x.detach(), weights[layer])
        return torch.rand(scores.shape, generator=generator) < scores.sigmoid()

    return look


def walk(
    network: GatedMLP,
    images: Tensor,
    masks: Iterator[Sequence[Tensor]],
    look: Look | None,
    backend: str,
) -> Tensor:
    """Logits of images under the next masks, with a look at every gated layer's input."""
    x, before = images, None
    for layer, mask in enumerate(next(masks)):
        if look is not None:
            look(x, layer)
        x = network.gated_layer(layer, x, before, mask, backend)
        before = mask
    return network.head(x, before, backend)


def fused_pass(
    network: GatedMLP,
    images: Tensor,
    weights: Sequence[Tensor],
    density: float,
    generator: torch.Generator,
) -> tuple[Pass, list[list[Tensor]]]:
    """One compiled call that draws its own masks, and the masks that it draws for a pool's length.

    Biases set the policies to the density; their weights, which cost the same whatever they are,
    hardly move it.
    """
    bias = math.log(density / (1 - density))
    choosers = [
        Chooser([(weight, torch.full((len(weight),), bias))], "drawn") for weight in weights
    ]
    fused = FusedClassifier(network, choosers)
    pool = [fused(images, generator=generator)[1] for _ in range(POOL)]
    return lambda: fused(images, generator=generator)[0], pool


def as_pass(model: nn.Module, logits_of: Callable[[], Tensor], labels: Tensor | None) -> Pass:
    """Forward alone; with labels forward and backward, without an optimiser."""
    if labels is None:
        return logits_of

    def descend() -> None:
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(logits_of(), labels).backward()

    return descend


def step_macs(forward: float, first_layer: float, *, training: bool) -> float:
    """MACs of a pass; a training step also needs the gradients of all weights and hidden layers.

    The images need no gradient, and so the first layer costs twice its product, not three times.
    """
    return 3 * forward - first_layer if training else forward


def dense_macs(sizes: Sequence[int], *, training: bool = False) -> int:
    """MACs of one image in a dense network of the given widths."""
    total = sum(a * b for a, b in itertools.pairwise(sizes))
    return int(step_macs(total, sizes[0] * sizes[1], training=training))


def executed_macs(
    network: GatedMLP, pool: Sequence[Sequence[Tensor]], *, training: bool = False
) -> float:
    """Executed MACs of a pass of all rows, the head's included, mean over the pool."""
    totals = []
    for masks in pool:
        pairs = enumerate(zip([None, *masks[:-1]], masks, strict=True))
        total = sum(
            float(layer_macs(network, i, before, mask).sum()) for i, (before, mask) in pairs
        )
        first = network.in_features * float(kept_units(network, 0, masks[0]).sum())
        totals.append(step_macs(total, first, training=training))
    return statistics.mean(totals)


def cifar_case(
    density: float,
    batch: int,
    *,
    training: bool = False,
    policies: bool = True,
    one_call: bool = True,
    masks: str = "independent",
) -> Case:
    """The paper's CIFAR-10 network with its affine policies on the full layer inputs.

    Args:
        density: share of blocks kept in each gated layer.
        batch: images.
        training: forward and backward instead of forward alone.
        policies: whether looking at the layers' inputs is part of a pass.
        one_call: the whole network in one compiled call, instead of layer by layer.
        masks: a name in `ccenv.runs.timing.kernel_masks.KINDS`.
    """
    generator = stream(0, "kernel operands")
    images = torch.rand(batch, 3072, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator) if training else None
    network = build_network(GatedMLP, 0, in_features=3072).requires_grad_(training)
    if not training:
        keep_panels(network)
    weights = affine_weights(network, generator)
    look = affine_look(weights, generator) if policies else None
    pool = draw_pool(batch, network.num_blocks, density, masks)
    turns = itertools.cycle(pool)
    sparse: Pass | None = None
    if one_call and policies and not training:
        sparse, pool = fused_pass(network, images, weights, density, generator)
    elif one_call and not training:
        fused = FusedClassifier(network)
        sparse = lambda: fused(images, next(turns))[0]  # noqa: E731
    macs = executed_macs(network, pool, training=training) + policies * batch * 10 * (3072 + 640)

    def macs_of(units: int) -> int:
        return batch * dense_macs((3072, units, units, 10), training=training)

    def gated(backend: str) -> Pass:
        logits = functools.partial(walk, network, images, turns, look, backend)
        return as_pass(network, logits, labels)

    def plain(units: int) -> Pass:
        model = plain_layers((3072, units, units, 10), nn.Tanh()).requires_grad_(training)
        return as_pass(model, functools.partial(model, images), labels)

    small = width_of_macs(macs, macs_of)
    return Case(
        name=CIFAR_NAME
        + training * ", training step"
        + (not policies) * ", masks given"
        + (sparse is None and not training) * ", layer by layer",
        masks=masks,
        batch=batch,
        densities=mean_densities(pool),
        macs=macs,
        dense_macs=macs_of(640),
        equal_macs=macs_of(small),
        sparse=gated("auto") if sparse is None else sparse,
        dense=plain(640),
        masked_dense=gated("reference"),
        equal_dense=plain(small),
    )


def mnist_case(batch: int, dense_units: int) -> Case:
    """The network of `rloo` on MNIST: 32 blocks of 8, 2 kept, a policy on the pooled digit.

    Each image's masks are its policy's own, which is cheap enough to be the real one; other
    weights of the policy in every pass make other masks.

    Args:
        batch: images.
        dense_units: hidden units of the dense network.
    """
    generator = stream(0, "kernel operands")
    images = torch.rand(batch, 1, 28, 28, generator=generator)
    network = build_network(
        GatedMLP, 0, in_features=784, num_blocks=(32,), block_size=8, activation="relu"
    ).requires_grad_(False)
    keep_panels(network)
    policies = [torch.randn(32, 49, generator=generator) for _ in range(POOL)]
    turns = itertools.cycle(policies)
    fuse = functools.partial(
        FusedClassifier, network, observation="summary", image_shape=(1, 28, 28)
    )
    fused = itertools.cycle([fuse([Chooser([(policy, None)], "top_k", 2)]) for policy in policies])

    def gated(backend: str) -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(images, 4).flatten(1)
        scores = torch.nn.functional.linear(pooled, next(turns))
        masks = [mask_of_indices(scores.topk(2, dim=1).indices, 32)]
        return forward(network, images, masks, backend)

    def plain(units: int) -> Pass:
        model = plain_layers((784, units, 10), nn.ReLU()).requires_grad_(False)
        return lambda: model(images.flatten(1))

    macs = 49 * 32 + 784 * 16 + 16 * 10
    units = width_of_macs(macs, lambda n: dense_macs((784, n, 10)))
    return Case(
        name=f"MNIST network 784, 32 x 8 with 2 kept, 10; against dense {dense_units}",
        masks="chosen",
        batch=batch,
        densities=(2 / 32,),
        macs=batch * macs,
        dense_macs=batch * dense_macs((784, dense_units, 10)),
        equal_macs=batch * dense_macs((784, units, 10)),
        sparse=lambda: next(fused)(images)[0],
        dense=plain(dense_units),
        masked_dense=lambda: gated("reference"),
        equal_dense=plain(units),
    )
