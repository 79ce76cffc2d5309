"""Menus of masks for networks of many gates: (frozen network, inputs) -> masks worth choosing from.

All masks of 60 gates cannot be tried. Greedy removal leaves out, one after the other, the gate
that costs the least nll for the MACs it saves; begun with different inputs it gives different
chains, and their masks at a few budgets are the menu. Removal one by one matters: what single
gates cost does not add up.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, transition
from ccenv.networks.protocol import GatedNetwork, num_blocks_of
from ccenv.runs.engine.gate_sweep import scores

Batch = tuple[Tensor, Tensor]
"""Inputs and labels."""
NEVER = 1.0
"""Nats; a gate whose own removal costs more is not tried again."""


def ends(
    network: GatedNetwork, state: EpisodeState, masks: Tensor, numbers: Tensor
) -> Iterator[tuple[int, StepOutcome]]:
    """Walks a batch through some masks; what they have in common at the start is computed once.

    Args:
        network: frozen.
        state: where the batch is.
        masks: bool [masks, num_units], of all gates side by side.
        numbers: int64 [n], which of them lead through this state.
    """
    blocks = num_blocks_of(network)
    first = sum(blocks[: state.layer])
    own = masks[numbers, first : first + blocks[state.layer]]
    kinds, kind_of = own.unique(dim=0, return_inverse=True)
    for kind, bits in enumerate(kinds):
        here = numbers[kind_of == kind]
        rows = bits.to(state.labels.device).expand(len(state.labels), -1).contiguous()
        after, outcome = transition(network, state, rows)
        if outcome.is_last:
            yield from ((int(number), outcome) for number in here)
        else:
            yield from ends(network, after, masks, here)


@torch.no_grad()
def judged(network: GatedNetwork, batch: Batch, masks: Tensor) -> Tensor:
    """Error, nll and cost of every mask for every input: float64 [3, batch, masks].

    A network that answers everywhere is judged at every symbol, see `gate_sweep.scores`.
    """
    found = torch.zeros(3, len(batch[1]), len(masks), dtype=torch.float64)
    for number, outcome in ends(network, initial(network, *batch), masks, torch.arange(len(masks))):
        found[:, :, number] = scores(network, outcome)
    return found


def chain(
    network: GatedNetwork,
    batch: Batch,
    least_cost: float,
    most_tried: int,
    progress: Callable[[float], None] = lambda cost: None,
) -> tuple[Tensor, Tensor]:
    """Greedy removal of units, until a mask costs so much or less.

    Args:
        network: frozen.
        batch: inputs that judge.
        least_cost: share of the dense MACs at which it ends, in (0, 1).
        most_tried: units that are tried at each step: those that cost least alone.
        progress: told the cost of each mask.

    Returns:
        Masks bool [steps + 1, num_units], everything kept first, and their costs float64.

    Raises:
        ValueError: if no unit is left that may go.
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
    _, nll, cost = judged(network, batch, masks).mean(dim=1)
    return nll.tolist(), cost.tolist()


def at_budgets(masks: Tensor, costs: Tensor, budgets: Sequence[float]) -> Tensor:
    """Of a chain the first mask that costs no more than each budget: bool [budgets, num_units].

    >>> at_budgets(torch.eye(3).bool(), torch.tensor([1.0, 0.8, 0.5]), [0.8]).int().tolist()
    [[0, 1, 0]]
    """
    chosen = [int((costs <= budget + 1e-9).nonzero()[0, 0]) for budget in budgets]
    return masks[chosen]
