"""A model's code as a list of instructions, and where the rows of its values are.

What is alive at a gate must follow the batch when rows are repeated, leave at an exit, or are
gathered. Where the rows of a value are is learned by running everything for one row and for two.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.core.stage import put_rows, take_rows


@dataclass(frozen=True)
class RowsAlong:
    """A tensor with one entry for each row of the batch along a dimension."""

    dim: int


@dataclass(frozen=True)
class PerRow:
    """A whole number that is a multiple of the number of rows."""

    each: int


@dataclass(frozen=True)
class Fixed:
    """The same for any batch."""


class Following:
    """An object that follows its rows by itself, and its layout: the cache of a decoder."""

    def at_rows(self, rows: Tensor) -> Any:
        """Itself for some of its rows, int64 [n]."""
        raise NotImplementedError


@dataclass(frozen=True)
class NotOfRows:
    """What cannot be moved along with rows."""

    why: str


BY_HAND = (
    "write a module of yours whose forward is the plain loop over its layers, as of a ModuleList, "
    "and gate them there, or a ccenv.GatedSequential"
)
"""What to do where code around the layers cannot be followed."""
Layout = Any
"""`RowsAlong`, `PerRow`, `Fixed`, `Following` or `NotOfRows`; or a tuple, list or dict of these."""


def mapped(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Applies a function to each leaf of nested tuples, lists, dicts and slices."""
    if isinstance(tree, tuple | list):
        inside = (mapped(function, *leaves) for leaves in zip(tree, *others, strict=True))
        return list(inside) if isinstance(tree, list) else tuple(inside)
    if isinstance(tree, dict):
        return {k: mapped(function, v, *[other[k] for other in others]) for k, v in tree.items()}
    if isinstance(tree, slice) and not others:
        ends = (tree.start, tree.stop, tree.step)
        return slice(*(mapped(function, end) for end in ends))
    return function(tree, *others)


def leaves_of(tree: Any) -> list[Any]:
    """Leaves of nested tuples, lists, dicts and slices: (1, [2, {"a": 3}]) -> [1, 2, 3]."""
    leaves: list[Any] = []
    mapped(leaves.append, tree)
    return leaves


def layout_of(one: Any, two: Any) -> Layout:
    """Where rows are in a value, from the value for one row and the one for two.

    >>> layout_of(torch.zeros(5, 1, 3), torch.zeros(5, 2, 3)), layout_of(4, 8), layout_of("a", "a")
    (RowsAlong(dim=1), PerRow(each=4), Fixed())
    """
    try:
        return mapped(leaf_layout, one, two)
    except (ValueError, KeyError, TypeError):
        return NotOfRows("has another structure for two rows than for one")


