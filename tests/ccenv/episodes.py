"""Environments of milliseconds, episodes under drawn masks, and a learner without a thread."""

from concurrent.futures import Future

import numpy as np
import torch

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.simulator.simulator import Simulator

# Co-trained weights need no pre-training; layers, blocks and classes are all of different numbers.
UNEVEN = {
    "dataset": "synthetic",
    "num_blocks": [3, 5],
    "block_size": [4, 2],
    "weights": "cotrain",
}
EXPERTS = {
    "dataset": "digits",
    "network": "experts",
    "network_kwargs": {"num_experts": 4, "expert_size": 3, "channels": [2, 2], "first_units": 2},
    "weights": "cotrain",
}
STALENESS = {
    "dataset": "staleness",
    "network": "staleness",
    "episode": "sequence",
    "reward": "probability_minus_cost",
}
DOCUMENTS = STALENESS | {"dataset": "documents", "network": "documents"}


def same_bits(one, other):
    """Whether what two environments have given is the same, types and bits."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.items()), list(other.items())
    if isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            same_bits(a, b)
    else:
        np.testing.assert_array_equal(one, other, strict=isinstance(one, np.ndarray))


def same_weights(one, other):
    """Whether two modules hold the same numbers."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def seeded(rows=32, seed=0, **settings):
    simulator = Simulator(rows, **settings)
    simulator.seed(seed)
    return simulator


def masks_for(simulator, seed=0, density=0.5, rows=None):
    """A mask of each gate."""
    generator, rows = stream(seed, "test masks"), rows or simulator.num_images
    return [random_mask(rows, n, density, generator) for n in simulator.num_blocks]


def episode(simulator, masks, indices=None):
    """Observations (one more than steps) and steps."""
    observations, steps = [simulator.begin(indices)], []
    for mask in masks:
        steps.append(simulator.step(mask))
        observations.append(steps[-1].observation)
    return observations, steps


def walked(simulator, masks):
    """Steps of an episode of the first images."""
    return episode(simulator, masks, torch.arange(len(masks[0])))[1]


NUM_SYMBOLS = 7


def windows(split):
    """Windows of 6 symbols, the smaller ones more frequent; the label is the last."""
    draws = torch.rand(600, 6, generator=stream(len(split), "windows"))
    tokens = (draws.square() * NUM_SYMBOLS).long()
    return Split(tokens, tokens[:, -1].clone(), NUM_SYMBOLS)


class InThread:
    """The learner's thread is the caller's."""

    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done
