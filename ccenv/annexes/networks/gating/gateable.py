"""Lists what can be gated of a user's own model: (model, example) -> path -> kinds."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.gating.gate import check_example, evaluating
from ccenv.annexes.networks.gating.gated_calls import WITH_CHANNELS, Unit
from ccenv.annexes.networks.gating.gated_module import gate_plan
from ccenv.annexes.networks.gating.recorder import plain
from ccenv.annexes.networks.gating.trace import (
    Call,
    Instruction,
    Ref,
    Trace,
    answer_here,
    layout_of,
    leaves_of,
    substituted,
)
from ccenv.annexes.networks.gating.tracer import CannotFollowError, trace
from ccenv.base.values import check_flag
from ccenv.networks.core.check import check_norms
from ccenv.networks.core.count_macs import counted

GROUPS = 8
"""Channel groups that are offered, at most."""


def gateable(model: nn.Module, example: Tensor, *, every: bool = False) -> dict[str, list[str]]:
    """Lists the children that `ccenv.gate` can gate, with their kinds.

    Those that are a good choice first of all: residual units, and layers of a list that keep the
    shape. With `every`, or where there are none, it lists all but those without MACs, and those in
    code that cannot be followed. "zero" fits a branch that is added to something, but skips all
    that passes through any other child.

    Args:
        model: as of `ccenv.gate`.
        example: one input [1, ...].
        every: whether to list all.

    Returns:
        path -> kinds in the order of execution, such as ["unit", "zero", "exit"].

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the model does not run on the example, or has batch norm in training mode.

    Warns:
        UserWarning: if code around a list of layers cannot be followed, so that they are left out.

    Example:
        >>> import ccenv, torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> ccenv.gateable(model, torch.zeros(1, 16))["0"]
        ['unit', 'zero', 'channels:8', 'exit']
    """
    check_flag(every, "every")
    check_norms(model)
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        check_example(model, example)
        trace = trace_deep(model, example[:1])
        if trace is None:
            return {}
        calls = {called_path(call): call for call in trace.calls if called_path(call)}
        listed = {
            path: kinds_of(model, calls[path], trace)
            for path in asked(model, calls, trace, every=every)
        }
    return {path: kinds for path, kinds in listed.items() if kinds}


def asked(model: nn.Module, calls: Mapping[str, Call], trace: Trace, *, every: bool) -> list[str]:
    """Paths of residual units, the innermost, and of further layers of a list, in order.

    All paths, with `every` or where there are none.
    """
    parts = (
        []
        if every
        else [
            path
            for path, call in calls.items()
            if [*model.get_submodule(path).children()]
            and can_be(model, Unit(path, "identity"), as_one(call, trace))
        ]
    )
    residual = innermost([path for path in parts if is_residual(model, calls[path], trace)])
    lists = {path for path, child in model.named_modules() if isinstance(child, nn.ModuleList)}
    layers = innermost([path for path in parts if path.rpartition(".")[0] in lists])
    further = {path for path in layers if not any(names_below(path, other) for other in residual)}
    return [path for path in parts if path in {*residual, *further}] or [*calls]


def innermost(paths: Sequence[str]) -> list[str]:
    """Paths that have no other one inside."""
    return [path for path in paths if not any(other.startswith(f"{path}.") for other in paths)]


def names_below(one: str, other: str) -> bool:
    """Whether one of two paths is in the other."""
    return one.startswith(f"{other}.") or other.startswith(f"{one}.")


def is_residual(model: nn.Module, call: Call, trace: Trace) -> bool:
    """Whether a child adds to its input: it gives that alone where all its weights are zero."""
    child = model.get_submodule(called_path(call))
    zero = {name: torch.zeros_like(weight) for name, weight in child.named_parameters()}
    args, kwargs = arguments(call, trace)
    x = next(leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor))
    y = torch.func.functional_call(child, zero, args, kwargs)
    return bool(zero) and any(
        isinstance(leaf, Tensor) and leaf.shape == x.shape and torch.equal(leaf, x)
        for leaf in leaves_of(y)
    )


def trace_deep(model: nn.Module, example: Tensor) -> Trace | None:
    """Looks into every module that can be followed; None if the model itself cannot."""
    opened = {path for path, child in model.named_modules() if path and [*child.children()]}
    while True:
        try:
            return trace(model, example, opened)
        except CannotFollowError as error:
            around = model.get_submodule(error.path)
            if any(isinstance(child, nn.ModuleList) for child in around.modules()):
                warnings.warn(f"layers are left out: {error}", stacklevel=3)
            if error.path not in opened:
                return None
            opened.remove(error.path)


def called_path(call: Call) -> str:
    """Path of the module that is called."""
    return plain(str(call.whole[0].target))


def kinds_of(model: nn.Module, call: Call, trace: Trace) -> list[str]:
    """Kinds with which the call of a child can be gated."""
    path = called_path(call)
    if sum(called_path(other) == path for other in trace.calls) > 1:
        return []
    child = model.get_submodule(path)
    args, kwargs = arguments(call, trace)
    if not counted(lambda: child(*args, **kwargs))[0]:
        return []
    units = {"unit": Unit(path, "identity"), "zero": Unit(path, "zero")}
    if isinstance(child, WITH_CHANNELS):
        wide = len(child.weight)
        groups = max(n for n in range(1, GROUPS + 1) if wide % n == 0)
        units[f"channels:{groups}"] = Unit(path, "channels", groups)
    alone = as_one(call, trace)
    kinds = [kind for kind, unit in units.items() if can_be(model, unit, alone)]
    can_stop = isinstance(call.output, Ref) and call.output != trace.answer
    if can_stop and can_be(model, Unit(path, "exit"), with_exit(call, trace)):
        kinds.append("exit")
    return kinds


def arguments(call: Call, trace: Trace) -> Any:
    """(args, kwargs) of a call, for one row."""
    return call.whole[0].arguments({name: both[0] for name, both in trace.values.items()})


def can_be(model: nn.Module, unit: Unit, trace: Trace) -> bool:
    """Whether a plan can be made."""
    try:
        gate_plan(model, trace, {unit.path: unit})
    except ValueError:
        return False
    return True


def as_one(call: Call, trace: Trace) -> Trace:
    """A trace in which a call is one instruction, as if it had not been looked into."""
    nodes = [node for node in trace.instructions if node.name not in call.parts]
    first = next(i for i, node in enumerate(trace.instructions) if node.name in call.parts)
    nodes[first:first] = call.whole
    both = [{name: value[i] for name, value in trace.values.items()} for i in (0, 1)]
    for values in both:
        values.setdefault(call.whole[0].name, substituted(call.output, values))
        for node in call.whole[1:]:
            values.setdefault(node.name, node.run(str, values))
    new = {node.name: (both[0][node.name], both[1][node.name]) for node in call.whole}
    changed = set[str]().union(*(trace.changed[name] for name in call.parts)) - call.parts
    changes = {name: set[str]() for name in new} | {call.whole[0].name: changed}
    return dataclasses.replace(
        trace,
        instructions=nodes,
        values={**trace.values, **new},
        layouts={**trace.layouts, **{name: layout_of(*two) for name, two in new.items()}},
        changed={**trace.changed, **changes},
    )


def with_exit(call: Call, trace: Trace) -> Trace:
    """A trace with an exit behind a call that gives one tensor."""
    name = call.whole[0].name
    mark = Instruction("mark", "call_function", answer_here, (name, call.whole[0].target), {})
    last = max(i for i, node in enumerate(trace.instructions) if node.name in call.parts)
    nodes = [*trace.instructions[: last + 1], mark, *trace.instructions[last + 1 :]]
    return dataclasses.replace(
        trace,
        instructions=nodes,
        values={**trace.values, "mark": trace.values[name]},
        layouts={**trace.layouts, "mark": trace.layouts[name]},
        changed={**trace.changed, "mark": set()},
    )
