"""Floats at addresses: copied, added, set to zero, activated, in vectors as wide as fit.

Vector code that turns a matrix on its side: rows at addresses -> its columns at others.

Every row is loaded once and whole: rows of a wide matrix lie a power of two apart, share a few
lines of the cache, and would have driven each other out before the next load.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.micro_kernels import (
    as_pointer,
    make_add,
    make_copy,
    make_in_place,
    make_split,
)
from ccenv.sparse.cpu.codegen.vectors import F32, I32, load, pointer, relu_of, store, tanh_of

NONE, TANH, RELU = 0, 1, 2
tanh_16, tanh_8, tanh_1 = (make_in_place(tanh_of, width) for width in (16, 8, 1))
relu_16, relu_8, relu_1 = (make_in_place(relu_of, width) for width in (16, 8, 1))
add_16, add_4, add_1 = make_add(16), make_add(4), make_add(1)
copy_64, copy_16, copy_8, copy_4, copy_1 = (make_copy(width) for width in (64, 16, 8, 4, 1))
split_16, split_4 = make_split(16), make_split(4)


@compiled
def copy_floats(source: int, target: int, width: int) -> None:
    """Copies `width` floats between two addresses."""
    c = 0
    while width - c >= 64:
        copy_64(source + 4 * c, target + 4 * c)
        c += 64
    while width - c >= 16:
        copy_16(source + 4 * c, target + 4 * c)
        c += 16
    if width - c >= 8:
        copy_8(source + 4 * c, target + 4 * c)
        c += 8
    while width - c >= 4:
        copy_4(source + 4 * c, target + 4 * c)
        c += 4
    while c < width:
        copy_1(source + 4 * c, target + 4 * c)
        c += 1


@compiled
def copy_rows(source: int, from_row: int, to: int, to_row: int, rows: int, width: int) -> None:
    """Copies rows of `width` floats; from_row and to_row are their distances in floats."""
    if width == 16:
        for _ in range(rows):
            copy_16(source, to)
            source += 4 * from_row
            to += 4 * to_row
    elif width == 8:
        for _ in range(rows):
            copy_8(source, to)
            source += 4 * from_row
            to += 4 * to_row
    else:
        for _ in range(rows):
            copy_floats(source, to, width)
            source += 4 * from_row
            to += 4 * to_row


@compiled
def split_floats(source: int, even: int, odd: int, num_even: int, num_odd: int) -> None:
    """Copies floats at even places to one address and those at odd places to another."""
    c, both = 0, min(num_even, num_odd)
    while both - c >= 16:
        split_16(source + 8 * c, even + 4 * c, odd + 4 * c)
        c += 16
    while both - c >= 4:
        split_4(source + 8 * c, even + 4 * c, odd + 4 * c)
        c += 4
    for k in range(c, num_even):
        copy_1(source + 8 * k, even + 4 * k)
    for k in range(c, num_odd):
        copy_1(source + 8 * k + 4, odd + 4 * k)


@compiled
def add_floats(source: int, target: int, width: int) -> None:
    """Adds `width` floats at one address to those at another."""
    c = 0
    while width - c >= 16:
        add_16(source + 4 * c, target + 4 * c)
        c += 16
    while width - c >= 4:
        add_4(source + 4 * c, target + 4 * c)
        c += 4
    while c < width:
        add_1(source + 4 * c, target + 4 * c)
        c += 1


@compiled
def zero_columns(y: int, rows: int, width: int, first: int, last: int) -> None:
    """Sets columns first to last of [rows, width] at an address to zero."""
    if last - first == width:
        carray(as_pointer(y), (rows * width,), np.float32)[:] = 0
        return
    for b in range(rows):
        at = y + 4 * (b * width + first)
        carray(as_pointer(at), (last - first,), np.float32)[:] = 0


@compiled
def activate(y: int, size: int, activation: int) -> None:
    """Applies the activation in place to `size` floats at an address."""
    c = 0
    if activation == TANH:
        while size - c >= 16:
            tanh_16(y + 4 * c)
            c += 16
        if size - c >= 8:
            tanh_8(y + 4 * c)
            c += 8
        while c < size:
            tanh_1(y + 4 * c)
            c += 1
    elif activation == RELU:
        while size - c >= 16:
            relu_16(y + 4 * c)
            c += 16
        if size - c >= 8:
            relu_8(y + 4 * c)
            c += 8
        while c < size:
            relu_1(y + 4 * c)
            c += 1


GROUP = 4
"""Lanes within which shuffles are cheap on every machine."""


def interleaved(builder: Any, first: Any, second: Any, places: tuple[int, ...]) -> Any:
    """Of each group, the lanes at `places` of both vectors' groups, 4 to 7 for the second's."""
    count = first.type.count
    lanes = [
        start + place if place < GROUP else count + start + place - GROUP
        for start in range(0, count, GROUP)
        for place in places
    ]
    mask = ir.Constant(ir.VectorType(I32, count), lanes)
    return builder.shuffle_vector(first, second, mask)


def turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Four vectors whose groups are 4 x 4 matrices -> their columns."""
    a, b, c, d = rows
    low, high = (0, 4, 1, 5), (2, 6, 3, 7)
    found = []
    for half in (low, high):
        above, below = interleaved(builder, a, b, half), interleaved(builder, c, d, half)
        found += [interleaved(builder, above, below, p) for p in ((0, 1, 4, 5), (2, 3, 6, 7))]
    return found


def groups_of(builder: Any, first: Any, second: Any, places: list[int]) -> Any:
    """The named groups of two vectors, the second's counted on from the first's."""
    lanes = [GROUP * place + lane for place in places for lane in range(GROUP)]
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
    return builder.shuffle_vector(first, second, mask)


def groups_turned(builder: Any, vectors: list[Any]) -> list[Any]:
    """As many vectors as each has groups, 1, 2 or 4 -> the first groups of all, the second ones."""
    if len(vectors) == 1:
        return vectors
    if len(vectors) == 2:
        first, second = vectors
        return [groups_of(builder, first, second, [place, 2 + place]) for place in (0, 1)]
    a, b, c, d = vectors
    found = []
    for half in ([0, 1, 4, 5], [2, 3, 6, 7]):
        above, below = groups_of(builder, a, b, half), groups_of(builder, c, d, half)
        found += [groups_of(builder, above, below, p) for p in ([0, 2, 4, 6], [1, 3, 5, 7])]
    return found


def make_transpose(size: int) -> Any:
    """Makes to[k, r] = source[r, k] for a square of 4, 8 or 16 floats a side.

    The function takes the address of the source and the distance of its rows in floats, and the
    same of where its columns go.
    """
    vec, groups = ir.VectorType(F32, size), range(size // GROUP)

    @intrinsic
    def transpose(typingctx: Any, source: Any, from_row: Any, to: Any, to_row: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            source, from_row, to, to_row = arguments
            source, to = pointer(builder, source), pointer(builder, to)
            rows = []
            for _ in range(size):
                rows.append(load(builder, source, 0, vec))
                source = builder.gep(source, [from_row])
            fours = [turned(builder, rows[GROUP * g : GROUP * (g + 1)]) for g in groups]
            columns = [groups_turned(builder, list(same)) for same in zip(*fours, strict=True)]
            for group in groups:
                for place in range(GROUP):
                    store(builder, to, 0, columns[place][group])
                    to = builder.gep(to, [to_row])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), codegen

    return transpose
