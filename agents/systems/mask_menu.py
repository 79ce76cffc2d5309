"""Menus of masks: (numbers of blocks) -> masks to try, and what each is worth for each input."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ccenv.agents.search import under
from ccenv.base.allocation import allocate
from ccenv.base.masks import mask_of_indices, random_mask
from ccenv.mdp.dynamics import initial
from ccenv.simulator.simulator import Simulator

MAX_ROWS = 8192
"""Inputs times masks that are walked through at once."""


def make_menu(
    num_blocks: Sequence[int],
    num_kept: Sequence[int] | None,
    menu_size: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """All masks of all gates if they are at most so many, else some, without repetition or not.

    Args:
        num_blocks: of each gate.
        num_kept: k of each gate; None for masks of any size.
        menu_size: most entries, at least 1.
        generator: of drawn entries, of which one keeps everything where any size is allowed.

    Returns:
        One bool [entries, num_blocks] for each gate, entries that keep less first.

    Raises:
        ValueError: if the menu would be empty.

    >>> [part.int().tolist() for part in make_menu([2], [1], 9, torch.Generator())]
    [[[1, 0], [0, 1]]]
    """
    if menu_size < 1:
        raise ValueError(f"expected menu_size of at least 1, got {menu_size}")
    kept = [None] * len(num_blocks) if num_kept is None else list(num_kept)
    pairs = list(zip(num_blocks, kept, strict=True))
    if math.prod(2**n if k is None else math.comb(n, k) for n, k in pairs) <= menu_size:
        gates = [all_masks(n, k) for n, k in pairs]
        rows = list(itertools.product(*(range(len(gate)) for gate in gates)))
        chosen = torch.tensor(rows).unbind(dim=1)
        menu = [gate[rows] for gate, rows in zip(gates, chosen, strict=True)]
    else:
        menu = drawn_menu(num_blocks, num_kept, menu_size, generator)
    # Of masks of equal worth the first one counts: it is the smallest.
    order = torch.cat(menu, dim=1).sum(dim=1).argsort(stable=True)
    return [part[order] for part in menu]


def all_masks(num_blocks: int, num_kept: int | None) -> Tensor:
    """Every mask of one gate, or every one with k blocks: bool [masks, num_blocks]."""
    if num_kept is not None:
        sets = list(itertools.combinations(range(num_blocks), num_kept))
        return mask_of_indices(torch.tensor(sets), num_blocks)
    return torch.tensor(list(itertools.product((False, True), repeat=num_blocks)))


def drawn_menu(
    num_blocks: Sequence[int],
    num_kept: Sequence[int] | None,
    menu_size: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Random masks: k of n, or of densities from 0 to 1, the last one whole."""
    if num_kept is not None:
        return [
            mask_of_indices(torch.rand(menu_size, n, generator=generator).topk(k).indices, n)
            for n, k in zip(num_blocks, num_kept, strict=True)
        ]
    density = torch.linspace(0, 1, menu_size)[:, None]
    return [random_mask(menu_size, n, density, generator) for n in num_blocks]


@torch.no_grad()
def menu_returns(simulator: Simulator, menu: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Undiscounted return and compute cost of each input that starts now under each entry.

    Args:
        simulator: at the start of an episode; not changed.
        menu: see `make_menu`.

    Returns:
        Two float32 [inputs, entries]; an input of a group counts once.
    """
    state = simulator.state
    assert state is not None
    entries, labels = len(menu[0]), state.labels[:: state.group_size]
    share = max(1, MAX_ROWS // entries)
    returns, costs = [], []
    for images, of_images in zip(state.images.split(share), labels.split(share), strict=True):
        walked = initial(simulator.network, images, of_images, entries, earlier=simulator.earlier)
        masks = [part.to(labels.device).repeat(len(images), 1) for part in menu]
        total, cost = under(simulator, walked, masks)
        returns.append(total.view(-1, entries))
        costs.append(cost.view(-1, entries))
    return torch.cat(returns), torch.cat(costs)


def best_entries(returns: Tensor, costs: Tensor, price: float) -> Tensor:
    """Each input's best entry at a cost weight, the first of equal ones: int64 [inputs].

    >>> best_entries(torch.tensor([[0.1, 0.5, 0.5]]), torch.tensor([[0.0, 0.2, 0.4]]), 0.0).item()
    1
    """
    return (returns - price * costs).argmax(dim=1)


ROUNDING = 1e-9
"""Share by which a mean of costs may be above a limit: one of equal costs is, by rounding."""


def price_for(returns: Tensor, costs: Tensor, cost_limit: float) -> float:
    """The lowest cost weight whose best entries cost so much or less on average, 0 without need.

    Raises:
        ValueError: if the cheapest entries cost more.

    >>> returns, costs = torch.tensor([[0.0, 1.0], [0.0, 3.0]]), torch.tensor([[0.0, 0.5]] * 2)
    >>> round(price_for(returns, costs, cost_limit=0.25), 3)
    2.0
    """
    table = returns.cpu().numpy(), costs.cpu().numpy()
    return allocate(*table, cost_limit * (1 + ROUNDING)).price
