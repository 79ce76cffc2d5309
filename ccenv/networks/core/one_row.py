"""One input through a `GatedSequential`: (input, decisions) -> logits, with little in between.

What a walk of many rows needs (which have stopped, which masks share an input) takes as long for
one row as a small convolution does. Here a decision is a bit, and a skipped unit costs nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ccenv.networks.core.exit_state import Exit, exit_look
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Stage

Decide = Callable[[int, Tensor, Tensor | None], bool | Tensor]
"""(gate, features [1, ...] before it, an exit's answer) -> whether its one block is kept; of a gate
of several blocks a mask, bool [1, num_blocks]."""
WALK = ("start", "step", "logits", "look")
"""Methods of a network that a single row does not go through."""


class OneRow:
    """A network, as it is packed now, for one input at a time; without gradients."""

    def __init__(self, network: nn.Module) -> None:
        """Takes the modules that run now: pack the network first.

        Args:
            network: a `GatedSequential` in evaluation mode.

        Raises:
            ValueError: if it is another network, in training mode, or walks in a way of its own.
        """
        reason = why_not_one_row(network)
        if reason is not None:
            raise ValueError(f"cannot run single rows of {type(network).__name__}: {reason}")
        assert isinstance(network, GatedSequential)
        with torch.no_grad():
            self.stem, parts, self.head = network.running()
        self.parts: list[tuple[nn.Module, int | None]] = []
        self.gated: list[Stage | Exit] = []
        for part in parts:
            is_gated = isinstance(part, Stage | Exit)
            self.parts.append((part, len(self.gated) if is_gated else None))
            if isinstance(part, Stage | Exit):
                self.gated.append(part)

    def __call__(self, inputs: Tensor, decide: Decide) -> Tensor:
        """Logits [1, num_classes] of inputs [1, ...]; gates behind an exit taken are not asked."""
        x: Tensor = self.stem(inputs)
        before: Tensor | None = None
        for part, gate in self.parts:
            if gate is None:
                x, before = part(x), None
            elif isinstance(part, Exit):
                early: Tensor = part.head(x)
                if not decide(gate, x, early):
                    return early
            else:
                assert isinstance(part, Stage)
                kept = decide(gate, x, None)
                if isinstance(kept, Tensor):
                    x = part(x, kept, before)
                    before = kept if part.marks_output else None
                else:
                    x, before = part.of_one(x, kept), None
        logits: Tensor = self.head(x)
        return logits

    def look(self, gate: int, x: Tensor, early: Tensor | None) -> Tensor:
        """What is cheap to see at a gate: float32 [1, look_size]."""
        part = self.gated[gate]
        if isinstance(part, Stage):
            return part.look(x)
        assert early is not None
        return exit_look(early, x)


def why_not_one_row(network: nn.Module) -> str | None:
    """Why a network has no single rows, None where it has."""
    if not isinstance(network, GatedSequential):
        return "it is no GatedSequential"
    if any(getattr(type(network), name) is not getattr(GatedSequential, name) for name in WALK):
        return "it walks in a way of its own"
    return "it is in training mode, call eval() first" if network.training else None
