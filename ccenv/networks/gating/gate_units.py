"""What is to be gated: (model, path -> kind) -> units, and how each is called, or why it cannot be.

What a child works on decides: where the rows are, which input goes on, which shapes it gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.base.values import shown
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.gating.gated_calls import ChannelsCall, Shape, UnitCall
from ccenv.networks.gating.trace import (
    BY_HAND,
    Fixed,
    Instruction,
    Lost,
    Ref,
    Rows,
    Trace,
    filled,
    layout_of,
    leaves_of,
    mapped,
)

KINDS = ("unit", "identity", "zero", "channels", "exit")
"""Kinds of gated children: "unit" and "identity" are the same."""
WITH_CHANNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Modules whose output channels may be gated."""


@dataclass(frozen=True)
class Unit:
    """A child that is gated."""

    path: str
    kind: str
    """identity, zero, channels or exit."""
    num_blocks: int = 1
    exit: Exit | None = None
    """the user's own exit; None: one is made."""


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
    check_apart(found)
    check_weights(model, found)
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


def check_apart(units: Mapping[str, Unit]) -> None:
    """Refuses a gated child inside another one; exits may have gated children before them."""
    for outer in (unit for unit in units.values() if unit.kind != "exit"):
        for path in units:
            if path.startswith(f"{outer.path}."):
                raise ValueError(
                    f"expected gated children outside of each other, but {path!r} is inside "
                    f"{outer.path!r}, which is skipped as a whole; name one of the two"
                )


