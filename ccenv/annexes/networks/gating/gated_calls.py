"""How a gated child is called: (child, arguments, block mask) -> output, rows really skipped.

What a child works on decides: where the rows are, which input goes on, which shapes it gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.gating.trace import (
    BY_HAND,
    Fixed,
    Following,
    Instruction,
    Layout,
    NotOfRows,
    Ref,
    RowsAlong,
    Trace,
    at_rows,
    leaves_of,
    mapped,
    placed,
    rows_along,
    spread_along,
)
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.stage import LAST, is_channels_last, kept_rows

MOST_SHARE = 0.6
"""Share of kept channel groups above which `auto` computes all of them in one product."""


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


@dataclass(frozen=True)
class OutputShape:
    """A tensor that a child gives for one row."""

    sizes: tuple[int, ...]
    dim: int
    """where its rows are."""
    like_input: bool
    """whether it has the dtype of the child's input."""
    dtype: torch.dtype

    def skipped(self, x: Tensor, rows: int) -> Tensor:
        """Zeros for so many rows, in the order of memory of an input."""
        sizes = list(self.sizes)
        sizes[self.dim] = rows
        zeros = x.new_zeros(sizes, dtype=x.dtype if self.like_input else self.dtype)
        is_last = zeros.ndim == x.ndim and is_channels_last(x)
        return zeros.contiguous(memory_format=LAST) if is_last else zeros


@dataclass(frozen=True)
class UnitCall:
    """The whole child is one block; skipped, its output is its input, or zero."""

    skipped: str
    """"identity" or "zero"."""
    layout: Layout
    """of (args, kwargs)."""
    output: Any
    """a `OutputShape`, or None, or a tuple, list or dict of these."""
    dim: int
    """where the rows of its input are."""
    num_blocks: ClassVar[int] = 1

    def __call__(
        self,
        child: Callable[..., Any],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        x: Tensor,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
    ) -> Any:
        """Calls the child with its (args, kwargs) for the rows that keep it.

        `x` goes on where it is skipped; mask bool [rows, 1], None keeps all; weights [rows, 1]: 1
        is the child's output, less a mixture.
        """
        rows = None if mask is None or backend == "reference" else kept_rows(mask)
        if rows is None:
            y = self._mixed(child(*arguments[0], **arguments[1]), x, weights)
            if mask is None or backend != "reference":
                return y

            def chosen(new: Tensor, old: Tensor, dim: int) -> Tensor:
                return torch.where(spread_along(mask.flatten(), new.ndim, dim), new, old)

            return self._each(chosen, y, x)
        if not rows.shape[0]:
            return self._each(lambda _, old, dim: old, self.output, x)
        args, kwargs = at_rows(arguments, self.layout, rows)
        y = child(*args, **kwargs)
        if weights is not None:
            y = self._mixed(y, rows_along(x, rows, self.dim), weights.index_select(0, rows))
        return self._each(lambda new, old, dim: placed(old, rows, new, dim), y, x)

    def _each(self, join: Callable[[Any, Tensor, int], Any], y: Any, x: Tensor) -> Any:
        """Joins each tensor of an output with what stands there where the child is skipped."""

        def leaf(shape: OutputShape | None, new: Any) -> Any:
            if shape is None:
                return new
            old = x if self.skipped == "identity" else shape.skipped(x, x.shape[self.dim])
            return join(new, old, shape.dim)

        return mapped(leaf, self.output, y)

    def _mixed(self, y: Any, x: Tensor, weights: Tensor | None) -> Any:
        if weights is None:
            return y

        def leaf(shape: OutputShape | None, new: Any) -> Any:
            if shape is None:
                return new
            share = spread_along(weights.to(new.dtype), new.ndim, shape.dim)
            return (
                torch.lerp(x.to(new.dtype), new, share)
                if self.skipped == "identity"
                else new * share
            )

        return mapped(leaf, self.output, y)

    def macs(self, mask: Tensor, full: int) -> Tensor:
        """What runs under masks [rows, 1]: int64 [rows]."""
        return mask[:, 0] * full

    def norms(self, y: Any) -> Tensor:
        """Root mean square of the output: [rows, 1]."""
        outputs: list[tuple[OutputShape | None, Tensor]] = []
        mapped(lambda shape, tensor: outputs.append((shape, tensor)), self.output, y)
        shape, tensor = next(both for both in outputs if both[0] is not None)
        assert shape is not None
        rows = tensor.movedim(shape.dim, 0).flatten(1)
        return rows.square().mean(dim=1, keepdim=True).sqrt()


