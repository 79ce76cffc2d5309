"""Laws of a dense teacher: what it knows already teaches nothing, and it is trained once."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.data import load_split
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.learning import distillation
from ccenv.networks.learning import training as weights
from ccenv.networks.learning.training import CoTrainer, Pretraining, Teaching
from ccenv.simulator.simulator import Simulator

QUICK = functools.partial(Pretraining, num_epochs=1, min_updates=150)
COTRAIN = {"dataset": "digits", "num_blocks": (4,), "block_size": 4, "weights": "cotrain"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Teachers of a second."""
    monkeypatch.setattr(distillation, "Pretraining", QUICK)


def network_of(seed, blocks=4, size=4):
    return build_network(
        GatedMLP, seed, in_features=6, num_blocks=(blocks,), block_size=size, num_classes=3
    )


def batch(seed, size=8):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, 6, generator=generator)
    return images, torch.randint(3, (size,), generator=generator)


def all_kept(images, blocks):
    return [torch.ones(len(images), blocks, dtype=torch.bool)]


@given(seed=st.integers(0, 50))
def test_a_network_that_answers_like_its_teacher_learns_nothing_from_it(seed):
    teacher, student = network_of(seed), network_of(seed)
    teaching = Teaching(teacher_units=16, distill_weight=1.0)
    trainer = distillation.DistillingTrainer(student, teacher, teaching, weight_decay=0.0)
    images, labels = batch(seed)
    loss = torch.nn.functional.cross_entropy(
        dense_forward(student, images), trainer.targets(images, labels)
    )
    loss.backward()
    for value in student.parameters():
        torch.testing.assert_close(value.grad, torch.zeros_like(value), atol=1e-6, rtol=0)


@given(
    seed=st.integers(0, 50), weight=st.floats(0, 1), temperature=st.floats(0.1, 10), size=st.just(5)
)
def test_targets_are_probabilities_between_label_and_teacher(seed, weight, temperature, size):
    teacher = network_of(seed)
    teaching = Teaching(16, weight, temperature)
    trainer = distillation.DistillingTrainer(network_of(seed + 1), teacher, teaching)
    images, labels = batch(seed, size)
    targets = trainer.targets(images, labels)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(size))
    answers = torch.softmax(dense_forward(teacher, images) / temperature, dim=1).detach()
    truth = torch.nn.functional.one_hot(labels, 3).float()
    torch.testing.assert_close(targets, (1 - weight) * truth + weight * answers)


def test_a_teacher_is_trained_once_and_then_read(cache, monkeypatch):
    split = load_split("digits", "train")
    first = distillation.dense_teacher((8,), split, "tanh")
    monkeypatch.setattr(weights, "tqdm", lambda *_, **__: pytest.fail("got a training"))
    second = distillation.dense_teacher((8,), split, "tanh")
    assert len(list(cache.glob("teacher-*.safetensors"))) == 1
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(pytest.fail.Exception, match="got a training"):
        distillation.dense_teacher((9,), split, "tanh")
    images, labels = split.batch(torch.arange(400))
    assert (dense_forward(first, images).argmax(dim=1) == labels).float().mean() > 0.3
    assert not any(value.requires_grad for value in first.parameters())


def test_a_warm_start_is_the_teacher_cut_into_blocks(cache):
    split = load_split("digits", "train")
    asked = {"teacher_units": 16, "warm_start": True}
    network = build_network(
        GatedMLP, 3, in_features=64, num_blocks=(4,), block_size=4, num_classes=10
    )
    trainer = distillation.make_trainer(network, split, asked)
    images, _ = split.batch(torch.arange(9))
    teacher = distillation.dense_teacher((16,), split, "tanh")
    torch.testing.assert_close(
        network(images, all_kept(images, 4)).detach(), dense_forward(teacher, images)
    )
    assert type(trainer) is CoTrainer


def test_a_warm_start_by_other_widths_is_refused():
    with pytest.raises(ValueError, match="teacher_units whose layers"):
        distillation.copy_weights(network_of(0, size=8), network_of(0, size=4))


def test_the_same_seed_is_the_same_lesson(cache):
    taught = {"teacher_units": (16,), "distill_weight": 0.5, "teacher_temperature": 2.0}
    simulator = Simulator(8, **COTRAIN, weights_kwargs=taught)
    losses = []
    for _ in range(2):
        simulator.seed(4)
        for _ in range(3):
            simulator.begin()
            simulator.step(torch.ones(8, 4, dtype=torch.bool))
            losses.append(simulator.update_network()["network_loss"])
    assert losses[:3] == losses[3:]
    assert isinstance(simulator.trainer, distillation.DistillingTrainer)
