"""Learning from a dense teacher: (network, images, settings) -> the trainer of its co-training.

The teacher is trained once and cached, as frozen weights are. Distillation: Hinton, Vinyals, Dean
2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531), with the temperature at
the teacher alone, so that the loss stays a cross-entropy.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ccenv.base.seeding import stream
from ccenv.base.values import positive_ints
from ccenv.data import Split
from ccenv.networks.core.abilities import Scheduled
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.learning.frozen_cache import learned_once
from ccenv.networks.learning.training import (
    CoTrainer,
    Pretraining,
    Teaching,
    fingerprint,
    teaching_of,
)


def make_trainer(network: Any, split: Split, settings: Mapping[str, Any]) -> CoTrainer:
    """Prepares the training of a network with fresh weights.

    Args:
        network: a `GatedNetwork`; a warm start puts the teacher's weights into it.
        split: images that it learns from; the teacher learns from the same.
        settings: of `CoTrainer` and `Teaching`, checked before.
    """
    own, teaching = teaching_of(settings)
    check_learns(network, own.get("schedule_updates"))
    units = positive_ints(teaching.teacher_units, "teacher_units", allow_none=True)
    if not units:
        return CoTrainer(network, **own)
    teacher = dense_teacher(units, split, network.activation)
    if teaching.warm_start:
        copy_weights(teacher, network)
    if not teaching.distill_weight:
        return CoTrainer(network, **own)
    return DistillingTrainer(network, teacher, teaching, **own)


def check_learns(network: Any, schedule_updates: int | None) -> None:
    """Refuses networks that an optimiser cannot teach, or not without the end of its schedule."""
    kind = type(network).__name__
    if not any(True for _ in network.parameters()):
        raise ValueError(
            f"expected weights='frozen' of a network without weights to learn, got 'cotrain' of "
            f"{kind}"
        )
    if Scheduled in network.abilities and schedule_updates is None:
        raise ValueError(
            f"expected weights_kwargs.schedule_updates (of a run 'run') with {kind}, which "
            "changes as its training goes on, got none"
        )


class DistillingTrainer(CoTrainer):
    """A `CoTrainer` whose targets are partly a teacher's answers."""

    def __init__(self, network: Any, teacher: Any, teaching: Teaching, **settings: Any) -> None:
        """Prepares the optimiser; the teacher is used with every block kept, and not changed."""
        super().__init__(network, **settings)
        self.teacher, self.teaching = teacher, teaching

    def loss(
        self,
        images: Tensor,
        labels: Tensor,
        masks: Sequence[Tensor],
        backend: str = "auto",
        values: Sequence[Tensor] | None = None,
        start: Any = None,
    ) -> Tensor:
        """Mean cross-entropy to `targets`; see `CoTrainer.loss`."""
        targets = self.targets(images, labels)
        return super().loss(images, targets, masks, backend, values, start)

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Labels mixed with the teacher's answers: -> probabilities [batch, num_classes].

        There may be fewer images than labels, each for as many neighbouring rows.
        """
        with torch.no_grad():
            logits = dense_forward(self.teacher, images)
        answers = torch.softmax(logits / self.teaching.teacher_temperature, dim=1)
        answers = answers.repeat_interleave(len(labels) // len(images), 0)
        truth = nn.functional.one_hot(labels, answers.shape[1]).to(answers)
        return torch.lerp(truth, answers, self.teaching.distill_weight)


def dense_teacher(units: Sequence[int], split: Split, activation: Any) -> GatedMLP:
    """A dense network of these hidden units that has learned a split; trained once, then cached."""
    teacher: GatedMLP = build_network(
        GatedMLP,
        0,
        in_features=math.prod(split.image_shape),
        num_blocks=(1,) * len(units),
        block_size=tuple(units),
        num_classes=split.num_classes,
        activation=activation,
    )
    recipe = Pretraining()
    name = f"teacher-{fingerprint(teacher, split, recipe)}"
    teacher.to(split.images.device)
    learned_once(teacher, name, functools.partial(train_dense, teacher, split, recipe))
    return teacher.eval().requires_grad_(False)


def train_dense(network: Any, split: Split, recipe: Pretraining) -> None:
    """Trains a network with every block kept."""
    generator = stream(recipe.seed, "teacher")
    per_epoch = -(-len(split) // recipe.batch_size)
    num_updates = max(recipe.min_updates, recipe.num_epochs * per_epoch)
    trainer = CoTrainer(
        network,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        schedule_updates=num_updates,
    )
    title = f"ccenv: training a dense teacher on {len(split):,} images (once, then cached)"
    order = torch.empty(0, dtype=torch.int64)
    for _ in tqdm(range(num_updates), desc=title, unit="update", mininterval=0.5):
        if not len(order):
            order = torch.randperm(len(split), generator=generator)
        chosen, order = order[: recipe.batch_size], order[recipe.batch_size :]
        images, labels = split.batch(chosen.to(split.images.device))
        kept = torch.ones(len(labels), 1, dtype=torch.bool, device=images.device)
        trainer.update(images, labels, [kept] * len(network.num_blocks), backend="reference")


def copy_weights(teacher: GatedMLP, network: Any) -> None:
    """Gives a network the weights of a teacher of equal widths, whatever its blocks."""
    theirs = [*teacher.layers, *teacher.head_layers]
    ours = [*network.layers, *network.head_layers]
    shapes = [[tuple(layer.weight.shape) for layer in layers] for layers in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"expected teacher_units whose layers are {shapes[0]} for warm_start, "
            f"got {shapes[1]}; give the units of every hidden layer of the network"
        )
    for layer, taught in zip(ours, theirs, strict=True):
        layer.load_state_dict(taught.state_dict())
