"""Where a model is cut: (trace, units) -> gates in order, the code between, what lives how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.gating.gate_units import Unit, call_of, inputs_of
from ccenv.networks.gating.gated_calls import ChannelsCall, UnitCall
from ccenv.networks.gating.trace import (
    Instruction,
    Layout,
    Lost,
    Rows,
    Trace,
    answer_here,
    by_rows,
    layout_of,
    leaves_of,
)


@dataclass(frozen=True)
class Place:
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
class Plan:
    """A model's code, cut at its gates."""

    start: str
    """name of the inputs."""
    answer: str
    """name of the logits."""
    places: tuple[Place, ...]
    """gates in the order in which they run."""
    segments: tuple[tuple[Instruction, ...], ...]
    """what always runs: before the first gate, and behind each gate."""
    layouts: dict[str, Layout]
    """where rows are in each value."""
    ends: dict[str, tuple[str, ...]]
    """instruction -> values that nothing needs after it."""
    copied: tuple[frozenset[str], ...]
    """values from before that a segment, or the gate before it, changes in place."""
    changes: tuple[bool, ...]
    """whether a segment changes anything in place."""


def make_plan(model: nn.Module, found: Trace, units: Mapping[str, Unit]) -> Plan:
    """Cuts the code at the gated calls, each of which must be there exactly once."""
    layouts = {name: layout_of(*values) for name, values in found.values.items()}
    places: list[Place] = []
    segments: list[list[Instruction]] = [[]]
    for node in found.instructions:
        unit = unit_of(node, units)
        if unit is None:
            segments[-1].append(node)
        else:
            places.append(make_place(model, unit, node, found))
            segments.append([])
    check_calls(places, units)
    check_alive(found, places, layouts)
    pieces = [
        ([] if number == 0 else [places[number - 1].node]) + segment
        for number, segment in enumerate(segments)
    ]
    check_changes(found, places)
    return Plan(
        start=found.start,
        answer=found.answer,
        places=tuple(places),
        segments=tuple(map(tuple, segments)),
        layouts=layouts,
        ends=ends_of(found),
        copied=tuple(frozenset(copied_by(found, piece)) for piece in pieces),
        changes=tuple(any(found.changed[node.name] for node in piece) for piece in pieces),
    )


def unit_of(node: Instruction, units: Mapping[str, Unit]) -> Unit | None:
    """The unit that an instruction calls; an exit is at its mark."""
    if node.target is answer_here:
        return units[node.args[1].removeprefix("model.")]
    if node.kind != "call_module":
        return None
    unit = units.get(node.target.removeprefix("model."))
    return None if unit is None or unit.kind == "exit" else unit


def make_place(model: nn.Module, unit: Unit, node: Instruction, found: Trace) -> Place:
    """Looks at one gated call."""
    if unit.kind != "exit":
        call, x = call_of(unit, model.get_submodule(unit.path), node, found)
        return Place(unit, node, x, call.dim, call)
    if not node.needs():
        raise ValueError(f"expected {unit.path!r} to give one tensor for an exit, got several")
    inputs = inputs_of(node, found, unit.path)
    if not inputs:
        raise ValueError(f"expected {unit.path!r} to give features of the batch for an exit")
    ((x, rows),) = inputs.items()
    return Place(unit, node, x, rows.dim, None)


def check_calls(places: Sequence[Place], units: Mapping[str, Unit]) -> None:
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


def check_alive(found: Trace, places: Sequence[Place], layouts: Mapping[str, Layout]) -> None:
    """Refuses values alive at a gate that cannot follow their rows."""
    if layouts[found.start] != Rows(0):
        raise ValueError("expected the first dimension of the example to be the batch's")
    order = {node.name: i for i, node in enumerate(found.instructions)}
    last = {name: i for i, node in enumerate(found.instructions) for name in node.needs()}
    for place in places:
        now = order[place.node.name]
        for name, end in last.items():
            if order.get(name, -1) < now <= end and (why := lost(layouts[name])):
                raise ValueError(
                    f"expected what is alive at {place.unit.path!r} to have a dimension for the "
                    f"batch alone, but {name!r} {why}; gate the module around it"
                )


def lost(layout: Layout) -> str | None:
    """Why a value cannot follow its rows; None if it can."""
    return next((leaf.why for leaf in leaves_of(layout) if isinstance(leaf, Lost)), None)


def check_changes(found: Trace, places: Sequence[Place]) -> None:
    """Refuses children that change an input in place which is needed behind them."""
    for place in places:
        behind = found.instructions[found.instructions.index(place.node) + 1 :]
        needed = {name for node in behind for name in node.needs()} | {found.answer}
        spoiled = found.changed[place.node.name] & needed
        if spoiled:
            raise ValueError(
                f"expected {place.unit.path!r} to leave its input as it is, but it changes it in "
                "place and the model uses it afterwards; use inplace=False there, or gate the "
                "module around it"
            )


def ends_of(found: Trace) -> dict[str, tuple[str, ...]]:
    """Instruction -> values whose last use it is, its own if nothing uses it."""
    last = {node.name: node.name for node in found.instructions}
    for node in found.instructions:
        last.update(dict.fromkeys(node.needs(), node.name))
    last.pop(found.answer)
    ends: dict[str, tuple[str, ...]] = {}
    for name, at in last.items():
        ends[at] = (*ends.get(at, ()), name)
    return ends


def copied_by(found: Trace, piece: Sequence[Instruction]) -> set[str]:
    """Values from before a piece of code that it changes in place."""
    own = {node.name for node in piece}
    return {name for node in piece for name in found.changed[node.name]} - own


class PooledHead(nn.Module):
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


def run_on(values: dict[str, Any], copied: frozenset[str]) -> dict[str, Any]:
    """Values that code may change without changing the hidden state they came from."""
    own = dict(values)
    for name in copied & own.keys():
        if isinstance(own[name], Tensor):
            own[name] = own[name].clone()
    return own
