"""Plays tasks of the suite by rules that know what policies do not."""

import dataclasses

import numpy as np
import torch

from ccenv.annexes.tasks import refreshing
from ccenv.annexes.tasks.allocation import allocate
from ccenv.annexes.tasks.catalogue import TASKS
from ccenv.annexes.tasks.choices import Choices
from ccenv.annexes.tasks.cotraining import CoTrained
from ccenv.annexes.tasks.loading import Loading, memories, moves, qualities, values_of_documents
from ccenv.annexes.tasks.real import Real
from ccenv.annexes.tasks.updating import Updating


def shortened(monkeypatch, name, episodes):
    """A task with a smaller budget, in the place of its own."""
    monkeypatch.setitem(TASKS, name, dataclasses.replace(TASKS[name], episodes=episodes))
    return TASKS[name]


def played(task, choose, folder, rows=1024, **vec_settings):
    """The score of a task that a rule has played to its end: (simulator) -> masks."""
    envs = task.make_vec(rows, seed=0, score_folder=folder, **vec_settings)
    simulator = envs.unwrapped.simulator
    simulator.begin()
    while envs.unwrapped.score.episodes < task.episodes:
        step = simulator.step(choose(simulator))
        if step.is_over:
            simulator.update_network()
            simulator.begin()
    return envs.unwrapped.score


def best_choice(problem):
    """The best rule of a problem of one input, which knows the domain, or its probability."""
    right, spent = problem.offers()
    draws = np.random.default_rng(0)
    if problem.cost_limit is not None:
        allocation = allocate(right, spent, problem.cost_limit)

    def choose(simulator):
        rows, gate = simulator.state.images_by_row.double().numpy(), simulator.layer
        if problem.distractors:
            threshold = problem.cost_weight / problem.domains
            return torch.from_numpy(problem.posterior(rows) > threshold)
        domain = rows[:, -1 - problem.domains : -1].argmax(axis=1)
        price = np.full(len(rows), problem.cost_weight)
        if simulator.context is not None:
            price = simulator.context.values["cost_weight"].double().numpy()
        offer = (right[domain] - price[:, None] * spent[domain]).argmax(axis=1)
        if problem.cost_limit is not None:
            coins = draws.random(len(rows)) < allocation.share
            offer = np.where(coins, allocation.dear[domain], allocation.cheap[domain])
        return torch.from_numpy(problem.needs(gate)[domain] & (offer == 1)[:, None])

    return choose


def blind_choice(problem):
    """The best masks that are the same for all inputs, or by a coin."""
    right, spent = problem.masks()
    draws = np.random.default_rng(0)
    best = np.array([(right - problem.drawn_prices().mean() * spent).argmax()] * 2)
    share = 0.0
    if problem.cost_limit is not None:
        allocation = allocate(right[None], spent[None], problem.cost_limit)
        best, share = np.array([allocation.cheap[0], allocation.dear[0]]), allocation.share

    def choose(simulator):
        gate, coins = simulator.layer, draws.random(simulator.num_images) < share
        served, is_safe = np.divmod(best[coins.astype(int)], 2)
        domains = np.arange(problem.domains) < served[:, None]
        kept = torch.from_numpy(domains @ problem.needs(gate))
        if gate == 0:
            kept[:, -1] |= torch.from_numpy(is_safe == 1)
        return kept

    return choose


def best_expert(problem):
    """The expert that dynamic programming finds, by what lies in memory."""
    every = memories(problem.memory)
    number = {memory: place for place, memory in enumerate(every)}
    after, price = moves(problem.memory, problem.load_price)
    tables = {}

    def choose(simulator):
        rows = simulator.state.images_by_row
        kinds = rows[:, 8:20].argmax(dim=1).tolist()
        there = rows[:, 20:32].nonzero()[:, 1].view(-1, 3).tolist()
        left = problem.tokens - 1 - simulator.position
        chosen = []
        used = simulator.extension("fast_memory").used[0].tolist()
        for kind, triple, row in zip(kinds, there, used, strict=True):
            key = tuple(triple)
            if key not in tables:
                arguments = problem.memory, problem.load_price, problem.tokens, key
                tables[key] = values_of_documents(*arguments)
            inside = [expert for expert in range(8) if row[expert] >= 0]
            if problem.memory < 8:
                inside.sort(key=row.__getitem__)
            place = number[tuple(inside)]
            ahead = tables[key][left][after[place]] - price[place]
            chosen.append(int((qualities()[kind] + ahead).argmax()))
        return torch.nn.functional.one_hot(torch.tensor(chosen), 8).bool()

    return choose


def one_expert(problem):
    """The same expert for all tokens, or inputs."""
    expert = problem.expert() if isinstance(problem, Loading) else 0

    def choose(simulator):
        mask = torch.zeros(simulator.num_images, simulator.max_blocks, dtype=torch.bool)
        mask[:, expert] = True
        return mask

    return choose


def best_refresh(problem):
    """What dynamic programming finds, by the belief."""
    ahead = refreshing.values_of_staleness(problem.patch)
    beliefs = np.linspace(0, 1, len(ahead[0]))

    def choose(simulator):
        values = ahead[problem.patch - 1 - simulator.position % problem.patch]
        belief = simulator.state.hidden.belief.double().numpy()
        kept = -refreshing.STALE_PRICE * belief + np.interp(belief, beliefs, values)
        return torch.from_numpy(-refreshing.REFRESH_PRICE + values[0] > kept)[:, None]

    return choose


def fixed_refresh(problem):
    """The best places of a patch."""
    places = refreshing.best_places(problem.patch)[1]

    def choose(simulator):
        kept = simulator.position % problem.patch in places
        return torch.full((simulator.num_images, 1), kept)

    return choose


def at_marks(problem):
    """An update where there is a mark."""
    return lambda simulator: simulator.state.images_by_row[:, :1] > 0.5


def all_or_nothing(problem):
    """Every update if that is worth anything, else none."""
    kept = problem.reference() > 0
    return lambda simulator: torch.full((simulator.num_images, 1), kept)


def best_mask(numbers):
    """Masks by their numbers, input by input, gate by gate."""

    def choose(simulator):
        rows, gate = simulator.state.images_by_row[:, 0], simulator.layer
        units = [one.num_blocks for one in simulator.network.gates]
        of_gate = torch.from_numpy(numbers)[rows] >> sum(units[gate + 1 :])
        powers = torch.arange(units[gate] - 1, -1, -1)
        return (of_gate[:, None] >> powers & 1).bool()

    return choose


def by_estimate(problem):
    """What the estimate says is best for each input."""
    return best_mask((problem.estimate - problem.costs).argmax(axis=1))


def static_mask(problem):
    """What it says is best for all."""
    return best_mask(np.full(len(problem.estimate), problem.static))


def own_expert(problem):
    """The expert of the domain's number."""
    return lambda simulator: simulator.state.images_by_row[:, : problem.domains] > 0.5


RULES = {
    Real: (by_estimate, static_mask),
    CoTrained: (own_expert, one_expert),
    Choices: (best_choice, blind_choice),
    Loading: (best_expert, one_expert),
    refreshing.Refreshing: (best_refresh, fixed_refresh),
    Updating: (at_marks, all_or_nothing),
}
"""Kind of problem -> its best rule, and its best rule that sees no input."""
