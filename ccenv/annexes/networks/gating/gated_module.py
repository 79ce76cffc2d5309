"""A model walked through call by call: (a trace, masks) -> logits, some of its children gated.

A plan says where the code is cut: gates in order, the code between, what lives how long.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.gating.gated_calls import (
    ChannelsCall,
    Unit,
    UnitCall,
    call_of,
    inputs_of,
)
from ccenv.annexes.networks.gating.trace import (
    Following,
    Instruction,
    Layout,
    NotOfRows,
    RowsAlong,
    Trace,
    answer_here,
    at_rows,
    by_rows,
    leaves_of,
    mapped,
    part_of,
)
from ccenv.base.masks import spread_to_units
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.exit_state import Exit, Flow, FlowNetwork, leave
from ccenv.networks.core.protocol import Gate, Unread, group_of
from ccenv.networks.core.stage import pooled
from ccenv.sparse.routes import hides_skipped


@dataclass(frozen=True)
class GatePlace:
    """Where a gate is in the code."""

    unit: Unit
    node: Instruction
    """the gated call; of an exit its mark."""
    x: str
    """name of its input, which is seen."""
    dim: int
    """where the input's rows are."""
    call: UnitCall | ChannelsCall | None
    """how the child is called; None for an exit."""


@dataclass(frozen=True)
class GatePlan:
    """A model's code, cut at its gates."""

    start: str
    """name of the inputs."""
    answer: str
    """name of the logits."""
    places: tuple[GatePlace, ...]
    """gates in the order in which they run."""
    segments: tuple[tuple[Instruction, ...], ...]
    """what always runs: before the first gate, and behind each gate."""
    layouts: dict[str, Layout]
    """where rows are in each value."""
    ends: dict[str, list[str]]
    """instruction -> values that nothing needs after it."""
    copied: tuple[frozenset[str], ...]
    """values from before that a segment, or the gate before it, changes in place."""
    changes: tuple[bool, ...]
    """whether a segment changes anything in place."""


def gate_plan(model: nn.Module, trace: Trace, units: Mapping[str, Unit]) -> GatePlan:
    """Cuts the code at the gated calls, each of which must be there exactly once."""
    places: list[GatePlace] = []
    segments: list[list[Instruction]] = [[]]
    for node in trace.instructions:
        unit = None
        if node.target is answer_here:
            unit = units[node.args[1].removeprefix("model.")]
        elif node.kind == "call_module":
            unit = units.get(node.target.removeprefix("model."))
        if unit is None or (unit.kind == "exit" and node.target is not answer_here):
            segments[-1].append(node)
        else:
            places.append(make_place(model, unit, node, trace))
            segments.append([])
    check_calls(places, units)
    check_alive(trace, places)
    pieces = [
        ([] if number == 0 else [places[number - 1].node]) + segment
        for number, segment in enumerate(segments)
    ]
    check_changes(trace, places)
    return GatePlan(
        start=trace.start,
        answer=trace.answer,
        places=tuple(places),
        segments=tuple(map(tuple, segments)),
        layouts=trace.layouts,
        ends=ends_of(trace),
        copied=tuple(
            frozenset().union(*(trace.changed[node.name] for node in piece))
            - {node.name for node in piece}
            for piece in pieces
        ),
        changes=tuple(any(trace.changed[node.name] for node in piece) for piece in pieces),
    )


def make_place(model: nn.Module, unit: Unit, node: Instruction, trace: Trace) -> GatePlace:
    """Looks at one gated call."""
    if unit.kind != "exit":
        call, x = call_of(unit, model.get_submodule(unit.path), node, trace)
        return GatePlace(unit, node, x, call.dim, call)
    if not node.needs():
        raise ValueError(f"expected {unit.path!r} to give one tensor for an exit, got several")
    inputs = inputs_of(node, trace, unit.path)
    if not inputs:
        raise ValueError(f"expected {unit.path!r} to give features of the batch for an exit")
    ((x, rows),) = inputs.items()
    return GatePlace(unit, node, x, rows.dim, None)


def check_calls(places: Sequence[GatePlace], units: Mapping[str, Unit]) -> None:
    """Refuses children that are called never or more than once."""
    for path, unit in units.items():
        calls = sum(place.unit is unit for place in places)
        if not calls:
            raise ValueError(
                f"expected {path!r} to be called once for each input, but the model never calls it "
                "as a module; name the module around it, or the children of a list"
            )
        if calls > 1:
            raise ValueError(
                f"expected {path!r} to be called once for each input, but the model calls it "
                f"{calls} times: one gate cannot decide for all; gate the module around it, or "
                "give each call a module of its own"
            )


