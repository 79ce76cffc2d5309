"""Networks as a sequence: (stem, stages that have gates or always run, head) -> a gated network."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ccenv.base.annotations import checks_types
from ccenv.base.values import shortened, shown
from ccenv.networks.core.abilities import Packs
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.exit_state import (
    Exit,
    Flow,
    FlowNetwork,
    exit_look,
    exit_size,
    leave,
)
from ccenv.networks.core.inference_copy import packed
from ccenv.networks.core.lowering import AlwaysRun, Leave, Lowered, Operation, StageGate
from ccenv.networks.core.protocol import Abilities, Gate, Unread, group_of
from ccenv.networks.core.stage import Stage
from ccenv.sparse.buffers import keep_panels


class GatedSequential(FlowNetwork):
    """A classifier made of a stem, a sequence of parts, and a head.

    Parts are stages (one gate each), exits (one gate each), and other modules, which always run.
    The MACs of modules that always run belong to the gate before them. Those of the stem, and of
    what follows it, belong to the first gate; those of the head to the last one.

    >>> from ccenv.networks.vision.residual import ResidualUnit
    >>> parts = {f"unit{i}": ResidualUnit(nn.Conv2d(4, 4, 3, padding=1)) for i in range(2)}
    >>> head = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    >>> stem, example = nn.Conv2d(1, 4, 3, padding=1), torch.zeros(1, 1, 8, 8)
    >>> network = GatedSequential(stem, parts, head, example)
    >>> [(gate.name, gate.num_blocks, gate.skipped) for gate in network.gates]
    [('unit0', 1, 'identity'), ('unit1', 1, 'identity')]
    >>> masks = [torch.tensor([[True]]), torch.tensor([[False]])]
    >>> network(example, masks).shape
    torch.Size([1, 10])
    """

    abilities: Abilities = (*FlowNetwork.abilities, Packs)

    @checks_types
    def __init__(
        self,
        stem: nn.Module,
        parts: Mapping[str, nn.Module] | Sequence[Any] | nn.ModuleList | nn.Sequential,
        head: nn.Module,
        example: Tensor,
    ) -> None:
        """Measures shapes and costs on an example.

        Args:
            stem: inputs [rows, ...] -> features; `nn.Identity()` for none.
            parts: name -> `Stage`, `Exit` or a module that always runs; a list is numbered.
            head: features -> logits [rows, num_classes].
            example: one input [1, ...]; only its shape and dtype matter.

        Raises:
            TypeError: if a part is no module.
            ValueError: if there is no gate, a part cannot run on what comes before it, or an exit's
                answers are not the head's size.
        """
        super().__init__()
        if not isinstance(parts, Mapping):
            parts = {str(number): part for number, part in enumerate(parts)}
        for name, part in {"stem": stem, **parts, "head": head}.items():
            if not isinstance(part, nn.Module):
                raise TypeError(f"expected {name} to be a torch.nn.Module, got {shown(part)}")
        self.stem, self.head = stem, head
        self.parts = nn.ModuleList(parts.values())
        self.part_names = tuple(parts)
        self._packed: tuple[nn.Module, list[nn.Module], nn.Module] | None = None
        places = [i for i, part in enumerate(self.parts) if isinstance(part, Stage | Exit)]
        if not places:
            raise ValueError("expected at least one stage or exit among the parts, got none")
        # Of each gate, and behind the last one.
        self._places = (*places, len(self.parts))
        if len(example) != 1:
            raise ValueError(
                f"expected one input [1, ...] as the example, got {len(example)} rows; its costs "
                "are those of one input: take example[:1]"
            )
        was_training = self.training
        self.eval()
        self._measure(example)
        self.train(was_training)

    def _measure(self, example: Tensor) -> None:
        """Runs one example through everything and writes down sizes and costs."""
        with torch.no_grad():
            with naming("stem", example):
                start, x = counted(self.stem, example)
            gates: list[Gate] = []
            own_macs: list[int] = []
            # Before the first gate, and behind each.
            fixed = [start]
            for name, part in zip(self.part_names, self.parts, strict=True):
                with naming(name, x):
                    if isinstance(part, Stage):
                        look, x = part.look(x), part.measure(x)
                        gates.append(Gate(name, part.num_blocks, look.shape[1], part.skipped))
                        own_macs.append(part.full_macs)
                        fixed.append(0)
                    elif isinstance(part, Exit):
                        # It answers before its gate decides: its head belongs to the gate before.
                        spent, early = counted(part.head, x)
                        fixed[-1] += spent
                        gates.append(Gate(name, 1, exit_look(early, x).shape[1], "stop"))
                        own_macs.append(0)
                        fixed.append(0)
                    else:
                        spent, x = counted(part, x)
                        fixed[-1] += spent
            with naming("head", x):
                spent, logits = counted(self.head, x)
            fixed[-1] += spent
        self.set_costs(gates, fixed[0], own_macs, fixed[1:])
        self.num_classes = logits.shape[1]
        for name, part in zip(self.part_names, self.parts, strict=True):
            if isinstance(part, Exit) and (wide := exit_size(part)) not in (None, self.num_classes):
                raise ValueError(
                    f"expected exit {name!r} to answer for {self.num_classes} classes, got {wide}"
                )

    def part(self, gate: int) -> nn.Module:
        """The stage or exit of a gate."""
        return self.parts[self._places[gate]]

    def stage(self, gate: int) -> Stage:
        """The stage of a gate that is no exit."""
        part = self.part(gate)
        assert isinstance(part, Stage)
        return part

    def flow_of(self, hidden: Flow) -> Flow:
        """See `FlowNetwork`."""
        return hidden

    def train(self, mode: bool = True) -> Self:
        """See `FlowNetwork.train`; what was packed is forgotten."""
        self._packed = None
        return super().train(mode)

    def pack(self) -> None:
        """Promises that weights stay: without gradients, faster copies of the modules run.

        Norms go into convolutions, so that logits change by rounding. Loading weights, moving the
        network and `train()` or `eval()` end it; writing to weights in another way is not noticed.
        """
        if self.training:
            raise ValueError("expected a network in evaluation mode to pack, call eval() first")
        parts = [packed(part) for part in self.parts]
        # A tuple, which torch does not register: these weights belong to no state.
        self._packed = packed(self.stem), parts, packed(self.head)
        for module in (self._packed[0], *parts, self._packed[2]):
            keep_panels(module)

    def running(self) -> tuple[nn.Module, Sequence[nn.Module], nn.Module]:
        """Stem, parts and head that run: the packed ones where no gradient is wanted."""
        if self._packed is None or torch.is_grad_enabled():
            return self.stem, self.parts, self.head  # type: ignore[return-value]
        return self._packed

    def lower(self) -> Lowered:
        """See `ccenv.networks.core.lowering`; of the modules that run now, in evaluation mode."""
        if self.training:
            raise ValueError("it is in training mode, call eval() first")
        stem, parts, head = self.running()
        operations: list[Operation] = [AlwaysRun(stem)]
        for part in parts:
            if isinstance(part, Exit):
                operations.append(Leave(part.head))
            else:
                operations.append(StageGate(part) if isinstance(part, Stage) else AlwaysRun(part))
        return Lowered(
            (*operations, AlwaysRun(head)), lambda x, before, early: Flow(x, 1, before, early=early)
        )

    def _apply(self, *arguments: Any, **options: Any) -> "GatedSequential":
        self._packed = None
        return super()._apply(*arguments, **options)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """As torch's; what was packed is forgotten."""
        self._packed = None
        return super().load_state_dict(*arguments, **options)

    def start(self, inputs: Tensor) -> Flow:
        """See `GatedNetwork.start`."""
        x = self.running()[0](inputs)
        return self._ahead(Flow(x, len(x)), 0)

    def _ahead(self, flow: Flow, gate: int) -> Flow:
        """Runs what always runs before a gate; an exit's head too, to be looked at."""
        parts = self.running()[1]
        for place in range(self._places[gate - 1] + 1 if gate else 0, self._places[gate]):
            flow = dataclasses.replace(flow, x=parts[place](flow.x), before=None)
        if gate < len(self.gates) and self.is_exit(gate):
            part = parts[self._places[gate]]
            assert isinstance(part, Exit)
            flow = dataclasses.replace(flow, early=part.head(flow.x))
        return flow

    def step(
        self,
        gate: int,
        hidden: Flow,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Flow:
        """See `GatedNetwork.step`."""
        part = self.running()[1][self._places[gate]]
        group = group_of(hidden.num_rows, mask, weights)
        # Before the first mask no row has stopped, and no block is zero.
        is_shared = group > 1 and isinstance(part, Stage) and part.shares_rows
        hidden = hidden if is_shared else hidden.repeated(group)
        mask = None if mask is None else hidden.of_running(mask)
        weights = None if weights is None else hidden.of_running(weights)
        if isinstance(part, Exit):
            hides = self.hides_stopped(gate, hidden, backend)
            return self._ahead(leave(hidden, mask, weights, hides=hides), gate + 1)
        assert isinstance(part, Stage)
        x = part(hidden.x, mask, hidden.before, weights, backend)
        marked = mask if part.marks_output else None
        rows = hidden.num_rows * group if is_shared else hidden.num_rows
        after = dataclasses.replace(hidden, x=x, before=marked, num_rows=rows)
        return self._ahead(after, gate + 1)

    def logits(self, hidden: Flow, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        logits: Tensor = self.running()[2](hidden.x)
        return hidden.answered(logits)

    def look(self, gate: int, hidden: Flow) -> Tensor:
        """See `GatedNetwork.look`; zero of rows that have stopped."""
        if self.is_exit(gate):
            assert hidden.early is not None
            return hidden.of_all(exit_look(hidden.early, hidden.x))
        return hidden.of_all(self.stage(gate).look(hidden.x))

    def spent(self, gate: int, kept: Tensor, flow: Flow) -> Tensor:
        """See `FlowNetwork`."""
        return self.stage(gate).macs(kept, flow.before)

    def least_spent(self, gate: int) -> int:
        """See `FlowNetwork`."""
        return self.stage(gate).least_macs()

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `Owns`; what always runs, and exits, read all of their weights."""
        pairs: Unread = []
        before: Tensor | None = None
        gates = iter(off)
        for module in (self.stem, *self.parts, self.head):
            unread: dict[Tensor, Tensor] = {}
            if isinstance(module, Stage):
                blocks = next(gates)
                unread = module.unread(blocks, before)
                before = blocks if module.marks_output else None
            elif isinstance(module, Exit):
                next(gates)
            else:
                before = None
            for parameter in module.parameters():
                nothing = torch.zeros_like(parameter, dtype=torch.bool)
                pairs.append((parameter, unread.get(parameter, nothing)))
        return pairs

    def tells_norms(self, gate: int) -> bool:
        """See `Norms`; not of contributions to a sum."""
        return self.is_exit(gate) or self.stage(gate).tells_norms

    def norms(self, gate: int, hidden: Flow) -> Tensor:
        """See `FlowNetwork`."""
        return self.stage(gate).block_norms(hidden.x)


@contextlib.contextmanager
def naming(name: str, x: Any) -> Iterator[None]:
    """Errors of a part that does not run on what comes before it get its name (ValueError)."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected part {name!r} to run on {shown(x)}, got {type(error).__name__}: "
            f"{shortened(str(error))}"
        ) from error
