"""Obliviousness: (a simulator, any policy) -> the same answers from a trace that tells nothing.

Which blocks an input touches can be seen by the machine's owner, even where what is computed
cannot: learned selection is a side channel. After Qu et al. 2026, "TENNOR: trustworthy execution
for neural networks through obliviousness and retrievals" (arXiv 2605.07160), every input leaves the
same trace here, and the MACs are those of the trace:

- without `slots` all blocks of a gate are touched, in the order of their numbers, and what was not
  chosen counts nothing. This is what really runs here; nothing is saved, and exits stop no input.
- with `slots` each request is filled up to so many blocks, and cut where it asks for more (the
  lowest numbers stay). They are copied into numbered slots by reading all blocks of the gate, and
  run there: the trace is every block, then every slot. That copying is only assumed; MACs are
  those of the blocks in slots.

    evaluate(env.simulator.extended(Oblivious(4)), agent)

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

from ccenv.base.values import shown
from ccenv.mdp.dynamics import StepOutcome
from ccenv.simulator.step import Extension, SimulatorParts

ALL = "all"
"""The setting that touches all blocks."""
Slots = int | Sequence[int] | None


class Oblivious(Extension):
    """Steps of constant trace; see the module."""

    name = "oblivious"

    def __init__(self, oblivious: str | int | Sequence[int] = ALL) -> None:
        """Takes the setting, "all" or blocks in slots, one number or one for each gate."""
        self.asked = read_oblivious(oblivious)
        self.trace: list[Tensor] = []
        """What is seen of each gate of an episode: int64 [batch, touched], numbers of blocks, and
        behind them of slots."""

    def check_beside(self, others: Sequence[Extension]) -> None:
        """Refuses what tells inputs apart (ValueError, naming it)."""
        for other in others:
            if other.tells is not None:
                raise ValueError(
                    f"expected nothing with oblivious that tells inputs apart, got {other.name}: "
                    f"{other.tells} would be seen in the trace"
                )

    def attach(self, simulator: SimulatorParts) -> None:
        """Counts the slots of each gate; see `check_slots` for errors."""
        self.num_blocks = simulator.num_blocks
        self.slots = check_slots(self.asked, self.num_blocks)

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Restarts the trace."""
        self.trace = []

    def before_gate(
        self, simulator: SimulatorParts, mask: Tensor, values: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What is touched; what was not chosen counts nothing."""
        touched = filled_slots(mask, self.slots[simulator.layer])
        chosen = (mask & touched).float()
        return touched, chosen if values is None else chosen * values

    def after_gate(self, simulator: SimulatorParts, outcome: StepOutcome) -> dict[str, Tensor]:
        """Notes what is seen."""
        blocks, slots = self.num_blocks[outcome.layer], self.slots[outcome.layer]
        seen = torch.arange(blocks if slots == blocks else blocks + slots)
        self.trace.append(seen.expand(len(outcome.mask), -1))
        return {}


def read_oblivious(oblivious: Any) -> Slots:
    """Reads the setting: "all" -> None, whole numbers as they are; ValueError of anything else."""
    if isinstance(oblivious, str) and oblivious == ALL:
        return None
    numbers = [oblivious] if isinstance(oblivious, int) else oblivious
    fits = isinstance(numbers, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**63 for n in numbers
    )
    if not fits or not numbers:
        raise ValueError(
            f"expected oblivious to be {ALL!r}, or blocks in slots, one number or one for each "
            f"gate, got {shown(oblivious)}"
        )
    return oblivious


def check_slots(slots: Slots, num_blocks: Sequence[int]) -> list[int]:
    """A number in 1..num_blocks for each gate (else ValueError)."""
    counts = [slots] * len(num_blocks) if isinstance(slots, int) else list(slots or num_blocks)
    fits = len(counts) == len(num_blocks) and all(
        1 <= k <= n for k, n in zip(counts, num_blocks, strict=True)
    )
    if not fits:
        raise ValueError(
            f"expected slots in 1..num_blocks for num_blocks={list(num_blocks)}, got {slots}"
        )
    return counts


def filled_slots(mask: Tensor, slots: int) -> Tensor:
    """Exactly so many blocks of each row, chosen ones first, by number: bool [n, blocks].

    >>> filled_slots(torch.tensor([[False, False, True], [True, True, True]]), 2).tolist()
    [[True, False, True], [True, True, False]]
    """
    order = mask.int().argsort(dim=1, descending=True, stable=True)[:, :slots]
    return torch.zeros_like(mask).scatter(1, order, True)
