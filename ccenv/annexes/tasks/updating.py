"""Tasks over time: (marked positions of a sequence) -> where a state is updated, for one answer.

As the adding task of Skip RNN (Campos et al. 2018, arXiv 1708.06834, section 4.1), after Hochreiter
and Schmidhuber 1997: two positions are marked, one in each half, and the answer at the end needs
both. Here the state counts the marks that it was updated at, and each update costs.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.annexes.tasks.problem import (
    SIZES,
    OneGate,
    Problem,
    as_logits,
    settings_over_time,
    split_of_positions,
)
from ccenv.base.seeding import stream_seed
from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.protocol import group_of, repeat_rows

UPDATE_PRICE = 1 / 32
"""Of one update; the answer earns 1."""


@dataclass(frozen=True)
class Marks:
    """Hidden state of positions."""

    count: Tensor
    """[rows] float32; marks that the state was updated at."""
    seen: Tensor
    """[rows, 3]: whether this position is marked, whether it is the last, and its place."""


class Counter(OneGate):
    """Adds up marks where its gate is kept; it answers at the last position, right if it has two.

    The look is what is seen of the position.
    """

    def __init__(self) -> None:
        """Sets the one weight."""
        super().__init__("update", 1.0, 3)

    def empty_state(self, inputs: Tensor) -> Tensor:
        """See `Continues`: nothing is counted."""
        return inputs.new_zeros(len(inputs))

    def advance(self, hidden: Marks) -> Tensor:
        """See `Continues`."""
        return hidden.count

    def read(self, inputs: Tensor, state: Tensor) -> Marks:
        """See `Continues`."""
        return Marks(state, inputs)

    def step(
        self,
        gate: int,
        hidden: Marks,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Marks:
        """See `GatedNetwork.step`."""
        hidden = repeat_rows(hidden, group_of(len(hidden.count), mask, None))
        kept = torch.ones_like(hidden.count, dtype=torch.bool) if mask is None else mask[:, 0]
        rows = kept.nonzero().squeeze(1)
        more = self.layer(hidden.seen.index_select(0, rows)[:, :1])[:, 0]
        count = hidden.count.index_add(0, rows, more.to(hidden.count.dtype))
        return replace(hidden, count=count)

    def logits(self, hidden: Marks, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`; before the last position no answer is right."""
        right = hidden.seen[:, 1] * (hidden.count > 1.5)
        return as_logits(torch.stack([1 - right, right], dim=1))

    def look(self, gate: int, hidden: Marks) -> Tensor:
        """See `GatedNetwork.look`."""
        return hidden.seen


@dataclass(frozen=True, kw_only=True)
class Updating(Problem):
    """When to update, in sequences of so many positions."""

    positions: int = 16

    @property
    def rule(self) -> str:
        """See `Problem`."""
        return "updating everywhere or nowhere"

    def settings(self) -> dict[str, Any]:
        """See `Problem`."""
        return settings_over_time(UPDATE_PRICE)

    def split(self, split: str) -> Split:
        """An input is one position: whether it is marked, whether it is the last, its place."""
        draws = np.random.default_rng(stream_seed(0, f"marks of {split}"))
        count, half = SIZES[split], self.positions // 2
        places = np.arange(self.positions)
        marks = draws.integers(half, size=(count, 2)) + np.array([0, half])
        marked = (places == marks[..., None]).any(axis=1)
        last, place = places == self.positions - 1, places / self.positions
        return split_of_positions(np.stack(np.broadcast_arrays(marked, last, place), axis=2))

    def network(self) -> Counter:
        """See `Problem`."""
        return Counter()

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """See `Problem`."""
        return outcome.correct - cost_weight * outcome.layer_cost

    def optimum(self) -> float:
        """See `Problem`: two updates."""
        return 1 - 2 * UPDATE_PRICE

    def reference(self) -> float:
        """See `Problem`.

        With a and b updates in the halves of n positions the answer is right in 4 a b / n^2 of all
        sequences, which is largest at a = b; and that less the cost is largest at an end.
        """
        return max(0.0, 1 - self.positions * UPDATE_PRICE)
