"""Plays tasks of the suite by rules that know what policies do not."""

import dataclasses

import numpy as np
import torch

from ccenv.tasks.catalogue import TASKS
from ccenv.tasks.choices import Choices


def shortened(monkeypatch, name, episodes=2048):
    """A task with a smaller budget, in the place of its own."""
    monkeypatch.setitem(TASKS, name, dataclasses.replace(TASKS[name], episodes=episodes))
    return TASKS[name]


def played(task, choose, folder, rows=1024, **own):
    """The score of a task that a rule has played to its end: (simulator) -> masks."""
    envs = task.make_vec(rows, seed=0, score_folder=folder, **own)
    simulator = envs.unwrapped.simulator
    simulator.begin()
    while envs.unwrapped.score.episodes < task.episodes:
        step = simulator.step(choose(simulator))
        if step.is_over:
            simulator.begin()
    return envs.unwrapped.score


def best_choice(problem):
    """The best rule of a problem of one input, which knows the domain and a coin."""
    right, spent = problem.offers()

    def choose(simulator):
        rows, gate = simulator.state.images_by_row, simulator.layer
        domain = rows[:, -1 - problem.domains : -1].argmax(dim=1).numpy()
        price = np.full(len(rows), problem.cost_weight)
        if simulator.context is not None:
            price = simulator.context.values["cost_weight"].double().numpy()
        gains = right[domain] - price[:, None] * spent[domain]
        needed = problem.needs(gate)[domain] & (gains.argmax(axis=1) == 1)[:, None]
        found = np.zeros((len(rows), problem.gates[gate]), bool)
        found[:, : needed.shape[1]] = needed
        return torch.from_numpy(found)

    return choose


def blind_choice(problem):
    """The best masks that are the same for all inputs."""
    right, spent = problem.masks()
    served, is_safe = divmod(int((right - problem.drawn_prices().mean() * spent).argmax()), 2)

    def choose(simulator):
        gate = simulator.layer
        needed = problem.needs(gate)[:served].any(axis=0)
        found = np.zeros((simulator.num_images, problem.gates[gate]), bool)
        found[:, : len(needed)] = needed
        if is_safe and gate == 0:
            found[:, -1] = True
        return torch.from_numpy(found)

    return choose


RULES = {Choices: (best_choice, blind_choice)}
"""Kind of problem -> its best rule, and its best rule that sees no input."""
