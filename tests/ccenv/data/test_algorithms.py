"""Algorithmic tasks: labels are what rows say, in the paper's sizes, and rows stay as they are."""

import copy
import math

import pytest
import torch

from ccenv.agents.systems.act import Act
from ccenv.data import SPLITS, load_split
from ccenv.data.rows import some_rows
from ccenv.simulator.simulator import Simulator

NAMES = ("parity64", "addition", "sorting")


def rows_of(name, count=2000):
    inputs, labels = load_split(name, "test").batch(torch.arange(count))
    assert inputs.dtype == torch.float32
    return inputs, labels.tolist()


def evenly(numbers, kinds):
    """Whether all kinds occur equally often, to four standard deviations."""
    counts = torch.tensor([numbers.count(kind) for kind in kinds]).double()
    share = 1 / len(counts)
    deviation = math.sqrt(len(numbers) * share * (1 - share))
    return sorted(set(numbers)) == list(kinds) and (counts - len(numbers) * share).abs().max() < (
        4 * deviation
    )


def test_parity_is_that_of_the_ones_among_one_to_sixty_four_entries():
    inputs, labels = rows_of("parity64")
    assert inputs.shape[1:] == (64,)
    assert set(inputs.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert labels == ((inputs == 1).sum(dim=1) % 2).tolist()
    assert evenly((inputs != 0).sum(dim=1).tolist(), range(1, 65))
    # Every place is used alike, whatever the number of entries.
    assert (inputs != 0).float().mean(dim=0).sub(65 / 128).abs().max() < 0.05


def number_of(digits):
    """[5, 10] one-hot digits, the ones first -> the number and how many digits it has."""
    length = int(digits.sum())
    assert digits[:length].sum(dim=1).tolist() == [1.0] * length
    return sum(10**place * int(digits[place].argmax()) for place in range(length)), length


def test_a_sum_has_the_digit_that_python_gives_it():
    inputs, labels = rows_of("addition")
    counts, lengths, places = [], [], inputs[:, 250:]
    assert inputs.shape[1:] == (256,)
    assert places.sum(dim=1).tolist() == [1.0] * len(inputs)
    for row, place, label in zip(inputs, places.argmax(dim=1).tolist(), labels, strict=True):
        numbers = [number_of(one) for one in row[:250].view(5, 5, 10)]
        written = str(sum(number for number, _ in numbers))[::-1]
        assert label == (int(written[place]) if place < len(written) else 10)
        present = [length for _, length in numbers if length]
        assert present == [length for _, length in numbers][: len(present)]
        counts.append(len(present))
        lengths += present
    assert evenly(counts, range(1, 6))
    assert evenly(lengths, range(1, 6))
    assert evenly(places.argmax(dim=1).tolist(), range(6))


def test_sorting_asks_which_number_stands_at_a_place():
    inputs, labels = rows_of("sorting")
    numbers, is_there, asked = inputs.split(15, dim=1)
    counts = is_there.sum(dim=1).long().tolist()
    for row, count, place, label in zip(
        numbers, counts, asked.argmax(dim=1).tolist(), labels, strict=True
    ):
        assert place < count
        assert sorted(row[:count].tolist())[place] == row[label]
        assert not row[count:].any()
    assert evenly(counts, range(2, 16))
    normal = numbers[is_there.bool()]
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_the_same_however_it_is_drawn_and_splits_share_none(name):
    splits = [load_split(name, split) for split in SPLITS]
    assert [len(split) for split in splits] == [2**18, 10_000, 10_000]
    test = splits[2]
    few = torch.tensor([7, 9999, 7, 0])
    inputs, labels = test.batch(few)
    every, all_labels = test.batch(torch.arange(10_000))
    assert torch.equal(inputs, every[few])
    assert torch.equal(labels, all_labels[few])
    assert torch.equal(copy.deepcopy(test).batch(few)[0], inputs)
    assert torch.equal(some_rows(test.images, few.numpy())[:4], inputs)
    ends = [split.batch(torch.arange(5000))[0] for split in splits]
    together = torch.cat(ends).unique(dim=0)
    # What few entries or digits can say is said more than once.
    assert len(together) > 0.9 * sum(map(len, ends))
    assert torch.unique(splits[0].labels).tolist() == list(range(test.num_classes))


def test_random_numbers_are_even_and_their_neighbours_tell_nothing_of_them():
    rows = load_split("sorting", "train").images
    draws = rows.draws(torch.arange(20_000).numpy())
    assert draws.min() > 0
    assert draws.max() < 1
    assert draws.mean(dim=0).sub(0.5).abs().max() < 0.01
    together = torch.corrcoef(torch.cat([draws[:-1], draws[1:]], dim=1).t())
    assert (together - torch.eye(len(together))).abs().max() < 0.04


def test_an_agent_ponders_on_a_sum():
    simulator = Simulator(
        32,
        dataset="addition",
        network="pondering",
        network_kwargs={"units": 8, "num_steps": 3, "loss_weight": 0.0},
        weights="cotrain",
        observation="layer_input",
    )
    simulator.seed(0)
    scalars = []
    Act(simulator).learn(64, lambda _, heard: scalars.append(heard))
    assert all(1 <= heard["agent/steps"] <= 3 for heard in scalars)
