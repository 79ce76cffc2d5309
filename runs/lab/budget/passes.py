"""Passes that are timed: (packed network, inputs, masks) -> a call with a static mask, or a policy.

A policy looks once, before the first gate that a mask of the menu leaves out: principal components,
a hidden layer, a softmax over the menu, a draw. How long that takes depends on sizes, not on what
was learned, so its weights are random, and the masks that are taken are spread over the menu.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.mask_table.evaluation.exact import FLOATS
from ccenv.mask_table.evaluation.learning import softmax
from ccenv.networks.core.one_row import OneRow, why_not_one_row
from ccenv.networks.core.protocol import num_blocks_of, walk

Call = Callable[[], Tensor]
"""Logits [rows, num_classes]."""
GOLDEN = (5**0.5 - 1) / 2
POOL = 64
"""Draws after which a policy's masks begin anew."""


@dataclass(frozen=True)
class Chooser:
    """A policy over a menu, with random weights."""

    gate: int
    """before which it looks."""
    first: Tensor
    """[look_size, columns]; components, scaled."""
    hidden: Tensor
    """[columns, hidden]."""
    last: Tensor
    """[hidden, masks]."""

    @staticmethod
    def made(network: Any, gate: int, columns: int, hidden: int, masks: int) -> "Chooser":
        """A policy of these sizes; of a small look fewer columns."""
        generator = torch.Generator().manual_seed(0)
        size = network.gates[gate].look_size
        shapes = [(size, min(columns, size)), (min(columns, size), hidden), (hidden, masks)]
        return Chooser(gate, *(torch.randn(*s, generator=generator) / s[0] for s in shapes))

    @property
    def macs(self) -> int:
        """Products of one choice."""
        return sum(part.numel() for part in (self.first, self.hidden, self.last))

    def __call__(self, look: Tensor, noise: Tensor) -> Tensor:
        """Numbers of masks: looks [rows, look_size], uniform noise [rows, 1] -> int64 [rows]."""
        logits = torch.tanh(look @ self.first @ self.hidden) @ self.last
        sums = logits.softmax(dim=1).cumsum(dim=1)
        return (sums < noise).sum(dim=1).clamp_max(logits.shape[1] - 1)


def static_pass(network: Any, inputs: Tensor, mask: Tensor) -> Call:
    """One mask for all inputs, known beforehand; everything kept is the plain modules.

    Args:
        network: packed where it can be.
        inputs: [rows, ...].
        mask: bool [units].
    """
    bits = mask.split(list(num_blocks_of(network)))
    if is_single(network, inputs):
        one = OneRow(network)
        kept = [bool(bit) if len(bit) == 1 else bit[None] for bit in bits]
        return lambda: one(inputs, lambda gate, *_: kept[gate])
    rows = [None if bit.all() else bit.expand(len(inputs), -1).contiguous() for bit in bits]
    return lambda: walk(network, inputs, lambda gate, _: rows[gate])


def policy_pass(
    network: Any, inputs: Tensor, masks: Tensor, numbers: NDArray[np.int64], chooser: Chooser
) -> Call:
    """A policy chooses, and masks of a list are taken, in every pass the next ones.

    Args:
        network: packed where it can be.
        inputs: [rows, ...].
        masks: bool [masks, units], of the menu.
        numbers: of the masks that are taken one after the other.
        chooser: what choosing costs.
    """
    blocks, gate = list(num_blocks_of(network)), chooser.gate
    turns = itertools.cycle(torch.from_numpy(numbers).split(len(inputs)))
    generator = torch.Generator().manual_seed(0)

    def chosen(look: Tensor) -> Tensor:
        chooser(look, torch.rand(len(inputs), 1, generator=generator))
        return next(turns)

    if is_single(network, inputs):
        return single_policy(OneRow(network), inputs, masks.split(blocks, dim=1), gate, chosen)

    def call() -> Tensor:
        taken: list[Tensor] = []

        def choose(at: int, hidden: Any) -> Tensor | None:
            if at == gate:
                own = masks[chosen(network.look(at, hidden))]
                taken[:] = [part.contiguous() for part in own.split(blocks, dim=1)]
            return taken[at] if at >= gate else None

        return walk(network, inputs, choose)

    return call


def single_policy(
    one: OneRow,
    inputs: Tensor,
    bits: Sequence[Tensor],
    gate: int,
    chosen: Callable[[Tensor], Tensor],
) -> Call:
    """The same for a single input.

    Args:
        one: the network.
        inputs: [1, ...].
        bits: of each gate, bool [masks, blocks].
        gate: before which the policy looks.
        chosen: look [1, look_size] -> number of a mask, int64 [1].
    """
    kept: list[list[Any]] = [
        part[:, 0].tolist() if part.shape[1] == 1 else list(part.split(1)) for part in bits
    ]

    def call() -> Tensor:
        number = -1

        def decide(at: int, x: Tensor, early: Tensor | None) -> bool | Tensor:
            nonlocal number
            if at == gate:
                number = int(chosen(one.look(at, x, early)))
            # Everything before the look is kept: there all masks of the menu agree.
            return kept[at][number]

        return one(inputs, decide)

    return call


def is_single(network: Any, inputs: Tensor) -> bool:
    """Whether one input goes through without what many rows need."""
    return len(inputs) == 1 and why_not_one_row(network) is None


def spread(costs: FLOATS, budget: float) -> FLOATS:
    """Chances of a menu's masks that cost a budget on the mean, as even as they can be: [masks].

    Of all such chances they have the largest entropy: exp(-price x cost), at the right price.

    Raises:
        ValueError: if no mask costs more, or none less.

    >>> spread(np.array([0.2, 0.4, 0.6]), 0.4).round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    if not costs.min() < budget < costs.max():
        raise ValueError(
            f"expected a budget between {costs.min():.3f} and {costs.max():.3f}, got {budget}"
        )
    low, high = -1e4, 1e4
    for _ in range(100):
        price = (low + high) / 2
        found = softmax(-price * costs)
        low, high = (price, high) if found @ costs > budget else (low, price)
    return found


def draws(chances: FLOATS, rows: int) -> NDArray[np.int64]:
    """Numbers of masks for `POOL` passes, of which any few in a row have about these chances.

    Args:
        chances: [masks].
        rows: inputs of a pass.
    """
    points = np.modf(np.arange(POOL * rows) * GOLDEN)[0]
    return np.minimum(np.searchsorted(chances.cumsum(), points), len(chances) - 1)
