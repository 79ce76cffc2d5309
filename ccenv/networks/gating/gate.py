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

from ccenv.networks.core.check import check_norms
from ccenv.networks.core.count_macs import Count, count, counted, warn_of_products
from ccenv.networks.core.protocol import dense_forward
from ccenv.networks.gating.gate_plan import make_plan
from ccenv.networks.gating.gate_units import (
    WITH_CHANNELS,
    Unit,
    check_example,
    read_units,
)
from ccenv.networks.gating.gated_module import GatedModule
from ccenv.networks.gating.trace import Call, Instruction, Ref, Trace, answer_here, filled
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
        opened = {path for unit in read for path in above(unit)}
        exits = [path for path, unit in read.items() if unit.kind == "exit"]
        network = GatedModule(model, trace(model, example[:1], opened, exits), read)
        counts = check_same(network, example[:1], answer)
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


def above(path: str) -> list[str]:
    """Paths of the modules around a child: "layer1.0.conv1" -> ["layer1", "layer1.0"]."""
    names = path.split(".")
    return [".".join(names[:i]) for i in range(1, len(names))]


def check_same(network: GatedModule, example: Tensor, answer: Tensor) -> Count:
    """Refuses a gated model that is not the model with everything kept; returns what it does."""
    counts = count(dense_forward, network, example)
    if not torch.allclose(counts.result, answer, rtol=1e-4, atol=1e-5, equal_nan=True):
        far = float((counts.result - answer).abs().max())
        raise ValueError(
            f"expected the gated model to answer as before with everything kept, got logits that "
            f"differ by up to {far:.3g}; does it draw random numbers, keep a state between calls, "
            "or change a view in place? gate other children, or write it as a "
            "ccenv.GatedSequential"
        )
    return counts


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
        listed = {path_of(call): kinds_of(model, call, traced) for call in calls if traced}
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
