"""Gates a user's own model: (model, path -> kind, example) -> network.

model = torchvision.models.resnet34(weights="DEFAULT").eval()
network = ccenv.gate(model, {"layer2.1": "unit", "layer3.0.conv1": "channels:8"}, images[:1])
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.base.values import shown
from ccenv.networks.core.check import check_norms
from ccenv.networks.core.count_macs import count, counted, warn_of_products
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.gating.gated_calls import WITH_CHANNELS, Unit
from ccenv.networks.gating.gated_module import GatedModule, gate_plan
from ccenv.networks.gating.trace import Call, Instruction, Ref, Trace, answer_here, substituted
from ccenv.networks.gating.tracer import CannotFollowError, trace


def gate(model: nn.Module, units: Mapping[str, Any], example: Tensor) -> GatedModule:
    """Turns a model into a gated network; its weights stay as they are.

    A child is named by its path, and has one of these kinds:

    - "unit" (or "identity"): one block; skipped, its output is its first argument, the only one of
      that shape. For a residual unit with its shortcut inside.
    - "zero": one block; skipped, its output is zero. For a branch that is added to something.
    - "channels:8": eight groups of neighbouring output channels of a convolution or linear layer;
      skipped ones are zero at that layer's output, so a norm after it still adds its bias.
    - "exit", or a `ccenv.Exit` with a head: the network may answer after the child. Without a head,
      it is a linear layer on averaged features, zero until it is trained.

    torch.fx traces the modules around gated children; all others are called as they are. Branches
    of traced code (on `self.training`, on sizes) are taken once, as in eval mode.

    Args:
        model: [batch, ...] -> logits [batch, num_classes]; in eval mode if it has batch norm. It is
            not copied: training the gated network trains the model.
        units: path -> kind. The gates have the order in which the model calls the children.
        example: one input [1, ...] of the model; more rows are ignored.

    Returns:
        A `ccenv.GatedNetwork`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a child cannot be gated so, or the MACs of an operation are not known; the
            message says why, and what else to do.

    Warns:
        UserWarning: if there are many elementwise products, which are not counted as MACs.

    Example:
        >>> import ccenv, torch
        >>> from torch import nn
        >>> conv, head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8 * 64, 10)
        >>> model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head)
        >>> network = ccenv.gate(model, {"0": "channels:4"}, torch.zeros(1, 1, 8, 8))
        >>> [(gate.name, gate.num_blocks, gate.skipped) for gate in network.gates]
        [('0', 4, 'zero')]
    """
    check_norms(model)
    read = read_units(model, units)
    with evaluating(model), torch.no_grad():
        answer = check_example(model, example)
        # The modules around a child: of "layer1.0.conv1" these are "layer1" and "layer1.0".
        parts = [path.split(".") for path in read]
        opened = {".".join(names[:i]) for names in parts for i in range(1, len(names))}
        exits = [path for path, unit in read.items() if unit.kind == "exit"]
        network = GatedModule(model, trace(model, example[:1], opened, exits), read)
        counts = count(dense_forward, network, example[:1])
    if not torch.allclose(counts.result, answer, rtol=1e-4, atol=1e-5, equal_nan=True):
        far = float((counts.result - answer).abs().max())
        raise ValueError(
            f"expected the gated model to answer as before with everything kept, got logits that "
            f"differ by up to {far:.3g}; does it draw random numbers, keep a state between calls, "
            "or change a view in place? gate other children, or write it as a "
            "ccenv.GatedSequential"
        )
    warn_of_products(counts, stacklevel=2)
    return network.train(model.training)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def read_units(model: nn.Module, units: Mapping[str, Any]) -> dict[str, Unit]:
    """Reads what the user asks for."""
    if not isinstance(units, Mapping):
        raise TypeError(
            f'expected units as a dict such as {{"layer2.1": "unit"}}, got {type(units).__name__}'
        )
    if not units:
        raise ValueError('expected at least one unit, such as {"layer2.1": "unit"}, got none')
    paths = {path: child for path, child in model.named_modules(remove_duplicate=False) if path}
    check_names(units, paths, "child of the model")
    first = {id(child): path for path, child in reversed(list(paths.items()))}
    found: dict[str, Unit] = {}
    for path, kind in units.items():
        own = first[id(paths[path])]
        if own in found:
            raise ValueError(f"expected each module once, but {path!r} is {found[own].path!r} too")
        found[own] = read_kind(own, kind)
    check_apart(model, found)
    return found


def read_kind(path: str, kind: Any) -> Unit:
    """Reads "unit", "identity", "zero", "channels:8", "exit" or an `Exit`."""
    if isinstance(kind, Exit):
        return Unit(path, "exit", exit=kind)
    if not isinstance(kind, str):
        raise TypeError(
            f"expected the kind of {path!r} as one of {', '.join(KINDS)} or a ccenv Exit, "
            f"got {shown(kind)}"
        )
    name, colon, number = kind.partition(":")
    check_names([name], KINDS, f"kind of {path!r}")
    if name == "channels" and (not number.isdecimal() or int(number) < 1):
        raise ValueError(
            f'expected the number of channel groups of {path!r} as "channels:8", got {shown(kind)}'
        )
    if name != "channels" and colon:
        raise ValueError(f"expected kind {name!r} of {path!r} without a number, got {shown(kind)}")
    return Unit(path, "identity" if name == "unit" else name, int(number or 1))


def check_apart(model: nn.Module, units: Mapping[str, Unit]) -> None:
    """Refuses a gated child inside another one, or with weights of another one.

    Exits may have gated children before them. Of two children that share weights one would not be
    skipped.
    """
    owners: dict[int, str] = {}
    for outer in (unit for unit in units.values() if unit.kind != "exit"):
        for path in units:
            if path.startswith(f"{outer.path}."):
                raise ValueError(
                    f"expected gated children outside of each other, but {path!r} is inside "
                    f"{outer.path!r}, which is skipped as a whole; name one of the two"
                )
        for parameter in model.get_submodule(outer.path).parameters():
            other = owners.setdefault(id(parameter), outer.path)
            if other != outer.path:
                raise ValueError(
                    f"expected gated children with weights of their own, but {outer.path!r} and "
                    f"{other!r} share some; name one of the two"
                )


def check_example(model: nn.Module, example: Tensor) -> Tensor:
    """What the model answers to one input: [1, num_classes]; or why it does not."""
    if not isinstance(example, Tensor) or example.ndim < 1 or not len(example):
        got = f"{list(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise TypeError(f"expected the example as a tensor [1, ...] of inputs, got {got}")
    try:
        answer = model(example[:1])
    except Exception as error:
        raise ValueError(
            f"expected an example that the model runs on, got {example.dtype} "
            f"{list(example.shape)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != 1:
        got = f"{list(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(
            f"expected the model to answer [batch, num_classes], got {got} for one input; wrap it "
            "in a module that gives the logits alone"
        )
    return answer


KINDS = ("unit", "identity", "zero", "channels", "exit")
"""Kinds of gated children: "unit" and "identity" are the same."""
GROUPS = 8
"""Channel groups that are offered, at most."""


def gateable(model: nn.Module, example: Tensor) -> dict[str, list[str]]:
    """Lists the children that `ccenv.gate` can gate, with their kinds.

    It leaves out children without MACs, and children of modules that torch.fx cannot trace. A child
    that can be gated need not be a good choice: "zero" fits a branch that is added to something,
    but skips all that passes through any other child.

    Args:
        model: [batch, ...] -> logits; in eval mode if it has batch norm.
        example: one input [1, ...].

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
    check_norms(model)
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        check_example(model, example)
        traced = trace_deep(model, example[:1])
        calls = [] if traced is None else traced.calls
        listed = {called_path(call): kinds_of(model, call, traced) for call in calls if traced}
    return {path: kinds for path, kinds in listed.items() if kinds}


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
    return str(call.whole.target).removeprefix("model").removeprefix(".")


