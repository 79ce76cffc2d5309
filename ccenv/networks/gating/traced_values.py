"""Values between gates: (the same value for one row and for two) -> where its rows are, row moves.

What is alive at a gate must follow the batch when rows are repeated, leave at an exit, or are
gathered. Where the rows of a tensor are is learned by running everything for one row and for two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """A tensor with one entry for each row of the batch along a dimension."""

    dim: int


@dataclass(frozen=True)
class Count:
    """A whole number that is a multiple of the number of rows."""

    each: int


@dataclass(frozen=True)
class Fixed:
    """The same for any batch."""


@dataclass(frozen=True)
class Lost:
    """What cannot be moved along with rows."""

    why: str


Layout = Any
"""`Rows`, `Count`, `Fixed` or `Lost`; or a tuple, list or dict of these."""


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
    """Leaves of nested tuples, lists, dicts and slices.

    >>> leaves_of((1, [2, {"a": 3}]))
    [1, 2, 3]
    """
    found: list[Any] = []
    mapped(found.append, tree)
    return found


def layout_of(one: Any, two: Any) -> Layout:
    """Where rows are in a value, from the value for one row and the one for two.

    >>> layout_of(torch.zeros(5, 1, 3), torch.zeros(5, 2, 3)), layout_of(4, 8), layout_of("a", "a")
    (Rows(dim=1), Count(each=4), Fixed())
    """
    try:
        return mapped(leaf_layout, one, two)
    except (ValueError, KeyError, TypeError):
        return Lost("has another structure for two rows than for one")


def leaf_layout(one: Any, two: Any) -> Layout:
    """`layout_of` for what is no tuple, list or dict."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.ndim != two.ndim:
            return Lost("has another number of dimensions for two rows than for one")
        differ = [i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
        if not differ:
            return Fixed()
        if len(differ) == 1 and (one.shape[differ[0]], two.shape[differ[0]]) == (1, 2):
            return Rows(differ[0])
        return Lost(f"mixes rows with something else: {list(one.shape)}, {list(two.shape)} for two")
    if type(one) is type(two) is int and one != two:
        return Count(one) if two == 2 * one else Lost("is no multiple of the number of rows")
    try:
        return Fixed() if bool(one == two) else Lost("depends on the number of rows")
    except (RuntimeError, TypeError, ValueError):
        return Lost("depends on the number of rows")


def taken(value: Any, layout: Layout, rows: Tensor) -> Any:
    """Some rows of a value, or repeated ones: (value, layout, int64 [n]) -> value of n rows."""

    def leaf(item: Any, where: Layout) -> Any:
        if isinstance(where, Rows):
            return item.index_select(where.dim, rows)
        return where.each * len(rows) if isinstance(where, Count) else item

    return mapped(leaf, value, layout)


def placed(base: Tensor, rows: Tensor, some: Tensor, dim: int) -> Tensor:
    """A copy of a base whose rows along a dimension are replaced."""
    # Under autocast a child gives another precision than it gets.
    kind = torch.promote_types(base.dtype, some.dtype)
    return base.to(kind).index_copy(dim, rows, some.to(kind))


def along(values: Tensor, ndim: int, dim: int) -> Tensor:
    """Views [rows] as a tensor of `ndim` dimensions that has its rows along `dim`.

    >>> along(torch.ones(3), ndim=4, dim=1).shape
    torch.Size([1, 3, 1, 1])
    """
    return values.reshape([-1 if i == dim else 1 for i in range(ndim)])


def by_rows(x: Tensor, dim: int) -> Tensor:
    """Features with the rows first, as floats that may be averaged: [rows, ...].

    Maps [rows, side, side, channels] become [rows, channels, side, side], known by their sides.

    >>> by_rows(torch.zeros(7, 2, 16), dim=1).shape, by_rows(torch.zeros(2, 8, 8, 96), dim=0).shape
    (torch.Size([2, 7, 16]), torch.Size([2, 96, 8, 8]))
    """
    x = x.movedim(dim, 0)
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]:
        return x.movedim(3, 1)
    return x.flatten(2).mean(2) if x.ndim > 4 else x
