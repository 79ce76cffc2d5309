"""Seeded simulators, episodes under drawn masks, and a learner without a thread."""

from concurrent.futures import Future

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.simulator.simulator import Simulator


def seeded(rows, **settings):
    simulator = Simulator(rows, **settings)
    simulator.seed(0)
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


class InThread:
    """The learner's thread is the caller's."""

    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done