@dataclass(frozen=True)
class ChannelsCall:
    """Neighbouring output channels of a convolution or a linear layer; zero where skipped."""

    num_blocks: int
    dim: int
    """where the rows of its input are."""
    channels_dim: int
    """where its output's channels are, behind the rows."""
    output: OutputShape
    skipped: ClassVar[str] = "zero"

    def __call__(
        self,
        child: Any,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        x: Tensor,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
    ) -> Tensor:
        """Computes the channels that are kept; arguments as of `UnitCall`."""
        if mask is None:
            y: Tensor = child(x)
        elif backend == "reference":
            y = self._masked(child(x), mask)
        elif bool(mask.all()):
            y = child(x)
        elif bool((mask == mask[:1]).all()):
            y = self._same(child, x, mask[0])
        elif backend == "auto" and float(mask.float().mean()) > MOST_SHARE:
            y = self._masked(child(x), mask)
        else:
            y = self._by_block(child, x, mask)
        return y if weights is None else y * self._spread(weights.to(y.dtype), y)

    def _spread(self, values: Tensor, y: Tensor) -> Tensor:
        """Views [rows, blocks] as an output's rows and channels, 1 elsewhere."""
        wide = values.repeat_interleave(y.shape[self.channels_dim] // self.num_blocks, 1)
        sizes = [1] * y.ndim
        sizes[self.dim], sizes[self.channels_dim] = wide.shape
        return wide.reshape(sizes)

    def _masked(self, y: Tensor, mask: Tensor) -> Tensor:
        return torch.where(
            self._spread(mask, y), y, torch.zeros((), dtype=y.dtype, device=y.device)
        )

    def _same(self, child: Any, x: Tensor, mask: Tensor) -> Tensor:
        """All rows keep the same blocks: one smaller product."""
        nothing = self.output.skipped(x, x.shape[self.dim])
        wide = mask.repeat_interleave(len(child.weight) // self.num_blocks)
        units = wide.nonzero().squeeze(1)
        if not len(units):
            return nothing
        bias = None if child.bias is None else child.bias.index_select(0, units)
        y = product(child, x, child.weight.index_select(0, units), bias)
        return placed(nothing, units, y, self.channels_dim)

    def _by_block(self, child: Any, x: Tensor, mask: Tensor) -> Tensor:
        """Each block for the rows that keep it."""
        size = len(child.weight) // self.num_blocks
        sizes = list(self.output.sizes)
        sizes[self.channels_dim] = size
        nothing = replace(self.output, sizes=tuple(sizes)).skipped(x, len(mask))
        outputs = [nothing] * self.num_blocks
        for block in range(self.num_blocks):
            rows = mask[:, block].nonzero().squeeze(1)
            if len(rows):
                part = slice(block * size, (block + 1) * size)
                bias = None if child.bias is None else child.bias[part]
                y = product(child, rows_along(x, rows, self.dim), child.weight[part], bias)
                outputs[block] = placed(nothing, rows, y, self.dim)
        return torch.cat(outputs, dim=self.channels_dim)

    def macs(self, mask: Tensor, full: int) -> Tensor:
        """What runs under masks [rows, blocks]: int64 [rows]."""
        return mask.sum(dim=1) * (full // self.num_blocks)

    def norms(self, y: Tensor) -> Tensor:
        """Root mean square of each block: [rows, blocks]."""
        blocks = y.unflatten(self.channels_dim, (self.num_blocks, -1))
        blocks = blocks.movedim((self.dim, self.channels_dim), (0, 1))
        return blocks.flatten(2).square().mean(dim=2).sqrt()


def product(child: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution or a linear layer with some of its output channels."""
    if isinstance(child, nn.Linear):
        return nn.functional.linear(x, weight, bias)
    return child._conv_forward(x, weight, bias)  # type: ignore[operator]


def call_of(unit: Unit, child: nn.Module, node: Instruction, trace: Trace) -> tuple[Any, str]:
    """How a child is called, and the name of the input that goes on where it is skipped."""
    inputs = inputs_of(node, trace, unit.path)
    name = main_input(unit, inputs, node, trace)
    dim, x, one = inputs[name].dim, trace.values[name][0], trace.values[node.name][0]

    def shape_of(y: Any, layout: Any) -> OutputShape | None:
        if y is None:
            return None
        if not isinstance(y, Tensor) or not isinstance(layout, RowsAlong):
            raise ValueError(
                f"expected {unit.path!r} to give tensors with a dimension for the batch alone, "
                f"got {list(y.shape) if isinstance(y, Tensor) else type(y).__name__} for one "
                "input; gate the module around it"
            )
        like = y.dtype == x.dtype or (y.is_floating_point() and x.is_floating_point())
        return OutputShape(tuple(y.shape), layout.dim, like, y.dtype)

    output = mapped(shape_of, one, trace.layouts[node.name])
    if unit.kind == "channels":
        check_channels(unit, child, node)
        place = 1 if not isinstance(child, nn.Linear) else one.ndim - 1
        if dim >= place:
            raise ValueError(f"expected {unit.path!r} to have its rows before its channels")
        return ChannelsCall(unit.num_blocks, dim, place, output), name
    arguments = (node.args, node.kwargs)
    layout = mapped(lambda a: trace.layouts[a] if isinstance(a, Ref) else Fixed(), arguments)
    return UnitCall(unit.kind, layout, output, dim), name


def inputs_of(node: Instruction, trace: Trace, path: str) -> dict[str, RowsAlong]:
    """Tensors with rows among the inputs of a call: name -> where the rows are."""
    layouts: dict[str, RowsAlong] = {}
    for name in dict.fromkeys(node.needs()):
        layout = trace.layouts[name]
        if isinstance(layout, RowsAlong):
            layouts[name] = layout
        elif not all(isinstance(leaf, Fixed | Following) for leaf in leaves_of(layout)):
            whys = [leaf.why for leaf in leaves_of(layout) if isinstance(leaf, NotOfRows)]
            why = whys[0] if whys else "holds a number of rows, or several tensors"
            raise ValueError(
                f"expected what {path!r} works on to have a dimension for the batch alone, got a "
                f"value that {why}; gate the module around it, or {BY_HAND}"
            )
    return layouts


def main_input(unit: Unit, inputs: Mapping[str, RowsAlong], node: Instruction, trace: Trace) -> str:
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
        check_first_argument(unit, fits[0], inputs, node)
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


def check_first_argument(
    unit: Unit, x: str, inputs: Mapping[str, RowsAlong], node: Instruction
) -> None:
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
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        below = max(n for n in divisors if n <= unit.num_blocks)
        above = min((n for n in divisors if n >= unit.num_blocks), default=channels)
        raise ValueError(
            f"expected the {channels} channels of {unit.path!r} to be a multiple of the groups, "
            f'got "channels:{unit.num_blocks}"; '
            f"{' or '.join(map(str, sorted({below, above})))} would do"
        )