def leaf_layout(one: Any, two: Any) -> Layout:
    """`layout_of` for what is no tuple, list or dict."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.ndim != two.ndim:
            return NotOfRows("has another number of dimensions for two rows than for one")
        differ = [i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
        if not differ:
            return Fixed()
        if len(differ) == 1 and (one.shape[differ[0]], two.shape[differ[0]]) == (1, 2):
            return RowsAlong(differ[0])
        return NotOfRows(
            f"mixes rows with something else: {list(one.shape)}, {list(two.shape)} for two"
        )
    if isinstance(one, Following):
        return Following()
    if type(one) is type(two) is int and one != two:
        return PerRow(one) if two == 2 * one else NotOfRows("is no multiple of the number of rows")
    try:
        return Fixed() if bool(one == two) else NotOfRows("depends on the number of rows")
    except (RuntimeError, TypeError, ValueError):
        return NotOfRows("depends on the number of rows")


def at_rows(value: Any, layout: Layout, rows: Tensor) -> Any:
    """Some rows of a value, or repeated ones: (value, layout, int64 [n]) -> value of n rows."""

    def leaf(item: Any, where: Layout) -> Any:
        if isinstance(where, RowsAlong):
            return rows_along(item, rows, where.dim)
        if isinstance(where, Following):
            return item.at_rows(rows)
        return where.each * len(rows) if isinstance(where, PerRow) else item

    return mapped(leaf, value, layout)


def rows_along(x: Tensor, rows: Tensor, dim: int) -> Tensor:
    """Some rows along a dimension; maps in channels-last order stay in it."""
    return x.index_select(dim, rows) if dim else take_rows(x, rows)


def placed(base: Tensor, rows: Tensor, some: Tensor, dim: int) -> Tensor:
    """A copy of a base whose rows along a dimension are replaced."""
    # Under autocast a child gives another precision than it gets.
    kind = torch.promote_types(base.dtype, some.dtype)
    base, some = base.to(kind), some.to(kind)
    return base.index_copy(dim, rows, some) if dim else put_rows(base, rows, some)


def spread_along(values: Tensor, ndim: int, dim: int) -> Tensor:
    """Views [rows] as a tensor of `ndim` dimensions that has its rows along `dim`."""
    return values.reshape([-1 if i == dim else 1 for i in range(ndim)])


def by_rows(x: Tensor, dim: int) -> Tensor:
    """Features with the rows first, as floats that may be averaged: [rows, ...].

    Maps [rows, side, side, channels] become [rows, channels, side, side], known by their sides.
    """
    x = x.movedim(dim, 0)
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]:
        return x.movedim(3, 1)
    return x.flatten(2).mean(2) if x.ndim > 4 else x


class Ref(str):
    """Name of a value."""


@dataclass(frozen=True)
class Instruction:
    """One operation: what it is called on, and the name of what it gives."""

    name: str
    kind: str
    """call_module, call_function, call_method or get_attr."""
    target: Any
    """path, function or name of a method."""
    args: tuple[Any, ...] = ()
    """values, with a `Ref` where another instruction gives it."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def run(self, part: Callable[[str], Any], values: Mapping[str, Any]) -> Any:
        """Executes it with values of all names it needs; `part` finds modules and parameters."""
        if self.kind == "get_attr":
            return part(self.target)
        args, kwargs = self.arguments(values)
        if self.kind == "call_method":
            return getattr(args[0], self.target)(*args[1:], **kwargs)
        function = part(self.target) if self.kind == "call_module" else self.target
        return function(*args, **kwargs)

    @cached_property
    def _takes_names(self) -> bool:
        return not self.kwargs and all(type(argument) is Ref for argument in self.args)

    def arguments(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its (args, kwargs), with values where their names are."""
        if self._takes_names:
            # The usual case, for each instruction of each pass: without a call of Python.
            return tuple(map(values.__getitem__, self.args)), {}
        args, kwargs = substituted((self.args, self.kwargs), values)
        return args, kwargs

    def needs(self) -> list[str]:
        """Names of values that it uses."""
        return [leaf for leaf in leaves_of((self.args, self.kwargs)) if isinstance(leaf, Ref)]


def substituted(tree: Any, values: Mapping[str, Any]) -> Any:
    """Puts values where their names are."""
    return mapped(lambda leaf: values[leaf] if isinstance(leaf, Ref) else leaf, tree)


@dataclass(frozen=True)
class Call:
    """A call of a module as one instruction, and the instructions it consists of."""

    whole: tuple[Instruction, ...]
    """the call, and instructions that take its output apart where it is no tensor."""
    parts: frozenset[str]
    """their names."""
    output: Any
    """what it gives, with names where there are tensors."""


@dataclass(frozen=True)
class Trace:
    """What a module does, in order, and what it gave for an example."""

    start: str
    """name of the inputs."""
    instructions: list[Instruction]
    answer: str
    """name of the output."""
    values: dict[str, tuple[Any, Any]]
    """name -> what it was for one row and for two."""
    layouts: dict[str, Layout]
    """name -> where rows are in it."""
    changed: dict[str, set[str]]
    """instruction -> values that it changed in place, views of them included."""
    calls: list[Call]
    """of modules, those that were looked into included."""
    constants: dict[str, Tensor]
    """tensors that the code makes itself, by the path under which instructions ask for them."""


def answer_here(x: Tensor, path: str) -> Tensor:
    """Marks where an exit is."""
    return x


def rows_times(inputs: Tensor, each: int) -> int:
    """A number that the code makes of the number of rows."""
    return len(inputs) * each


def part_of(root: nn.Module, path: str) -> Any:
    """Module, parameter or buffer of a path."""
    part: Any = root
    for name in path.split("."):
        part = getattr(part, name)
    return part


def without_unused(instructions: list[Instruction], answer: str) -> list[Instruction]:
    """Drops weights and parts of tuples that nothing uses."""
    needed, kept = {answer}, []
    for instruction in reversed(instructions):
        is_look = instruction.kind == "get_attr" or instruction.target in (
            operator.getitem,
            getattr,
            rows_times,
        )
        if instruction.name in needed or not is_look:
            needed.update(instruction.needs())
            kept.append(instruction)
    return kept[::-1]