def check_alive(trace: Trace, places: Sequence[GatePlace]) -> None:
    """Refuses values alive at a gate that cannot follow their rows."""
    if trace.layouts[trace.start] != RowsAlong(0):
        raise ValueError("expected the first dimension of the example to be the batch's")
    order = {node.name: i for i, node in enumerate(trace.instructions)}
    last = {name: i for i, node in enumerate(trace.instructions) for name in node.needs()}
    for place in places:
        now = order[place.node.name]
        alive = [name for name, end in last.items() if order.get(name, -1) < now <= end]
        for name in alive:
            for leaf in leaves_of(trace.layouts[name]):
                if isinstance(leaf, NotOfRows):
                    raise ValueError(
                        f"expected what is alive at {place.unit.path!r} to have a dimension for "
                        f"the batch alone, but {name!r} {leaf.why}; gate the module around it"
                    )


def check_changes(trace: Trace, places: Sequence[GatePlace]) -> None:
    """Refuses children that change an input in place which is needed behind them."""
    for place in places:
        behind = trace.instructions[trace.instructions.index(place.node) + 1 :]
        needed = {name for node in behind for name in node.needs()} | {trace.answer}
        spoiled = trace.changed[place.node.name] & needed
        if spoiled:
            raise ValueError(
                f"expected {place.unit.path!r} to leave its input as it is, but it changes it in "
                "place and the model uses it afterwards; use inplace=False there, or gate the "
                "module around it"
            )


def ends_of(trace: Trace) -> dict[str, list[str]]:
    """Instruction -> values whose last use it is, its own if nothing uses it."""
    last = {node.name: node.name for node in trace.instructions}
    for node in trace.instructions:
        last.update(dict.fromkeys(node.needs(), node.name))
    last.pop(trace.answer)
    ends: dict[str, list[str]] = {}
    for name, at in last.items():
        ends.setdefault(at, []).append(name)
    return ends


