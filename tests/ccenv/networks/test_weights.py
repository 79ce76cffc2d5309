"""Weights: learned once and cached, whoever asks; co-trained ones restored by a seed."""

import inspect
import multiprocessing

import pytest
import torch
from torch import nn

from ccenv.base.seeding import stream
from ccenv.data import Split, load_split
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.learning import training as weights
from ccenv.networks.learning.training import Pretraining, frozen_weights
from ccenv.networks.stages.linear import BlockLinear
from ccenv.networks.vision.early_exit import pondering
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import episode, masks_for, same_weights, seeded

QUICK = Pretraining(num_epochs=1, min_updates=30)
SIZES = {"in_features": 64, "num_blocks": (4,), "block_size": 4}
PONDERING = {"input_shape": (1, 8, 8), "num_classes": 10, "units": 4, "num_steps": 3}
COTRAIN = {"num_blocks": (4, 4), "block_size": 4, "weights": "cotrain"}


def small_network(seed=0, builder=GatedMLP, **sizes):
    return build_network(builder, seed, **SIZES | sizes)


@pytest.fixture
def digits():
    return load_split("digits", "train")


def ponders(seed=0):
    """A network whose block repeats."""
    return build_network(pondering, seed, **PONDERING)


@pytest.mark.parametrize("make", [small_network, ponders])
def test_frozen_weights_are_learned_once_and_then_read(cache, digits, monkeypatch, make):
    first, same, before, other = make(), make(), make(), make(seed=1)
    frozen_weights(first, digits, QUICK)
    frozen_weights(other, digits, QUICK)
    monkeypatch.setattr(weights, "tqdm", lambda *_, **__: pytest.fail("got a training"))
    frozen_weights(same, digits, QUICK)
    assert same_weights(first, same)
    assert not same_weights(first, before)
    assert not same_weights(first, other)
    # What was one module is one module still.
    assert len([*same.parameters()]) == len([*before.parameters()])


def test_frozen_weights_classify_under_random_masks_better_than_chance(cache, digits):
    network = small_network(num_blocks=(6,), block_size=6)
    frozen_weights(network, digits, Pretraining(num_epochs=1, min_updates=200))
    images, labels = load_split("digits", "test").batch(torch.arange(500))
    for share in (0.5, 1.0):
        mask = torch.rand(500, 6, generator=stream(0, "test")) < share
        assert (network(images, [mask]).argmax(dim=1) == labels).float().mean() > 0.6


class Wider(GatedMLP):
    """A class of the user's, with the same parameters."""


class OwnHead(nn.Linear):
    """A part of the user's."""


def staged(activation, head=nn.Linear):
    """A network of ccenv's parts, whose class and weights do not tell its activation."""
    stage = BlockLinear(64, 4, 4, activation)
    return GatedSequential(nn.Flatten(), [stage], head(16, 10), torch.zeros(1, 1, 8, 8)).eval()


def test_of_ccenvs_classes_the_version_counts_and_of_a_users_the_text(digits, monkeypatch):
    def prints():
        return [
            weights.fingerprint(build_network(builder, 0, **sizes), digits, QUICK)
            for builder, sizes in (
                (GatedMLP, SIZES),
                (staged, {"activation": "relu"}),
                (staged, {"activation": "tanh"}),
                (Wider, SIZES),
                (staged, {"activation": "relu", "head": OwnHead}),
            )
        ]

    before = prints()
    assert len(set(before)) == 5
    text = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda code: text(code) + "# written anew")
    anew = prints()
    assert [a == b for a, b in zip(before, anew, strict=True)] == [True] * 3 + [False] * 2
    monkeypatch.setattr(weights, "LEARNED_BY", weights.LEARNED_BY + 1)
    assert not set(prints()) & {*before, *anew}


def test_each_thing_that_the_weights_depend_on_has_a_cache_entry_of_its_own(digits):
    shuffled = Split(digits.images.flip(0), digits.labels, 10)
    relabelled = Split(digits.images, digits.labels.flip(0), 10)
    prints = [
        weights.fingerprint(network, split, recipe)
        for network, split, recipe in [
            (small_network(), digits, QUICK),
            (small_network(seed=1), digits, QUICK),
            (small_network(activation="relu"), digits, QUICK),
            (small_network(activation=torch.sin), digits, QUICK),
            (small_network(activation=lambda x: x * x), digits, QUICK),
            # The same parameters, cut in other blocks: other random masks.
            (small_network(num_blocks=(8,), block_size=2), digits, QUICK),
            (small_network(num_blocks=(4, 2)), digits, QUICK),
            (small_network(head_units=(5,)), digits, QUICK),
            (small_network(builder=Wider), digits, QUICK),
            (small_network(), shuffled, QUICK),
            (small_network(), relabelled, QUICK),
            (small_network(), digits, Pretraining(num_epochs=1, min_updates=31)),
            (small_network(), digits, Pretraining(num_epochs=1, min_updates=30, seed=1)),
        ]
    ]
    assert len(set(prints)) == len(prints)


