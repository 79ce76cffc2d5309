"""Learning from a dense teacher: (network, inputs, settings) -> the trainer of its co-training.

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

from ccenv.base.values import positive_ints
from ccenv.data import Split
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.learning.bundled_weights import learned_once
from ccenv.networks.learning.training import (
    CoTrainer,
    Pretraining,
    Teaching,
    fingerprint,
    learn_split,
    teaching_of,
)


def make_trainer(network: Any, split: Split, settings: Mapping[str, Any]) -> CoTrainer:
    """Prepares the training of a network with fresh weights, or with a teacher's: a warm start.

    The teacher learns from the same inputs. `settings` are those of `CoTrainer` and `Teaching`. A
    network that cannot be taught, or not without a schedule's end, is refused (ValueError).
    """
    training, teaching = teaching_of(settings)
    kind = type(network).__name__
    if not any(True for _ in network.parameters()):
        raise ValueError(
            f"expected weights='frozen' of a network without weights to learn, got 'cotrain' of "
            f"{kind}"
        )
    if network.is_scheduled and training.get("schedule_updates") is None:
        raise ValueError(
            f"expected weights_kwargs.schedule_updates (of a run 'run') with {kind}, which "
            "changes as its training goes on, got none"
        )
    units = positive_ints(teaching.teacher_units, "teacher_units", allow_none=True)
    if not units:
        return CoTrainer(network, **training)
    teacher = dense_teacher(units, split, network.activation)
    if teaching.warm_start:
        copy_weights(teacher, network)
    if not teaching.distill_weight:
        return CoTrainer(network, **training)
    return DistillingTrainer(network, teacher, teaching, **training)


class DistillingTrainer(CoTrainer):
    """A `CoTrainer` whose targets are partly a teacher's answers."""

    def __init__(self, network: Any, teacher: Any, teaching: Teaching, **settings: Any) -> None:
        """Prepares the optimiser; the teacher is used with every block kept, and not changed."""
        super().__init__(network, **settings)
        self.teacher, self.teaching = teacher, teaching

    def loss(
        self,
        inputs: Tensor,
        labels: Tensor,
        masks: Sequence[Tensor],
        backend: str = "auto",
        values: Sequence[Tensor] | None = None,
        start: Any = None,
    ) -> Tensor:
        """Mean cross-entropy to `targets`; see `CoTrainer.loss`."""
        targets = self.targets(inputs, labels)
        return super().loss(inputs, targets, masks, backend, values, start)

    def targets(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Labels mixed with the teacher's answers: -> probabilities [batch, num_classes].

        There may be fewer inputs than labels, each for as many neighbouring rows.
        """
        with torch.no_grad():
            logits = dense_forward(self.teacher, inputs)
        answers = torch.softmax(logits / self.teaching.teacher_temperature, dim=1)
        answers = answers.repeat_interleave(len(labels) // len(inputs), 0)
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
    recipe, device = Pretraining(), split.images.device
    name = f"teacher-{fingerprint(teacher, split, recipe)}"
    teacher.to(device)

    def kept(rows: int, _: torch.Generator) -> list[Tensor]:
        return [torch.ones(rows, 1, dtype=torch.bool, device=device)] * len(units)

    lesson = functools.partial(learn_split, teacher, split, recipe, "teacher")
    learned_once(teacher, name, lambda: lesson("training a dense teacher", kept))
    return teacher.eval().requires_grad_(False)


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
