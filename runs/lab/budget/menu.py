"""Menus of masks for networks of many gates: what some inputs say -> masks worth choosing from.

Where all masks are in a table, the best one of each size is known. All masks of 60 gates cannot be
tried: greedy removal leaves out, one after the other, the gate that costs the least nll for the
MACs it saves; begun with different inputs it gives different chains, and their masks at a few
budgets are the menu. Removal one by one matters: what single gates cost does not add up. How much
it loses is seen where both are known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.mask_table.exact import Outcomes
from ccenv.mask_table.menu import Batch, menu_scores
from ccenv.networks.core.protocol import GatedNetwork, num_blocks_of

NEVER = 1.0
"""Nats; a gate whose own removal costs more is not tried again."""


def chain(
    network: GatedNetwork,
    batch: Batch,
    least_cost: float,
    most_tried: int,
    progress: Callable[[float], None] = lambda cost: None,
) -> tuple[Tensor, Tensor]:
    """Greedy removal of units, until a mask costs so much or less.

    Returns:
        Masks bool [steps + 1, num_units], everything kept first, and their costs float64.
    """
    units = sum(num_blocks_of(network))
    mask = torch.ones(units, dtype=torch.bool)
    (nll,), (cost,) = means(network, batch, mask[None])
    masks, costs = [mask], [cost]
    order: list[int] | None = None
    while costs[-1] > least_cost:
        left = [unit for unit in (order or range(units)) if mask[unit]]
        left = left if order is None else left[:most_tried]
        if not left:
            raise ValueError(f"expected units to leave out at cost {costs[-1]:.2f}, found none")
        tried = mask.repeat(len(left), 1)
        tried[torch.arange(len(left)), torch.tensor(left)] = False
        nlls, paid = means(network, batch, tried)
        more = [(n - nll) / max(costs[-1] - c, 1e-9) for n, c in zip(nlls, paid, strict=True)]
        if order is None:
            ranked = sorted(zip(more, left, nlls, strict=True))
            order = [unit for _, unit, n in ranked if n - nll < NEVER]
        best = min(range(len(left)), key=more.__getitem__)
        mask, nll = tried[best], nlls[best]
        masks.append(mask)
        costs.append(paid[best])
        progress(costs[-1])
    return torch.stack(masks), torch.tensor(costs, dtype=torch.float64)


def means(network: GatedNetwork, batch: Batch, masks: Tensor) -> tuple[list[float], list[float]]:
    """Mean nll and cost of masks over a batch."""
    _, nll, cost = menu_scores(network, batch, masks).mean(dim=1)
    return nll.tolist(), cost.tolist()


def at_budgets(masks: Tensor, costs: Tensor, budgets: Sequence[float]) -> Tensor:
    """Of a chain the first mask that costs no more than each budget: bool [budgets, num_units].

    >>> at_budgets(torch.eye(3).bool(), torch.tensor([1.0, 0.8, 0.5]), [0.8]).int().tolist()
    [[0, 1, 0]]
    """
    chosen = [int((costs <= budget + 1e-9).nonzero()[0, 0]) for budget in budgets]
    return masks[chosen]


EXACT, GREEDY = "exact", "greedy"


@dataclass(frozen=True)
class Sized:
    """A mask and how it was found."""

    number: int
    """in the table."""
    size: int
    """units that run."""
    ways: tuple[str, ...]
    """`EXACT`, `GREEDY` or both."""


def of_sizes(outcomes: Outcomes) -> list[Sized]:
    """The best mask of each size and the greedy one, from nothing kept to everything."""
    ways: dict[int, tuple[str, ...]] = {}
    for way, numbers in ((EXACT, exact(outcomes)), (GREEDY, greedy(outcomes))):
        for number in numbers:
            ways[number] = (*ways.get(number, ()), way)
    found = [Sized(number, int(outcomes.kept[number]), ways[number]) for number in ways]
    return sorted(found, key=lambda one: (one.size, one.ways, one.number))


def exact(outcomes: Outcomes) -> list[int]:
    """Of each size the mask of the highest mean score."""
    means = outcomes.scores.mean(axis=0, dtype=np.float64)
    found = []
    for size in np.unique(outcomes.kept):
        places = np.flatnonzero(outcomes.kept == size)
        found.append(int(places[means[places].argmax()]))
    return found


def greedy(outcomes: Outcomes) -> list[int]:
    """Everything, then always without the unit that costs the least score for what it saves."""
    if outcomes.num_units is None:
        raise ValueError("expected a table of all masks to remove units from, got a menu")
    means = outcomes.scores.mean(axis=0, dtype=np.float64)
    found = [len(means) - 1]
    while found[-1]:
        here = found[-1]
        tried = without_each(here, outcomes.num_units)
        saved = np.maximum(outcomes.costs[here] - outcomes.costs[tried], 1e-9)
        found.append(int(tried[((means[here] - means[tried]) / saved).argmin()]))
    return found


def without_each(number: int, units: int) -> NDArray[np.int64]:
    """Numbers of masks that keep one unit less.

    >>> without_each(0b101, 3).tolist()
    [4, 1]
    """
    bits = 1 << np.arange(units)
    found: NDArray[np.int64] = number - bits[(number & bits) > 0]
    return found
