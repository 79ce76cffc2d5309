"""Walks without decisions: (network, masks gate by gate) -> logits, for graphs that are exported.

Every block is computed and zeroed where it is skipped. `len` of a tensor is asked nowhere but in
`AnyWalk`: a graph would be fixed to that number of rows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from ccenv.networks.core.exit_state import Exit, Flow
from ccenv.networks.core.mlp import GatedMLP, MLPHidden
from ccenv.networks.core.one_row import why_not_one_row
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Stage
from ccenv.networks.stages.linear import Whole
from ccenv.networks.stages.residual_groups import Summed
from ccenv.networks.text.tokens import TokenMLP, Units
from ccenv.networks.vision.residual import ResidualUnit

REFERENCE = "reference"
MLP_WALK = ("start", "step", "logits", "gated_layer", "head")
"""Methods by which a `GatedMLP` is known to walk as its own."""
TOKEN_WALK = ("start", "step", "units", "logits")
"""The same of a `TokenMLP`."""
BRANCHED = (ResidualUnit, Summed, Whole)
"""Stages whose blocks can stand in branches of a graph, beside exits."""


class AnyWalk:
    """Any network without exits, by its protocol; one row."""

    def __init__(self, network: Any) -> None:
        """Takes the network, in evaluation mode and not packed."""
        self.network = network

    def start(self, images: Tensor) -> Any:
        """Before the first gate."""
        return self.network.start(images)

    def step(self, gate: int, hidden: Any, mask: Tensor) -> tuple[Tensor, Any]:
        """The mask as it is executed, and the state behind the gate."""
        return mask, self.network.step(gate, hidden, mask, None, REFERENCE)

    def answer(self, hidden: Any) -> Tensor:
        """Logits after the last gate."""
        logits: Tensor = self.network.logits(hidden, REFERENCE)
        return logits


class MLPWalk(AnyWalk):
    """A `GatedMLP`, of any number of rows."""

    def step(self, gate: int, hidden: MLPHidden, mask: Tensor) -> tuple[Tensor, MLPHidden]:
        """See `AnyWalk.step`."""
        x = self.network.gated_layer(gate, hidden.x, hidden.mask, mask, REFERENCE)
        return mask, MLPHidden(x, mask)


class TokenWalk(AnyWalk):
    """A `TokenMLP` without tables, of any number of rows."""

    def step(self, gate: int, hidden: Units, mask: Tensor) -> tuple[Tensor, Units]:
        """See `AnyWalk.step`."""
        x = self.network.units(gate, hidden, mask, REFERENCE)
        return mask, dataclasses.replace(hidden, x=x, before=mask)


class SequentialWalk(AnyWalk):
    """A `GatedSequential`, of any number of rows; whoever stops at an exit goes on unheard."""

    def __init__(self, network: GatedSequential) -> None:
        """Nobody has stopped."""
        super().__init__(network)
        self.goes: Tensor | None = None
        self.early: Tensor | None = None

    def start(self, images: Tensor) -> Flow:
        """See `AnyWalk.start`; nobody asks this flow for its number of rows."""
        flow: Flow = self.network._ahead(Flow(self.network.stem(images), 1), 0)
        return flow

    def step(self, gate: int, hidden: Flow, mask: Tensor) -> tuple[Tensor, Flow]:
        """See `AnyWalk.step`."""
        part = self.network.part(gate)
        if self.goes is not None:
            mask = mask & self.goes
        if isinstance(part, Exit):
            self._hear(hidden, mask)
            return mask, self.past(gate, hidden)
        x = self.through(part, hidden, mask)
        before = mask if part.marks_output else None
        return mask, self.network._ahead(dataclasses.replace(hidden, x=x, before=before), gate + 1)

    def past(self, gate: int, hidden: Flow) -> Flow:
        """Goes on from an exit to the next gate."""
        flow: Flow = self.network._ahead(dataclasses.replace(hidden, early=None), gate + 1)
        return flow

    def through(self, part: Stage, hidden: Flow, mask: Tensor) -> Tensor:
        """What a stage makes of its input."""
        x: Tensor = part(hidden.x, mask, hidden.before, None, REFERENCE)
        return x

    def _hear(self, hidden: Flow, mask: Tensor) -> None:
        assert hidden.early is not None
        stops = ~mask if self.goes is None else self.goes & ~mask
        answer = torch.where(stops, hidden.early, 0.0)
        self.early = answer if self.early is None else self.early + answer
        self.goes = mask

    def answer(self, hidden: Flow) -> Tensor:
        """See `AnyWalk.answer`; of those that stopped, what they heard there."""
        logits: Tensor = self.network.head(hidden.x)
        if self.goes is None or self.early is None:
            return logits
        return torch.where(self.goes, logits, 0.0) + self.early


class BranchedWalk(SequentialWalk):
    """One row, whose blocks stand in branches of the graph."""

    def through(self, part: Stage, hidden: Flow, mask: Tensor) -> Tensor:
        """See `SequentialWalk.through`."""
        x = hidden.x
        if isinstance(part, Summed):
            return self._sum(part, x, mask)
        if isinstance(part, Whole):
            nothing = x.new_zeros(1, part.outputs)
            return branch(mask[0, 0], part.body, lambda _: nothing.clone(), (x,))
        assert isinstance(part, ResidualUnit)
        return branch(
            mask[0, 0], lambda x: part.of_one(x, kept=True), lambda x: part.of_one(x, kept=False),
            (x,),
        )  # fmt: skip

    def _sum(self, part: Summed, x: Tensor, mask: Tensor) -> Tensor:
        seen, total = part.prepared(x), x + part.bias
        for block in range(part.num_blocks):

            def kept(seen: Tensor, block: int = block) -> Tensor:
                return part.added(seen, (block,), None)

            total = total + branch(mask[0, block], kept, torch.zeros_like, (seen,))
        return total


def branch(
    taken: Tensor,
    yes: Callable[..., Tensor],
    no: Callable[..., Tensor],
    given: tuple[Tensor, ...],
) -> Tensor:
    """`torch.cond` whose branches give new tensors of sizes that are known."""

    def one(*given: Tensor) -> Tensor:
        return yes(*given).clone()

    def other(*given: Tensor) -> Tensor:
        return no(*given).clone()

    if torch.compiler.is_dynamo_compiling():
        # Within another branch.
        inner: Tensor = torch.cond(taken, one, other, given)
        return inner
    # An exporter opens all sizes, and a branch whose output is strided cannot have open ones;
    # of one row all are known.
    known = {"assume_static_by_default": True, "automatic_dynamic_shapes": False}
    with torch._dynamo.config.patch(known):
        torch.compiler.reset()
        found: Tensor = torch.cond(taken, one, other, given)
    return found


def walk_of(network: Any) -> type[AnyWalk]:
    """The walk of a network; `AnyWalk` where it walks in a way of its own."""
    if why_not_one_row(network) is None:
        return SequentialWalk
    own = [getattr(type(network), name, None) for name in MLP_WALK]
    if own == [getattr(GatedMLP, name) for name in MLP_WALK]:
        return MLPWalk
    own = [getattr(type(network), name, None) for name in TOKEN_WALK]
    if own == [getattr(TokenMLP, name) for name in TOKEN_WALK]:
        return TokenWalk
    return AnyWalk
