"""What of a model can be gated: (model, example) -> path -> kinds, in the order of execution."""

import dataclasses

import torch
from torch import Tensor, nn

from ccenv.networks.core.count_macs import counted
from ccenv.networks.gating.gate_plan import make_plan
from ccenv.networks.gating.gate_units import WITH_CHANNELS, Unit, check_example, check_mode
from ccenv.networks.gating.trace import Call, Instruction, Ref, Trace, answer_here, filled
from ccenv.networks.gating.tracer import CannotFollowError, trace

GROUPS = 8
"""Channel groups that are offered, at most."""


def gateable(model: nn.Module, example: Tensor) -> dict[str, list[str]]:
    """Lists children that `ccenv.gate` can gate, and how.

    Left out are children that spend no multiply-accumulates, and the inside of modules whose code
    cannot be followed. That a child can be gated does not say that it should: "zero" fits a branch
    that is added to something, and ruins a model that goes through it.

    Args:
        model: [batch, ...] -> logits; in eval mode where it has batch norm.
        example: one input [1, ...].

    Returns:
        path -> kinds, such as ["unit", "zero", "exit"] or ["zero", "channels:8"].

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the model does not run on the example, or has batch norm in training mode.
    """
    check_mode(model)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():
            check_example(model, example)
            found = trace_deep(model, example[:1])
            calls = [] if found is None else found.calls
            listed = {path_of(call): kinds_of(model, call, found) for call in calls if found}
    finally:
        model.train(was_training)
    return {path: kinds for path, kinds in listed.items() if kinds}


def trace_deep(model: nn.Module, example: Tensor) -> Trace | None:
    """Looks into every module that can be followed; None if the model itself cannot."""
    opened = {path for path, child in model.named_modules() if path and [*child.children()]}
    while True:
        try:
            return trace(model, example, opened)
        except CannotFollowError as error:
            if error.path not in opened:
                return None
            opened.remove(error.path)


def path_of(call: Call) -> str:
    """Path of the module that is called."""
    return str(call.whole.target).removeprefix("model").removeprefix(".")


def kinds_of(model: nn.Module, call: Call, found: Trace) -> list[str]:
    """Kinds with which the call of a child can be gated."""
    path, whole = path_of(call), call.whole
    if not path or sum(path_of(other) == path for other in found.calls) > 1:
        return []
    child = model.get_submodule(path)
    args, kwargs = filled((whole.args, whole.kwargs), {k: v[0] for k, v in found.values.items()})
    if not counted(lambda: child(*args, **kwargs))[0]:
        return []
    units = [Unit(path, "identity"), Unit(path, "zero")]
    if isinstance(child, WITH_CHANNELS):
        wide = len(child.weight)
        units.append(Unit(path, "channels", max(n for n in range(1, GROUPS + 1) if wide % n == 0)))
    kinds = [kind_name(unit) for unit in units if can_be(model, unit, as_one(call, found))]
    is_last = whole.name == found.answer
    if not is_last and can_be(model, Unit(path, "exit"), with_exit(call, found)):
        kinds.append("exit")
    return kinds


def kind_name(unit: Unit) -> str:
    """The kind as `gate` reads it."""
    if unit.kind == "channels":
        return f"channels:{unit.num_blocks}"
    return "unit" if unit.kind == "identity" else unit.kind


def can_be(model: nn.Module, unit: Unit, found: Trace) -> bool:
    """Whether a plan can be made."""
    try:
        make_plan(model, found, {unit.path: unit})
    except ValueError:
        return False
    return True


def as_one(call: Call, found: Trace) -> Trace:
    """A trace in which a call is one instruction, as if it had not been looked into."""
    nodes = [node for node in found.instructions if node.name not in call.parts]
    first = next(i for i, node in enumerate(found.instructions) if node.name in call.parts)
    nodes.insert(first, call.whole)
    changed = set[str]().union(*(found.changed[name] for name in call.parts)) - call.parts
    return dataclasses.replace(
        found, instructions=nodes, changed={**found.changed, call.whole.name: changed}
    )


def with_exit(call: Call, found: Trace) -> Trace:
    """A trace with an exit behind a call."""
    name = call.whole.name
    mark = Instruction("mark", "call_function", answer_here, (Ref(name), call.whole.target), {})
    last = max(i for i, node in enumerate(found.instructions) if node.name in call.parts)
    nodes = [*found.instructions[: last + 1], mark, *found.instructions[last + 1 :]]
    return dataclasses.replace(
        found,
        instructions=nodes,
        values={**found.values, "mark": found.values[name]},
        changed={**found.changed, "mark": set()},
    )
