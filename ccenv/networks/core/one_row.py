"""One input through a network of stages: (input, decisions) -> logits, with little in between.

What a walk of many rows needs (which have stopped, which masks share an input) takes as long for
one row as a small convolution does. Here a decision is a bit, and a skipped unit costs nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ccenv.networks.core.exit_state import exit_look
from ccenv.networks.core.lowering import Leave, Operation, Part, Run, lowered, why_not_lowered
from ccenv.networks.core.stage import Stage

Decide = Callable[[int, Tensor, Tensor | None], bool | Tensor]
"""(gate, features [1, ...] before it, an exit's answer) -> whether its one block is kept; of a gate
of several blocks a mask, bool [1, num_blocks]."""


class OneRow:
    """A network, as it is packed now, for one input at a time; without gradients."""

    def __init__(self, network: Any) -> None:
        """Takes the modules of a network that run now: pack it first."""
        reason = why_not_one_row(network)
        if reason is not None:
            raise ValueError(f"cannot run single rows of {type(network).__name__}: {reason}")
        with torch.no_grad():
            operations = lowered(network).operations
        self.gates = [found for found in operations if not isinstance(found, Run)]
        self.operations: list[tuple[Operation, int]] = []
        """each with the number of its gate, or of the next one."""
        gate = 0
        for found in operations:
            self.operations.append((found, gate))
            gate += not isinstance(found, Run)

    def __call__(self, inputs: Tensor, decide: Decide) -> Tensor:
        """Logits [1, num_classes] of inputs [1, ...]; gates behind an exit taken are not asked."""
        x, before = inputs, None
        for found, gate in self.operations:
            if isinstance(found, Run):
                x, before = found.module(x), None
            elif isinstance(found, Leave):
                early: Tensor = found.head(x)
                if not decide(gate, x, early):
                    return early
            else:
                assert isinstance(found, Part)
                stage, kept = found.stage, decide(gate, x, None)
                if isinstance(kept, Tensor):
                    x = stage(x, kept, before)
                    before = kept if stage.marks_output else None
                else:
                    x, before = stage.of_one(x, kept), None
        return x

    def stage(self, gate: int) -> Stage | None:
        """The stage of a gate, None of an exit."""
        found = self.gates[gate]
        return found.stage if isinstance(found, Part) else None

    def look(self, gate: int, x: Tensor, early: Tensor | None) -> Tensor:
        """Features offered at a gate: float32 [1, look_size]."""
        stage = self.stage(gate)
        if stage is not None:
            return stage.look(x)
        assert early is not None
        return exit_look(early, x)


def why_not_one_row(network: Any) -> str | None:
    """Why a network has no single rows, None where it has."""
    reason = why_not_lowered(network)
    if reason is not None:
        return reason
    kinds = [type(found) for found in lowered(network).operations]
    others = [kind.__name__ for kind in kinds if kind not in (Run, Part, Leave)]
    return f"it has no stages, but {others[0]}" if others else None