def kinds_of(model: nn.Module, call: Call, found: Trace) -> list[str]:
    """Kinds with which the call of a child can be gated."""
    path, whole = called_path(call), call.whole
    if not path or sum(called_path(other) == path for other in found.calls) > 1:
        return []
    child = model.get_submodule(path)
    args, kwargs = substituted(
        (whole.args, whole.kwargs), {k: v[0] for k, v in found.values.items()}
    )
    if not counted(lambda: child(*args, **kwargs))[0]:
        return []
    units = {"unit": Unit(path, "identity"), "zero": Unit(path, "zero")}
    if isinstance(child, WITH_CHANNELS):
        wide = len(child.weight)
        groups = max(n for n in range(1, GROUPS + 1) if wide % n == 0)
        units[f"channels:{groups}"] = Unit(path, "channels", groups)
    alone = as_one(call, found)
    kinds = [kind for kind, unit in units.items() if can_be(model, unit, alone)]
    is_last = whole.name == found.answer
    if not is_last and can_be(model, Unit(path, "exit"), with_exit(call, found)):
        kinds.append("exit")
    return kinds


def can_be(model: nn.Module, unit: Unit, found: Trace) -> bool:
    """Whether a plan can be made."""
    try:
        gate_plan(model, found, {unit.path: unit})
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
        layouts={**found.layouts, "mark": found.layouts[name]},
        changed={**found.changed, "mark": set()},
    )