def check_weights(model: nn.Module, units: Mapping[str, Unit]) -> None:
    """Refuses two gated children with the same weights: one of them would not be skipped."""
    owners: dict[int, str] = {}
    for unit in (unit for unit in units.values() if unit.kind != "exit"):
        for parameter in model.get_submodule(unit.path).parameters():
            other = owners.setdefault(id(parameter), unit.path)
            if other != unit.path:
                raise ValueError(
                    f"expected gated children with weights of their own, but {unit.path!r} and "
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


def call_of(unit: Unit, child: nn.Module, node: Instruction, trace: Trace) -> tuple[Any, str]:
    """How a child is called, and the name of the input that goes on where it is skipped."""
    given = (node.args, node.kwargs)
    layout = layout_of(*(filled(given, {k: v[i] for k, v in trace.values.items()}) for i in (0, 1)))
    inputs = inputs_of(node, trace, unit.path)
    x = main_input(unit, inputs, node, trace)
    dim = inputs[x].dim
    one, two = trace.values[node.name]
    output = mapped(shape_leaf(trace.values[x][0], unit), one, layout_of(one, two))
    if unit.kind == "channels":
        check_channels(unit, child, node)
        place = 1 if not isinstance(child, nn.Linear) else one.ndim - 1
        if dim >= place:
            raise ValueError(f"expected {unit.path!r} to have its rows before its channels")
        return ChannelsCall(unit.num_blocks, dim, place, output), x
    return UnitCall(unit.kind, layout, output, dim), x


def inputs_of(node: Instruction, trace: Trace, path: str) -> dict[str, Rows]:
    """Tensors with rows among the inputs of a call: name -> where the rows are."""
    found: dict[str, Rows] = {}
    for name in dict.fromkeys(node.needs()):
        layout = layout_of(*trace.values[name])
        if isinstance(layout, Rows):
            found[name] = layout
        elif not all(isinstance(leaf, Fixed) for leaf in leaves_of(layout)):
            whys = [leaf.why for leaf in leaves_of(layout) if isinstance(leaf, Lost)]
            why = whys[0] if whys else "holds a number of rows, or several tensors"
            raise ValueError(
                f"expected what {path!r} works on to have a dimension for the batch alone, got a "
                f"value that {why}; gate the module around it, or {BY_HAND}"
            )
    return found


def main_input(unit: Unit, inputs: Mapping[str, Rows], node: Instruction, trace: Trace) -> str:
    """The input that goes on instead of the child's output.

    Of a child that is skipped as identity it is the first tensor of the batch that the child is
    called with, and no other has its shape. A tensor in a list is none: a list holds what is to be
    joined, and one of its tensors may have the output's shape by chance. So may a second argument,
    as the features of a U-Net's encoder.
    """
    if not inputs:
        raise ValueError(
            f"expected {unit.path!r} to be called with a tensor of the batch, it is not"
        )
    if unit.kind != "identity":
        return next(iter(inputs))
    outputs = [leaf for leaf in leaves_of(trace.values[node.name][1]) if isinstance(leaf, Tensor)]
    shapes = {name: list(trace.values[name][1].shape) for name in inputs}
    got = [list(y.shape) for y in outputs]
    fits = [name for name in inputs if got == [shapes[name]]]
    if len(fits) == 1:
        check_identity(unit, fits[0], inputs, node)
        return fits[0]
    if fits:
        raise ValueError(
            f"expected {unit.path!r} to be called with one tensor of its output's shape, got "
            f'{len(fits)}: it is not clear which of them is its identity; use "zero", or gate '
            "the module around it"
        )
    raise ValueError(
        f"expected {unit.path!r} to keep its input's shape, to be skipped as identity, got "
        f"{', '.join(map(str, shapes.values()))} -> {', '.join(map(str, got))}; name another "
        'child, or use "zero" where its output is added to something'
    )


def check_identity(unit: Unit, x: str, inputs: Mapping[str, Rows], node: Instruction) -> None:
    """Refuses an identity that is in a list, or behind another tensor of the batch."""
    alone = [one for one in (*node.args, *node.kwargs.values()) if isinstance(one, Ref)]
    if x not in alone:
        why = "one tensor of a list or dict has it, and may have it by chance"
    elif x != next(one for one in alone if one in inputs):
        why = "only a later argument has it, behind one of another shape"
    else:
        return
    raise ValueError(
        f"expected {unit.path!r} to be called with a tensor of its output's shape as its first "
        f"argument, to be skipped as identity, but {why}: it is not clear what goes on instead of "
        'its output; gate the module around it, or use "zero" where its output is added to '
        "something or appended"
    )


def shape_leaf(x: Tensor, unit: Unit) -> Any:
    """Leaves of an output as `Shape`s."""

    def leaf(y: Any, layout: Any) -> Shape | None:
        if y is None:
            return None
        if not isinstance(y, Tensor) or not isinstance(layout, Rows):
            raise ValueError(
                f"expected {unit.path!r} to give tensors with a dimension for the batch alone, "
                f"got {list(y.shape) if isinstance(y, Tensor) else type(y).__name__} for one "
                "input; gate the module around it"
            )
        like = y.dtype == x.dtype or (y.is_floating_point() and x.is_floating_point())
        return Shape(tuple(y.shape), layout.dim, like, y.dtype)

    return leaf


def check_channels(unit: Unit, child: nn.Module, node: Instruction) -> None:
    """Refuses what has no channels that can be computed alone."""
    plain = next((kind for kind in WITH_CHANNELS if type(child) is kind), None)
    if plain is None or len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], Ref):
        raise ValueError(
            f"expected {unit.path!r} to be a plain convolution or linear layer, to be gated by "
            f'channels, got {type(child).__name__}; use "unit" or "zero"'
        )
    if getattr(child, "groups", 1) != 1:
        raise ValueError(
            f"expected {unit.path!r} to be a convolution of one group, got {child.groups} groups; "
            "gate the channels of the convolution before it"
        )
    channels = len(child.weight)  # type: ignore[arg-type]
    if channels % unit.num_blocks:
        raise ValueError(
            f"expected the {channels} channels of {unit.path!r} to be a multiple of the groups, "
            f'got "channels:{unit.num_blocks}"; {nearest_divisors(channels, unit.num_blocks)}'
        )


def nearest_divisors(number: int, wanted: int) -> str:
    """Names groups that divide: the next below and above."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    below = max(n for n in divisors if n <= max(1, wanted))
    above = min((n for n in divisors if n >= wanted), default=number)
    return f"{below} or {above} would do" if below != above else f"{below} would do"
