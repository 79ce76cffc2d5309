"""Networks of stages beside their plain modules: (batch, density) -> a case."""

import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.networks.models.conv import BlockConv2d, conv
from ccenv.networks.models.experts import Experts, experts
from ccenv.networks.protocol import forward, num_blocks_of
from ccenv.networks.sequential import GatedSequential
from ccenv.runs.timing.kernels import Case, Pass, Row, measure
from ccenv.runs.timing.masks import POOL, draw_pool, mean_densities
from ccenv.runs.timing.networks import as_pass

BATCHES = (1, 256)
SHAPE = (3, 32, 32)


def executed(network: GatedSequential, pool: Sequence[Sequence[Tensor]]) -> float:
    """MACs of a forward pass of all rows, mean over a pool of masks."""
    totals = []
    for masks in pool:
        hidden, total = network.start(torch.zeros(len(masks[0]), *SHAPE)), 0
        for gate, mask in enumerate(masks):
            total += int(network.macs(gate, hidden, mask).sum())
            hidden = network.step(gate, hidden, mask)
        totals.append(total)
    return statistics.mean(totals)


def case_of(
    name: str,
    network: GatedSequential,
    pool: Sequence[Sequence[Tensor]],
    plain: nn.Module,
    equal: tuple[nn.Module, float] | None = None,
    *,
    training: bool = False,
) -> Case:
    """A gated network beside plain modules, under other masks in every pass.

    Args:
        name: of the network.
        network: used as it is built.
        pool: masks for each pass.
        plain: the same without masks, of torch's own layers.
        equal: a plain network of the executed MACs, and its MACs an image.
        training: forward and backward, without an optimiser.
    """
    generator, batch = stream(0, "kernel operands"), len(pool[0][0])
    images = torch.rand(batch, *SHAPE, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator) if training else None
    turns = itertools.cycle(pool)
    for module in (network, plain, *(equal[:1] if equal else ())):
        module.requires_grad_(training)
    with torch.no_grad():
        macs = executed(network, pool[:4])
    if not training:
        network.eval()
        network.pack()

    def plainly(module: nn.Module, logits_of: Callable[[], Tensor]) -> Pass:
        # What is packed runs without gradients only.
        return as_pass(module, logits_of if training else torch.no_grad()(logits_of), labels)

    def gated(backend: str) -> Pass:
        return plainly(network, lambda: forward(network, images, next(turns), backend))

    def dense(module: nn.Module) -> Pass:
        return plainly(module, functools.partial(module, images))

    return Case(
        name=name + (", training step" if training else ""),
        batch=batch,
        densities=mean_densities(pool),
        macs=macs,
        dense_macs=batch * network.dense_macs,
        sparse=gated("auto"),
        dense=dense(plain),
        masked_dense=gated("reference"),
        equal_dense=None if equal is None else dense(equal[0]),
        equal_macs=0.0 if equal is None else batch * equal[1],
    )


def plain_convolution(stage: BlockConv2d) -> nn.Conv2d:
    """The same without groups."""
    outputs, inputs, kernel, _ = stage.weight.shape
    layer = nn.Conv2d(inputs, outputs, kernel, stage.stride, stage.padding)
    layer.load_state_dict(stage.state_dict())
    return layer


def conv_case(batch: int, density: float = 0.25, *, training: bool = False) -> Case:
    """`conv` with a share of its channel groups, beside the same layers of torch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = conv(SHAPE)
    layers: list[nn.Module] = [network.stem]
    for part in network.parts:
        assert isinstance(part, BlockConv2d)
        layers += [plain_convolution(part), nn.ReLU()]
    pool = draw_pool(batch, num_blocks_of(network), density)
    plain = nn.Sequential(*layers, network.head)
    return case_of("conv", network, pool, plain, training=training)


def experts_case(batch: int, kept: int = 2, *, training: bool = False) -> Case:
    """`experts` with a few kept, beside a hidden layer of as many units behind the same stem."""
    generator = stream(0, "kernel masks")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = experts(SHAPE)
        stem_parts: Any = network.stem
        first, stage = stem_parts[-1], cast(Experts, network.part(0))
        features = first.hidden.in_features
        stem = [*stem_parts[:-1], nn.Flatten()]

        def hidden(units: int) -> nn.Sequential:
            return nn.Sequential(*stem, nn.Linear(features, units), nn.ReLU(), nn.Linear(units, 10))

        always, size = first.hidden.out_features, stage.expert_size
        units = always + kept * size
        plain, equal = hidden(always + stage.num_blocks * size), hidden(units)
    ranks = [torch.rand(batch, stage.num_blocks, generator=generator) for _ in range(POOL)]
    pool = [[r.argsort(dim=1).argsort(dim=1) < kept] for r in ranks]
    stem_macs = network.start_macs - always * (features + 10)
    macs = float(stem_macs + units * (features + 10))
    return case_of(
        f"experts, {kept} of {stage.num_blocks}",
        network,
        pool,
        plain,
        (equal, macs),
        training=training,
    )


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every network, batch and way in turn."""
    for batch in BATCHES[: 1 if quick else None]:
        for training in (False, True):
            for make in (conv_case, experts_case):
                yield measure(make(batch, training=training), rounds)
