"""The study's menu and inputs: (networks or tables, sizes) -> masks, and inputs that fit and judge.

Where all masks can be tried a table of some inputs chooses the menu: the best mask of each size,
and greedy removal's. Where they cannot, chains of greedy removal do (see `menu`). Inputs then come
from tables, or are walked through the network under the menu's masks.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.mask_table.exact import FLOATS, Outcomes
from ccenv.mask_table.header import all_masks
from ccenv.mask_table.menu import menu_scores
from ccenv.mask_table.table import MaskTable
from ccenv.mdp.dynamics import all_or_none, initial, look, outcomes
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.runs.analysis.gate_sweep import chosen_inputs
from ccenv.runs.lab.budget.menu import Sized, at_budgets, chain, of_sizes
from ccenv.runs.lab.mask_tables.at_cost import AtCost, tossed
from ccenv.runs.lab.mask_tables.learning import check_is_of
from ccenv.simulator.simulator import Simulator


@dataclass(frozen=True)
class Measured:
    """Some inputs under the masks of a menu."""

    found: FLOATS
    """[3, inputs, masks]: error, nll, cost."""
    looks: FLOATS
    """[inputs, look_size]; what is seen where choosing begins."""

    def of_inputs(self, some: slice) -> "Measured":
        """A part of the inputs."""
        return Measured(self.found[:, some], self.looks[some])

    def outcomes(self, masks: Tensor) -> Outcomes:
        """Of the first masks, those of the menu, for the exact tools.

        Args:
            masks: bool [masks, units], of the menu.
        """
        kept = masks.sum(dim=1).numpy().astype(np.int64)
        _, nll, cost = self.found[:, :, : len(masks)]
        return Outcomes(-nll, cost[0], kept, None)


def walked(
    simulator: Simulator, indices: Tensor, masks: Tensor, gate: int, size: int, progress: str = ""
) -> Measured:
    """Runs the network under all masks.

    Args:
        simulator: with the network and the split.
        indices: int64 [inputs], of the split.
        masks: bool [masks, units].
        gate: before which policies look; all gates before it are kept.
        size: inputs at a time.
        progress: title of a bar; empty: none.
    """
    parts = []
    for some in tqdm(indices.split(size), desc=progress, disable=None if progress else True):
        batch = simulator.data.batch(some)
        parts.append(menu_scores(simulator.network, batch, masks).numpy())
    return Measured(np.concatenate(parts, axis=1), seen_of(simulator, indices, gate, size))


@torch.no_grad()
def seen_of(simulator: Simulator, indices: Tensor, gate: int, size: int) -> FLOATS:
    """The look before a gate, all gates before it kept: [inputs, look_size]."""
    parts = []
    for some in indices.split(size):
        state = initial(simulator.network, *simulator.data.batch(some))
        walked = outcomes(simulator.network, state, all_or_none(simulator.network))
        state = next(itertools.islice(walked, gate, None)).before
        parts.append(look(simulator.network, state).double().numpy())
    found: FLOATS = np.concatenate(parts)
    return found


def looked_up(table: MaskTable, numbers: Sequence[int]) -> Measured:
    """The same from a table; its look is that before the first gate."""
    own, outcomes = list(numbers), table.outcomes("log_likelihood")
    error = 1.0 - table.is_right()[:, own]
    nll = -outcomes.scores[:, own].astype(np.float64)
    cost = np.broadcast_to(table.macs[own] / table.header.dense_macs, nll.shape)
    return Measured(np.stack([error, nll, cost]), table.look.astype(np.float64))


Split = Callable[[str], Simulator]
"""The network on a split: "train", "validation" or "test"."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    inputs: tuple[int, int, int] = (192, 64, 128)
    """which fit (and, without a table, make the menu); which choose rates; which judge."""
    chains: int = 3
    """of greedy removal, each judged by inputs of its own."""
    chain_inputs: int = 4
    most_tried: int = 12
    budgets: tuple[float, ...] = (0.92, 0.85, 0.78)
    """shares of the dense MACs at which chains give the menu masks, and policies are placed."""
    random: int = 3
    """random masks at each budget, where not all are known."""
    columns: int = 32
    """principal components of the look."""
    hidden: int = 32
    updates: tuple[int, ...] = (600,)
    """after which a run may have stopped."""
    fit_batch: int | None = None
    """inputs of an update; None for all."""
    seeds: int = 10
    batch: int = 8
    """inputs that are walked at a time; for speed alone."""


@dataclass(frozen=True)
class Parts:
    """A menu and all inputs."""

    masks: Tensor
    """bool [masks, units]."""
    sized: Sequence[Sized]
    """how each was found, where a table was asked; else empty."""
    fit: Measured
    choose: Measured
    judge: Measured
    random: tuple[FLOATS, FLOATS]
    """costs, ascending, and scores of random masks on the inputs that judge."""
    whole: AtCost | None = None
    """of all masks, where they are known of the inputs that judge."""


def by_chains(split: Split, sizes: Sizes, seed: int, *, progress: bool) -> Parts:
    """Chains of greedy removal by training inputs, which fit; validation and test inputs walked."""
    train = split("train")
    masks = chain_masks(train, sizes, seed)
    gate = first_gate(train, masks)
    tossed_masks = random_masks(train, sizes.budgets, sizes.random, seed)
    found = []
    for name, count in zip(("train", "validation", "test"), sizes.inputs, strict=True):
        simulator = split(name)
        asked = torch.cat([masks, tossed_masks]) if name == "test" else masks
        indices = chosen_inputs(simulator.data, count, seed + 1)
        title = name if progress else ""
        found.append(walked(simulator, indices, asked, gate, sizes.batch, title))
    random = by_budget(found[2].found[:, :, len(masks) :], len(sizes.budgets))
    return Parts(masks, (), found[0], found[1], found[2], random)


