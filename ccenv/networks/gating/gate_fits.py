"""How a child can be gated: (unit, its call in a trace) -> a gated call, or why it cannot be.

What a child works on decides: where the rows are, which input goes on, which shapes it gives.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ccenv.networks.gating.gate_units import WITH_CHANNELS, Unit
from ccenv.networks.gating.gated_calls import ChannelsCall, Shape, UnitCall
from ccenv.networks.gating.trace import Instruction, Ref, Trace, filled
from ccenv.networks.gating.traced_values import Fixed, Lost, Rows, layout_of, leaves_of, mapped


def call_of(unit: Unit, child: nn.Module, node: Instruction, trace: Trace) -> tuple[Any, str]:
    """How a child is called and which of its inputs goes on where it is skipped.

    Returns:
        The call, and the name of that input.

    Raises:
        ValueError: if the child cannot be gated so; says why and what else to name.
    """
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
    """Tensors with rows among the inputs of a call: name -> where the rows are.

    Raises:
        ValueError: if rows are mixed with something else there.
    """
    found: dict[str, Rows] = {}
    for name in dict.fromkeys(node.needs()):
        layout = layout_of(*trace.values[name])
        if isinstance(layout, Rows):
            found[name] = layout
        elif not all(isinstance(leaf, Fixed) for leaf in leaves_of(layout)):
            why = next(leaf.why for leaf in leaves_of(layout) if isinstance(leaf, Lost))
            raise ValueError(
                f"expected what {path!r} works on to have a dimension for the batch alone, got a "
                f"value that {why}; "
                "gate the module around it"
            )
    return found


def main_input(unit: Unit, inputs: Mapping[str, Rows], node: Instruction, trace: Trace) -> str:
    """The input that goes on instead of the child's output.

    Of a child that is skipped as identity it is the first tensor of the batch that the child is
    called with, and no other has its shape. A tensor in a list is none: a list holds what is to be
    joined, and one of its tensors may have the output's shape by chance. So may a second argument,
    as the features of a U-Net's encoder.

    Raises:
        ValueError: if there is none, or it is not clear which.
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
    """Refuses an identity that is in a list, or behind another tensor of the batch.

    Raises:
        ValueError: saying what to name instead.
    """
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
