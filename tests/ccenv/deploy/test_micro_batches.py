"""Micro-batches: everybody gets the own answer, and whoever comes too late to wait is told."""

import threading

import pytest
import torch

from ccenv.deploy.micro_batches import LATEST, BusyError, MicroBatches
from ccenv.runs.lab.benchmarks.serving import under_load


def test_each_input_gets_its_own_answer_and_a_bad_one_fails_alone():
    def classify(images):
        if bool((images < 0).any()):
            raise ValueError("negative")
        return torch.cat([images, 2 * images], dim=1)

    values = [1.0, 2.0, -1.0, 3.0]
    with MicroBatches(classify, max_batch=4, max_wait=5.0, max_pending=4) as batches:
        answers = [batches.submit(torch.tensor([value])) for value in values]
        with pytest.raises(ValueError, match="negative"):
            answers.pop(2).result(10)
        values.pop(2)
        assert [answer.result(10).tolist() for answer in answers] == [[v, 2 * v] for v in values]
    assert list(batches.sizes) == [4]
    assert (batches.num_batches, batches.num_inputs) == (1, 4)


def test_what_is_remembered_does_not_grow_and_a_wrong_number_of_answers_ends_nothing():
    class Short:
        def __call__(self, images):
            return images if len(images) == 1 and images[0] >= 0 else images[:0]

    with MicroBatches(Short(), max_batch=1, max_wait=0.0) as batches:
        assert isinstance(batches.submit(torch.tensor([-1.0])).exception(10), ValueError)
        for _ in range(LATEST + 10):
            assert batches.submit(torch.tensor([1.0])).result(10) == 1
    assert len(batches.sizes) == LATEST
    assert batches.num_batches == LATEST + 11


def test_at_most_so_many_wait_and_closing_answers_them():
    computes, go_on = threading.Event(), threading.Event()

    def classify(images):
        computes.set()
        go_on.wait(10)
        return images

    batches = MicroBatches(classify, max_batch=1, max_wait=0.0, max_pending=2)
    answers = [batches.submit(torch.tensor([0.0]))]
    assert computes.wait(10)
    answers += [batches.submit(torch.tensor([float(n)])) for n in (1, 2)]
    with pytest.raises(BusyError):
        batches.submit(torch.tensor([3.0]))
    go_on.set()
    batches.close()
    assert [answer.result(0).item() for answer in answers] == [0.0, 1.0, 2.0]
    with pytest.raises(RuntimeError, match="closed"):
        batches.submit(torch.tensor([4.0]))


def test_a_load_accounts_for_every_input():
    limits = {"max_batch": 4, "max_wait": 0.0, "max_pending": 4}
    found = under_load(lambda x: x, torch.zeros(3, 2), rate=5000.0, seconds=0.05, **limits)
    assert 0 <= found["refused"] < 1
    assert 1 <= found["mean_batch"] <= 4
    assert 0 <= found["p50"] <= found["p95"] <= found["p99"]