def learn_and_count(barrier, queue):
    """What each of two processes does: counts its own trainings."""
    torch.set_num_threads(1)
    trained, train = [], weights.pretrain

    def counted(*arguments):
        trained.append(1)
        train(*arguments)

    weights.pretrain = counted
    network, split = small_network(), load_split("digits", "train")
    barrier.wait()
    frozen_weights(network, split, QUICK)
    printed = weights.fingerprint(small_network(), split, QUICK)
    queue.put((len(trained), network.layers[0].weight.sum().item(), printed))


def test_two_processes_that_ask_at_once_learn_once_and_by_the_same_name(cache, monkeypatch):
    # Counted in this process too; what counts is put back afterwards.
    monkeypatch.setattr(weights, "pretrain", weights.pretrain)
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    other = context.Process(target=learn_and_count, args=(barrier, queue))
    other.start()
    learn_and_count(barrier, queue)
    results = [queue.get(timeout=100) for _ in range(2)]
    other.join()
    assert sorted(trained for trained, *_ in results) == [0, 1]
    assert results[0][1:] == results[1][1:]
    assert len(list(cache.glob("*.safetensors"))) == 1


def test_the_half_file_of_a_process_that_was_killed_is_never_taken_and_goes(cache, digits):
    first, again = small_network(), small_network()
    frozen_weights(first, digits, QUICK)
    (path,) = cache.glob("*.safetensors")
    path.rename(path.with_name(f"{path.name}.9.partial"))
    frozen_weights(again, digits, QUICK)
    assert same_weights(first, again)
    assert not list(cache.glob("*.partial"))


def cotrain(updates, **settings):
    simulator, losses = seeded(32, **COTRAIN, **settings), []
    for update in range(updates):
        episode(simulator, masks_for(simulator, update))
        losses.append(simulator.update_network()["network_loss"])
    return simulator, losses


def test_co_training_lowers_the_loss():
    _, losses = cotrain(100, weights_kwargs={"learning_rate": 0.02})
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_an_episode_that_did_not_end_teaches_nothing():
    simulator, _ = cotrain(1)
    simulator.begin()
    simulator.step(torch.ones(32, 4, dtype=torch.bool))
    simulator.begin()
    assert simulator.update_network() == {}


def test_the_rate_falls_to_zero_and_stays_there():
    network = small_network()
    trainer = weights.CoTrainer(network, schedule_updates=3)
    images, labels = load_split("digits", "train").batch(torch.arange(8))
    rates = []
    for _ in range(6):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.update(images, labels, [torch.ones(8, 4, dtype=torch.bool)])
    assert rates == pytest.approx([2e-3, 1.5e-3, 0.5e-3, 0, 0, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "cotrained"}, "did you mean 'cotrain'"),
        ({"weights": "frozen", "weights_kwargs": {"momentum": 0.1}}, "expected weights='cotrain'"),
        ({"weights_kwargs": {"learning_rte": 1}}, "did you mean 'learning_rate'"),
        ({"weights_kwargs": {"optimizer": "adam"}}, "did you mean 'adamw'"),
        ({"weights_kwargs": {"learning_rate": 0}}, "expected learning_rate above 0"),
        ({"weights_kwargs": {"learning_rate": float("inf")}}, "learning_rate to be a finite"),
        ({"weights_kwargs": {"learning_rate": "fast"}}, "learning_rate to be a finite"),
        ({"weights_kwargs": {"weight_decay": -1}}, "weight_decay to be a finite number"),
        ({"weights_kwargs": {"momentum": 0.9}}, "expected optimizer='sgd' with momentum"),
        ({"weights_kwargs": {"schedule_updates": 0}}, "schedule_updates to be whole numbers"),
        ({"weights_kwargs": {"distill_weight": 0.5}}, "expected teacher_units"),
        ({"weights_kwargs": {"warm_start": True}}, "expected teacher_units"),
        ({"weights_kwargs": {"teacher_units": 8, "distill_weight": 1.5}}, r"in \[0, 1\]"),
        ({"weights_kwargs": {"teacher_units": 8, "teacher_temperature": 0.0}}, "above 0"),
        ({"weights_kwargs": {"teacher_units": 0}}, "whole numbers"),
        ({"weights_kwargs": {"teacher_unit": 8}}, "teacher_units"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Simulator(4, **COTRAIN | settings)


def test_weights_do_not_depend_on_the_number_of_threads(digits):
    learned = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        network = small_network()
        weights.pretrain(network, digits, QUICK)
        assert torch.get_num_threads() == threads
        torch.set_num_threads(1)
        learned.append(network)
    assert same_weights(*learned)