def by_table(split: Split, table: MaskTable, sizes: Sizes, seed: int, *, progress: bool) -> Parts:
    """A table's inputs choose the menu; others of its split fit, test inputs judge, all walked."""
    beside, test = split(table.header.split), split("test")
    check_is_of(table.header, beside.network, beside.data)
    if table.header.split == "test":
        raise ValueError("expected a table of inputs that do not judge, got one of test inputs")
    sized, masks = menu_of(table)
    order = torch.randperm(len(beside.data), generator=stream(seed, "inputs that fit"))
    order = order[order >= table.header.num_images]
    fit, choose, judge = sizes.inputs
    if len(order) < fit + choose:
        raise ValueError(f"expected at most {len(order)} inputs that fit, got {fit} + {choose}")
    asked = torch.cat([masks, random_masks(test, sizes.budgets, sizes.random, seed)])
    title = table.header.split if progress else ""
    others = walked(beside, order[: fit + choose], masks, 0, sizes.batch, title)
    indices = chosen_inputs(test.data, judge, seed + 1)
    judged = walked(test, indices, asked, 0, sizes.batch, "test" if progress else "")
    random = by_budget(judged.found[:, :, len(masks) :], len(sizes.budgets))
    first, rest = others.of_inputs(slice(fit)), others.of_inputs(slice(fit, None))
    return Parts(masks, sized, first, rest, judged, random)


def by_tables(table: MaskTable, judging: MaskTable, sizes: Sizes) -> Parts:
    """All from two tables: the first one's inputs choose the menu, fit and choose rates."""
    ours, theirs = ((one.weights, one.gates, one.dataset) for one in (table.header, judging.header))
    if ours != theirs:
        raise ValueError("expected two tables of one network and data set, got others")
    fit, choose, judge = sizes.inputs
    first, judged = table.first(fit + choose), judging.first(judge)
    sized, masks = menu_of(table.first(fit))
    numbers = [one.number for one in sized]
    measured = looked_up(first, numbers)
    outcomes = judged.outcomes("log_likelihood")
    whole = AtCost.made(outcomes, table.first(fit).outcomes("log_likelihood"))
    return Parts(
        masks,
        sized,
        measured.of_inputs(slice(fit)),
        measured.of_inputs(slice(fit, None)),
        looked_up(judged, numbers),
        tossed(outcomes, outcomes.scores.mean(axis=0, dtype=np.float64)),
        whole,
    )


def menu_of(table: MaskTable) -> tuple[list[Sized], Tensor]:
    """Masks of each size by a table's inputs, and their bits [masks, units]."""
    sized = of_sizes(table.outcomes("log_likelihood"))
    bits = all_masks(table.header.menus)[[one.number for one in sized]]
    return sized, torch.from_numpy(bits)


def chain_masks(simulator: Simulator, sizes: Sizes, seed: int) -> Tensor:
    """Everything, and each chain's mask at each budget: bool [masks, num_units], no two alike."""
    order = chosen_inputs(simulator.data, len(simulator.data), seed)
    order = order[torch.randperm(len(order), generator=stream(seed, "inputs of chains"))]
    found = [torch.ones(1, sum(num_blocks_of(simulator.network)), dtype=torch.bool)]
    for indices in order.split(sizes.chain_inputs)[: sizes.chains]:
        batch = simulator.data.batch(indices)
        masks, costs = chain(
            simulator.network,
            batch,
            min(sizes.budgets),
            sizes.most_tried,
            lambda cost: print(f"chain at {cost:.3f}", file=sys.stderr, flush=True),
        )
        found.append(at_budgets(masks, costs, sizes.budgets))
    # Ascending as numbers, everything last; `unique` sorts.
    return torch.cat(found).unique(dim=0)


def first_gate(simulator: Simulator, masks: Tensor) -> int:
    """The first gate that a mask leaves a block of out: there choosing begins."""
    first = int((~masks).any(dim=0).nonzero()[0, 0])
    return int(np.searchsorted(np.cumsum(num_blocks_of(simulator.network)), first + 1))


def random_masks(simulator: Simulator, budgets: Sequence[float], count: int, seed: int) -> Tensor:
    """Masks whose units are kept so often that they cost each budget on the mean: bool [n, units].

    A network whose start and head are dear keeps fewer than the budget's share of its units.
    """
    blocks, generator = num_blocks_of(simulator.network), stream(seed, "random masks")
    batch = simulator.data.batch(torch.zeros(1, dtype=torch.int64))
    nothing = torch.zeros(1, sum(blocks), dtype=torch.bool)
    fixed = float(menu_scores(simulator.network, batch, nothing)[2])
    drawn = []
    for budget in budgets:
        chance = max(0.0, (budget - fixed) / (1 - fixed))
        parts = [random_mask(count, n, chance, generator) for n in blocks]
        drawn.append(torch.cat(parts, dim=1))
    return torch.cat(drawn)


def by_budget(test: FLOATS, budgets: int) -> tuple[FLOATS, FLOATS]:
    """Mean costs, ascending, and scores of random masks."""
    costs, nlls = (test[k].mean(axis=0).reshape(budgets, -1).mean(axis=1) for k in (2, 1))
    order = np.argsort(costs)
    return costs[order], -nlls[order]
