"""Lowered networks: (network) -> one list of operations with tensors, for back ends to read.

A network says by `lower()` what it computes, or raises `ValueError` with the reason why it cannot.
Back ends read that list and nothing else: in `ccenv.annexes.deploy` the compiled call
(`fused`), graphs (`masked_form`) and single rows (`short_walk`), the page of inputs. Each
operation reads what the one before it gives; the first one reads the inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.core.precision import dtype_of
from ccenv.networks.core.stage import Stage


@dataclass(frozen=True)
class Embed:
    """Looks symbols up: int64 [rows, window] -> [rows, units]."""

    rows: nn.Module
    """`nn.Embedding`, whose rows then stand side by side, or another module of symbols."""
    places: int
    """how many of the last symbols it reads."""
    window: int
    """symbols of an input."""
    num_symbols: int
    """different ones."""

    def tensors(self) -> list[Tensor]:
        """All of its numbers."""
        return list(self.rows.parameters())


@dataclass(frozen=True)
class RowTable:
    """A row that the last symbols of an input name together, the last one counting least."""

    rows: Tensor
    """[num_symbols ** num_keys, units]."""
    num_keys: int
    """how many symbols name a row."""
    num_symbols: int
    """different ones."""


@dataclass(frozen=True)
class Affine:
    """activation(weight x + bias + rows of tables): [rows, ...], flattened, -> [rows, units]."""

    weight: Tensor
    """[units, inputs]."""
    bias: Tensor | None
    """[units]."""
    activation: Any = None
    """see `ccenv.sparse.linear.resolve_activation`."""
    tables: tuple[RowTable, ...] = ()

    def tensors(self) -> list[Tensor]:
        """All of its numbers."""
        numbers = [self.weight, self.bias, *(table.rows for table in self.tables)]
        return [tensor for tensor in numbers if tensor is not None]


@dataclass(frozen=True)
class Blocks(Affine):
    """The same with a gate: units of skipped blocks are zero."""

    num_blocks: int = 1
    """as many neighbouring units each."""
    look: int = 0
    """how many of the last columns of what it reads its gate offers."""

    @property
    def size(self) -> int:
        """Units of a block."""
        return len(self.weight) // self.num_blocks


@dataclass(frozen=True)
class AlwaysRun:
    """What always runs: features -> features."""

    module: Callable[[Any], Any]


@dataclass(frozen=True)
class StageGate:
    """A gate of a stage."""

    stage: Stage


@dataclass(frozen=True)
class Leave:
    """A gate of an exit: rows that skip it have what its head says as their logits."""

    head: nn.Module


@dataclass(frozen=True)
class NetworkStep:
    """A gate of a network that does not lower: (state, mask) -> state, by its own `step`."""

    step: Callable[[Any, Tensor], Any]


Operation = Embed | Affine | AlwaysRun | StageGate | Leave | NetworkStep
GATES = (Blocks, StageGate, Leave, NetworkStep)
"""Operations that have a mask."""


@dataclass(frozen=True)
class Lowered:
    """A network as a list of operations."""

    operations: tuple[Operation, ...]
    hidden: Callable[[Tensor, Tensor | None, Tensor | None], Any]
    """(what the next operation reads, which blocks of it are not zero or None for all, what the
    exit that is decided next would answer or None) -> the network's own state there, for looks."""


WALK = ("start", "step", "logits", "look", "gated_layer", "head", "units", "running")
"""Methods whose work `lower` describes."""


def lowered(network: Any) -> Lowered:
    """What a network computes."""
    if (dtype := dtype_of(network)) != "float32":
        raise ValueError(f"it computes in {dtype}, and back ends in float32")
    kinds = type(network).__mro__
    first = {name: n for n, kind in reversed([*enumerate(kinds)]) for name in vars(kind)}
    if "lower" not in first:
        raise ValueError("it has no lower()")
    newer = [name for name in WALK if first.get(name, len(kinds)) < first["lower"]]
    if newer:
        # A lower() that is inherited speaks of the methods that it was written with.
        raise ValueError(f"it has a {newer[0]}() of its own and no lower() to go with it")
    program: Lowered = network.lower()
    return program


def why_not_lowered(network: Any) -> str | None:
    """Why a network does not lower, None where it does."""
    try:
        lowered(network)
    except ValueError as error:
        return str(error)
    return None


@torch.no_grad()
def operations_of(network: Any) -> tuple[Operation, ...]:
    """Operations of a network; none of one that does not lower, see `why_not_lowered`."""
    try:
        return lowered(network).operations
    except ValueError:
        return ()


def by_steps(network: Any) -> Lowered:
    """Any network by its own methods: for back ends that may call them."""

    def step(gate: int) -> NetworkStep:
        return NetworkStep(lambda hidden, mask: network.step(gate, hidden, mask, None, "reference"))

    gates = [step(gate) for gate in range(len(network.gates))]
    answer = AlwaysRun(lambda hidden: network.logits(hidden, "reference"))
    return Lowered((AlwaysRun(network.start), *gates, answer), lambda hidden, *_: hidden)