class AveragedHead(nn.Module):
    """Features averaged over places, and a linear layer; zero at first: all classes alike."""

    def __init__(self, x: Tensor, dim: int, num_classes: int) -> None:
        """Takes features of one input, with its row along `dim`, and the number of classes."""
        super().__init__()
        self.dim = dim
        kind = {"device": x.device, "dtype": x.dtype if x.is_floating_point() else None}
        self.weight = nn.Parameter(torch.zeros(num_classes, averaged(x, dim).shape[1], **kind))  # type: ignore[arg-type]
        self.bias = nn.Parameter(torch.zeros(num_classes, **kind))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Features -> logits [rows, num_classes]."""
        return nn.functional.linear(averaged(x, self.dim), self.weight, self.bias)


def averaged(x: Tensor, dim: int) -> Tensor:
    """Maps averaged over pixels, tokens over the sequence: [rows, features]."""
    x = by_rows(x, dim)
    if x.ndim == 3:
        return x.mean(dim=1)
    return x.flatten(2).mean(dim=2) if x.ndim > 3 else x.flatten(1)


def run_on(values: Mapping[str, Any], copied: frozenset[str]) -> dict[str, Any]:
    """Values that code may change without changing the hidden state they came from."""
    values_here: dict[str, Any] = {
        k: copy.copy(v) if isinstance(v, Following) else v for k, v in values.items()
    }
    for name in copied & values_here.keys():
        x = values_here[name]
        if isinstance(x, Tensor):
            values_here[name] = x.clone()
    return values_here


@dataclass(frozen=True)
class Walk:
    """Inputs on their way through a `GatedModule`."""

    flow: Flow
    """which rows have stopped and what they answer; its x numbers the running rows."""
    values: dict[str, Any]
    """name -> what later code needs of the running rows; empty if there are none."""
    made: Any = None
    """what the gated child has just given."""

    @property
    def is_over(self) -> bool:
        """Whether all rows have stopped; not where there were none."""
        return self.flow.x.shape[0] == 0 and self.flow.answers is not None


class GatedModule(FlowNetwork):
    """A model that is walked through call by call, some children gated; `gate` makes it."""

    has_own_weights = True

    def __init__(self, model: nn.Module, trace: Trace, units: Mapping[str, Unit]) -> None:
        """Cuts a model in eval mode at the gated calls; `measure` comes behind."""
        super().__init__()
        self.model = model
        for name, constant in trace.constants.items():
            self.register_buffer(name, constant, persistent=False)
        self.plan: GatePlan = gate_plan(model, trace, units)
        called = [node.target for node in trace.instructions if node.kind == "call_module"]
        self._called = {path: part_of(self, path) for path in called}
        example = trace.values[trace.start][0]
        self.input_shape: torch.Size = example.shape[1:]
        self.num_classes: int = trace.values[trace.answer][0].shape[1]
        self.exits = nn.ModuleList(
            self._make_exit(place, trace.values[place.x][0])
            for place in self.plan.places
            if place.call is None
        )

    def _make_exit(self, place: GatePlace, x: Tensor) -> Exit:
        leave = place.unit.exit or Exit(AveragedHead(x, place.dim, self.num_classes))
        got = list(leave.head(x).shape)
        if got != [1, self.num_classes]:
            raise ValueError(
                f"expected the exit at {place.unit.path!r} to answer [batch, {self.num_classes}], "
                f"got {got} for one input"
            )
        return leave

    def measure(self, example: Tensor) -> None:
        """Walks with one example [1, ...] and writes down gates and costs."""
        self.measure_from(lambda: self.start(example))

    def measure_from(self, begin: Callable[[], Walk]) -> None:
        """Writes down what is seen and what is spent, from the first gate on."""
        start, walk = counted(begin)
        gates, of_blocks, fixed = [], [], []
        for number, place in enumerate(self.plan.places):
            columns = self.look(number, walk).shape[1]
            kind, blocks = "stop", 1
            if place.call is None:
                child, behind = 0, self._past_exit(number, walk)
            else:
                kind, blocks = place.call.skipped, place.call.num_blocks
                child, behind = counted(self._gated, number, walk, None, None, "auto")
            spent, walk = counted(self._ahead, number + 1, behind)
            gates.append(Gate(place.unit.path, blocks, columns, kind))
            of_blocks.append(child)
            fixed.append(spent)
        fixed[-1] += counted(self.logits, walk)[0]
        self.set_costs(gates, start, of_blocks, fixed)

    def part(self, gate: int) -> nn.Module:
        """The gated child, or the exit, of a gate."""
        place = self.plan.places[gate]
        if place.call is not None:
            return self._called[place.node.target]
        return self.exits[sum(before.call is None for before in self.plan.places[:gate])]

    def flow_of(self, hidden: Walk) -> Flow:
        """See `FlowNetwork`."""
        return hidden.flow

    def start(self, inputs: Tensor) -> Walk:
        """See `GatedNetwork.start`; ValueError of inputs that have not the example's shape."""
        if inputs.shape[1:] != self.input_shape:
            shapes = (self.input_shape, inputs.shape[1:])
            example, got = (", ".join(map(str, shape)) for shape in shapes)
            raise ValueError(
                f"expected inputs [batch, {example}], as the example given to ccenv.gate, "
                f"got [batch, {got}]; give an example of these"
            )
        return self._begin(len(inputs), {self.plan.start: inputs})

    def _begin(self, number: int, values: Mapping[str, Any]) -> Walk:
        """So many rows before the first gate, of inputs by name."""
        rows = torch.arange(number, device=values[self.plan.start].device)
        walk = Walk(Flow(rows, number), run_on(values, self.plan.copied[0]))
        return self._ahead(0, walk)

    def _ahead(self, piece: int, walk: Walk) -> Walk:
        """Runs what always runs, up to the next gate; an exit's head too, to be looked at.

        It changes the values of the walk, which must have no other user. What runs behind the last
        gate is left to `logits`.
        """
        if piece == len(self.plan.places) or walk.is_over:
            return walk
        self._run(self.plan.segments[piece], walk.values)
        early, flow = None, walk.flow
        if self.plan.places[piece].call is None:
            exit_part = self.part(piece)
            assert isinstance(exit_part, Exit)
            early = exit_part.head(walk.values[self.plan.places[piece].x])
        if early is not flow.early:
            flow = dataclasses.replace(flow, early=early)
        return Walk(flow, walk.values, walk.made)

    def _run(self, segment: Sequence[Instruction], values: dict[str, Any]) -> None:
        """Executes instructions: adds what they give, and forgets what nothing needs any more."""
        # Without a call of Python more for each instruction of each pass.
        ends = self.plan.ends
        for node in segment:
            values[node.name] = node.run(self._part, values)
            for name in ends.get(node.name, ()):
                values.pop(name, None)

    def _forget(self, node: Instruction, values: dict[str, Any]) -> None:
        for name in self.plan.ends.get(node.name, ()):
            values.pop(name, None)

    def _part(self, path: str) -> Any:
        module = self._called.get(path)
        return part_of(self, path) if module is None else module

    def _moved(self, walk: Walk, flow: Flow) -> Walk:
        """Lets values follow their rows: flow.x says which row each was before."""
        if flow.x is walk.flow.x:
            return dataclasses.replace(walk, flow=flow)
        values: dict[str, Any] = {}
        if len(flow.x):
            values = {k: at_rows(v, self.plan.layouts[k], flow.x) for k, v in walk.values.items()}
        rows = torch.arange(len(flow.x), device=flow.x.device)
        return Walk(dataclasses.replace(flow, x=rows), values)

    def _repeated(self, walk: Walk, group: int) -> Walk:
        """Each row for so many neighbours."""
        return self._moved(walk, walk.flow.repeated(group))

    def step(
        self,
        gate: int,
        hidden: Walk,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Walk:
        """See `GatedNetwork.step`."""
        group = group_of(hidden.flow.num_rows, mask, weights)
        hidden = hidden if group == 1 else self._repeated(hidden, group)
        if hidden.is_over:
            return hidden
        mask = None if mask is None else hidden.flow.of_running(mask)
        weights = None if weights is None else hidden.flow.of_running(weights)
        place = self.plan.places[gate]
        if place.call is not None:
            return self._ahead(gate + 1, self._gated(gate, hidden, mask, weights, backend))
        hides = self.hides_stopped(gate, hidden.flow, backend)
        walk = self._moved(hidden, leave(hidden.flow, mask, weights, hides=hides))
        return walk if walk.is_over else self._ahead(gate + 1, self._past_exit(gate, walk))

    def _past_exit(self, gate: int, walk: Walk) -> Walk:
        """Goes on behind an exit, for the rows that still run."""
        place = self.plan.places[gate]
        values = run_on(walk.values, self.plan.copied[gate + 1])
        values[place.node.name] = values[place.x]
        self._forget(place.node, values)
        return dataclasses.replace(walk, values=values)

    def _gated(
        self, gate: int, walk: Walk, mask: Tensor | None, weights: Tensor | None, backend: str
    ) -> Walk:
        """Calls a gated child."""
        place = self.plan.places[gate]
        assert place.call is not None
        values = run_on(walk.values, self.plan.copied[gate + 1])
        arguments, x = place.node.arguments(values), values[place.x]
        if mask is not None:
            # Rows of channels are listed group by group, and a GPU would be waited for each time.
            macs = self.own_macs[gate] if place.call.num_blocks == 1 else 0
            backend = "reference" if hides_skipped(x, macs, backend) else backend
        y = place.call(self.part(gate), arguments, x, mask, weights, backend)
        if self.plan.changes[gate + 1]:
            # A child that all rows skip gives its input, which the hidden state still holds.
            y = mapped(lambda leaf: leaf.clone() if leaf is x else leaf, y)
        values[place.node.name] = y
        self._forget(place.node, values)
        return Walk(walk.flow, values, made=y)

    def logits(self, hidden: Walk, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        if hidden.is_over:
            assert hidden.flow.answers is not None
            return hidden.flow.answers
        values = dict(hidden.values)
        self._run(self.plan.segments[-1], values)
        return hidden.flow.answered(values[self.plan.answer])

    def look(self, gate: int, hidden: Walk) -> Tensor:
        """Averaged features of the gate's input, and how sure an exit is; zero of stopped rows."""
        if hidden.is_over:
            rows, columns = hidden.flow.num_rows, self.gates[gate].look_size
            return torch.zeros(rows, columns, device=hidden.flow.x.device)
        place = self.plan.places[gate]
        seen = pooled(by_rows(hidden.values[place.x], place.dim))
        if hidden.flow.early is not None:
            seen = torch.cat([hidden.flow.early.softmax(dim=1), seen], dim=1)
        return hidden.flow.of_all(seen.float())

    def spent(self, gate: int, kept: Tensor, flow: Flow) -> Tensor:
        """See `FlowNetwork`."""
        call = self.plan.places[gate].call
        assert call is not None
        return call.macs(kept, self.own_macs[gate])

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `GatedNetwork`; weights that also stand outside of a gated child are read."""
        pairs: Unread = []
        paths = []
        for place, blocks in zip(self.plan.places, off, strict=True):
            if place.call is not None:
                child = self.model.get_submodule(place.unit.path)
                pairs += [
                    (weight, spread_to_units(blocks, weight, 0)) for weight in child.parameters()
                ]
                paths.append(f"{place.unit.path}.")
        for name, weight in self.model.named_parameters(remove_duplicate=False):
            if not name.startswith(tuple(paths)):
                pairs.append((weight, torch.zeros_like(weight, dtype=torch.bool)))
        return pairs

    def norms(self, gate: int, hidden: Walk) -> Tensor:
        """See `FlowNetwork`."""
        call = self.plan.places[gate].call
        assert call is not None
        return call.norms(hidden.made)
