"""Obliviousness: (a simulator, any policy) -> the same answers from a trace that tells nothing.

Which blocks an input touches can be seen by whoever owns the machine, even where what is computed
cannot: learned selection is a side channel. After Qu et al. 2026, "TENNOR: trustworthy execution
for neural networks through obliviousness and retrievals" (arXiv 2605.07160), every input leaves the
same trace here, and the bill is that of the trace:

- without `slots` all blocks of a gate are touched, in the order of their numbers, and what was not
  chosen counts nothing. This is what really runs here; nothing is saved, and exits stop nobody.
- with `slots` each request is filled up to so many blocks, and cut where it asks for more (the
  lowest numbers stay). They are copied into numbered slots by reading all blocks of the gate, and
  run there: the trace is every block, then every slot. That copying is only assumed; the bill is
  that of the blocks in slots, and what is read is told by `num_reads`.

    evaluate(ObliviousSimulator(env.simulator, slots=4), agent)

`oblivious` is a setting of every view of the environment, "all" or the slots; an agent that learns
so pays the same for every choice:

    gym.make("BlockSelection-v0", oblivious=4)

A model of constant traces at the size of blocks, and no claim of security: times, caches, the
policy's own memory (buckets of `wta_retrieval`) and rounding are left out.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.masks import check_mask
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step

ALL = "all"
"""The setting that touches all blocks."""
Slots = int | Sequence[int] | None


class ObliviousSimulator(Simulator):
    """Another simulator's network, data and streams, with steps of constant trace."""

    def __init__(self, simulator: Simulator, slots: Slots = None) -> None:
        """Takes over what a simulator has; use either of both, not both.

        Args:
            simulator: was given a seed.
            slots: blocks that run at each gate, one number or one for each gate, at most as many as
                it has; None touches all.

        Raises:
            ValueError: if there are more slots than blocks, or prices and budgets change from
                input to input.
        """
        if hasattr(simulator, "ranges"):
            raise ValueError(
                "expected no context to be oblivious: a budget of each input is seen in its trace"
            )
        vars(self).update(vars(simulator))
        self.slots = check_slots(slots, self.num_blocks)
        self.trace: list[Tensor] = []

    @property
    def num_reads(self) -> list[int]:
        """Blocks of each gate that are read for an input."""
        return list(self.num_blocks)

    def begin(self, indices: Tensor | None = None) -> Tensor:
        """See `Simulator.begin`; the trace starts anew."""
        self.trace = []
        return super().begin(indices)

    def step(self, mask: Tensor, weights: Tensor | None = None) -> Step:
        """See `Simulator.step`: what the outcome calls its mask is what was touched.

        Appends to `trace` what is seen of it: int64 [batch, touched], numbers of blocks, and behind
        them of slots.
        """
        gate = min(self.layer, self.num_layers - 1)
        check_mask(mask, len(self.indices), "mask")
        chosen = mask[:, : self.num_blocks[gate]].to(self.device)
        touched = filled(chosen, self.slots[gate])
        values = (chosen & touched).float()
        step = super().step(touched, values if weights is None else values * weights)
        self.trace.append(self.seen(gate, len(chosen)))
        return step

    def seen(self, gate: int, rows: int) -> Tensor:
        """What a request leaves at a gate, of any input."""
        blocks, slots = self.num_blocks[gate], self.slots[gate]
        return torch.arange(blocks if slots == blocks else blocks + slots).expand(rows, -1)


def from_settings(
    num_images: int = 1, *, oblivious: str | int | Sequence[int] = ALL, **settings: Any
) -> ObliviousSimulator:
    """Builds the simulator and wraps it.

    Args:
        num_images: rows of the batch.
        oblivious: "all" blocks are touched, or the slots, one number or one for each gate.
        **settings: see `Simulator`.

    Raises:
        ValueError: if a setting is unknown or impossible.
    """
    return ObliviousSimulator(Simulator(num_images, **settings), read_oblivious(oblivious))


def read_oblivious(oblivious: Any) -> Slots:
    """Reads the setting: "all" -> None, whole numbers as they are.

    Raises:
        ValueError: if it is anything else.
    """
    if oblivious == ALL:
        return None
    numbers = [oblivious] if isinstance(oblivious, int) else oblivious
    fits = isinstance(numbers, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers
    )
    if not fits or not numbers:
        raise ValueError(
            f"expected oblivious to be {ALL!r}, or blocks in slots, one number or one for each "
            f"gate, got {oblivious!r}"
        )
    return oblivious


def check_slots(slots: Slots, num_blocks: Sequence[int]) -> list[int]:
    """One number for each gate.

    Raises:
        ValueError: if one is not in 1..num_blocks, or there is not one for each gate.
    """
    found = [slots] * len(num_blocks) if isinstance(slots, int) else list(slots or num_blocks)
    fits = len(found) == len(num_blocks) and all(
        1 <= k <= n for k, n in zip(found, num_blocks, strict=True)
    )
    if not fits:
        raise ValueError(
            f"expected slots in 1..num_blocks for num_blocks={list(num_blocks)}, got {slots}"
        )
    return found


def filled(mask: Tensor, slots: int) -> Tensor:
    """Exactly so many blocks of each row, chosen ones first, by number: bool [n, blocks].

    >>> filled(torch.tensor([[False, False, True], [True, True, True]]), 2).tolist()
    [[True, False, True], [True, True, False]]
    """
    order = mask.int().argsort(dim=1, descending=True, stable=True)[:, :slots]
    return torch.zeros_like(mask).scatter(1, order, True)
