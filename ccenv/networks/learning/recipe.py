"""Recipes of shipped weights: (recipe) -> a network trained so that its gates may be skipped.

Stochastic depth: Huang et al. 2016, "Deep networks with stochastic depth" (arXiv 1603.09382). What
is skipped is not rescaled here: a policy's masks are not either. Exits learn from all inputs. A
second cycle: Loshchilov and Hutter 2017, "SGDR" (arXiv 1608.03983).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.networks.core.exit_state import exit_losses
from ccenv.networks.core.inference_copy import learning_norms
from ccenv.networks.core.protocol import dense_forward, forward, num_blocks_of

OnUpdate = Callable[[int, int, float], None]
"""Called with (updates done, updates in all, loss in nats)."""


@dataclass(frozen=True)
class Recipe:
    """How a network's weights are learned."""

    network: str
    """name in `NETWORKS`."""
    dataset: str
    """name in `DATASETS`; the training split is learned from."""
    network_kwargs: dict[str, Any] = field(default_factory=dict)
    """of its builder."""
    transforms: tuple[str, ...] = ()
    """of the training images, see `ccenv.data.transforms`."""
    num_epochs: int = 30
    """passes over as many images as the training split has without copies."""
    batch_size: int = 128
    """images of an update."""
    learning_rate: float = 0.1
    """the highest, of SGD with Nesterov momentum; reached by a warm-up, it falls along a cosine."""
    momentum: float = 0.9
    """of SGD."""
    weight_decay: float = 5e-4
    """of SGD, on weights and norms alike."""
    warm_up: float = 0.1
    """share of the updates."""
    label_smoothing: float = 0.0
    """share of the target that all classes have alike."""
    share_whole: float = 0.5
    """share of the batches in which everything is kept."""
    most_skipped: float = 0.7
    """highest probability of skipping, of the last gate; earlier gates' grow with depth."""
    restart_epochs: int = 0
    """passes of a second cycle, which starts with a new optimiser; 0 for none."""
    restart_rate: float = 0.02
    """the highest learning rate of the second cycle."""
    restart_whole: float = 0.75
    """share of its batches in which everything is kept."""
    bfloat16: bool = True
    """whether products are computed in bfloat16, by `torch.autocast`."""
    seed: int = 0
    """of the initial weights, the order of the images and the masks."""


def drawn_masks(
    blocks: tuple[int, ...], rows: int, most: float, generator: torch.Generator
) -> list[Tensor]:
    """Random masks: each row has a severity in [0, 1], and deeper gates are skipped more often."""
    severity = torch.rand(rows, 1, generator=generator)
    return [
        torch.rand(rows, n, generator=generator) >= most * severity * (gate + 1) / len(blocks)
        for gate, n in enumerate(blocks)
    ]


def train(network: Any, recipe: Recipe, on_update: OnUpdate) -> None:
    """Trains a network with initial weights in place; its norms learn too, and are then frozen."""
    # Copies may be stored beside the images: an epoch has as many rows as there are images.
    num_images, r = len(load_split(recipe.dataset, "train")), recipe
    cycles = [
        ("recipe", r.num_epochs * num_images // r.batch_size, r.learning_rate, r.share_whole),
        (
            "recipe, second cycle",
            r.restart_epochs * num_images // r.batch_size,
            r.restart_rate,
            r.restart_whole,
        ),
    ]
    done, total = 0, sum(num_updates for _, num_updates, *_ in cycles)
    with learning_norms(network):
        network.train()
        for name, num_updates, rate, share_whole in cycles:
            for loss in updates(network, recipe, name, num_updates, rate, share_whole):
                done += 1
                on_update(done, total, loss)
    network.eval()


def updates(
    network: Any, recipe: Recipe, name: str, num_updates: int, rate: float, share_whole: float
) -> Iterator[float]:
    """Carries out a cycle, whose rate rises once and falls to nothing; gives losses in nats."""
    if not num_updates:
        return
    split = load_split(recipe.dataset, "train", recipe.transforms)
    generator = stream(recipe.seed, name)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=num_updates, pct_start=recipe.warm_up, cycle_momentum=False
    )
    blocks, order = num_blocks_of(network), torch.empty(0, dtype=torch.int64)
    for _ in range(num_updates):
        if len(order) < recipe.batch_size:
            order = torch.randperm(len(split), generator=generator)
        chosen, order = order[: recipe.batch_size], order[recipe.batch_size :]
        images, labels = split.batch(chosen)
        is_whole = float(torch.rand((), generator=generator)) < share_whole
        masks = drawn_masks(blocks, len(labels), recipe.most_skipped, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            kept = None if is_whole else masks
            loss = exit_losses(network, images, labels, kept, recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


@torch.no_grad()
def error_of(
    network: Any,
    recipe: Recipe,
    split: str = "test",
    batch_size: int = 500,
    density: float | None = None,
    num_images: int | None = None,
) -> float:
    """Share of wrong answers of a network in evaluation mode.

    Args:
        network: a `GatedNetwork`.
        recipe: whose data set and transforms; those of chance are for training images alone.
        split: whose images.
        batch_size: images at a time.
        density: probability with which each block is kept, with masks of a fixed seed; None keeps
            everything.
        num_images: the first so many images; None for all.
    """
    data, wrong = load_split(recipe.dataset, split, recipe.transforms), 0
    generator, blocks = stream(0, f"masks of {split}"), num_blocks_of(network)
    count = len(data) if num_images is None else min(num_images, len(data))
    for indices in torch.arange(count).split(batch_size):
        images, labels = data.batch(indices)
        if density is None:
            logits = dense_forward(network, images)
        else:
            masks = [random_mask(len(labels), n, density, generator) for n in blocks]
            logits = forward(network, images, masks)
        wrong += int((logits.argmax(dim=1) != labels).sum())
    return wrong / count
