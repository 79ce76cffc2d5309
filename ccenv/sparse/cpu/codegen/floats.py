"""Floats at addresses: copied, added, set to zero, activated, turned, in vectors as wide as fit."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, called_by_name, compiled, emitted
from ccenv.sparse.cpu.codegen.micro_kernels import make_walk, split
from ccenv.sparse.cpu.codegen.vectors import (
    F32,
    load,
    pointer,
    relu_of,
    shuffled,
    store,
    tanh_of,
)

NONE, TANH, RELU = 0, 1, 2
walk_tanh = make_walk(lambda builder, new, _: tanh_of(builder, new), (16, 8, 1))
walk_relu = make_walk(lambda builder, new, _: relu_of(builder, new), (16, 8, 1))
walk_add = make_walk(lambda builder, new, old: builder.fadd(old, new), (16, 4, 1))
walk_copy = make_walk(lambda builder, new, _: new)


@compiled
def copy_floats(source: int, target: int, width: int) -> None:
    """Copies `width` floats between two addresses."""
    walk_copy(source, target, width)


@compiled
def copy_rows(source: int, from_row: int, to: int, to_row: int, rows: int, width: int) -> None:
    """Copies rows of `width` floats; from_row and to_row are their distances in floats."""
    for _ in range(rows):
        if width == 16:
            walk_copy(source, to, 16)
        elif width == 8:
            walk_copy(source, to, 8)
        else:
            walk_copy(source, to, width)
        source += 4 * from_row
        to += 4 * to_row


@compiled
def split_floats(source: int, even: int, odd: int, num_even: int, num_odd: int) -> None:
    """Copies floats at even places to one address and those at odd places to another."""
    both = min(num_even, num_odd)
    split(source, even, odd, both)
    for k in range(both, num_even):
        walk_copy(source + 8 * k, even + 4 * k, 1)
    for k in range(both, num_odd):
        walk_copy(source + 8 * k + 4, odd + 4 * k, 1)


@compiled
def add_floats(source: int, target: int, width: int) -> None:
    """Adds `width` floats at one address to those at another."""
    walk_add(source, target, width)


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
    if activation == TANH:
        walk_tanh(y, y, size)
    elif activation == RELU:
        walk_relu(y, y, size)


call_zero_columns, call_activate = called_by_name(zero_columns), called_by_name(activate)


def transposed(builder: Any, rows: list[Any], unit: int, span: int) -> list[Any]:
    """Vectors that hold a row of units in every span of lanes -> their columns, by riffles."""
    size, lanes = len(rows), rows[0].type.count
    masks = []
    for half in (0, 1):
        masks.append(
            [
                vector * lanes + start + place * unit + lane
                for start in range(0, lanes, span)
                for place in range(half * size // 2, (half + 1) * size // 2)
                for vector in (0, 1)
                for lane in range(unit)
            ]
        )
    for _ in range(size.bit_length() - 1):
        pairs = zip(rows[: size // 2], rows[size // 2 :], strict=True)
        rows = [shuffled(builder, a, mask, b) for a, b in pairs for mask in masks]
    return rows


def make_transpose(size: int) -> Any:
    """Makes to[k, r] = source[r, k] for a square of 4, 8 or 16 floats a side.

    The function takes the address of the source and the distance of its rows in floats, and the
    same of where its columns go.
    """
    vec = ir.VectorType(F32, size)

    @emitted()
    def transpose(builder: Any, source: Any, from_row: Any, to: Any, to_row: Any) -> None:
        source, to = pointer(builder, source), pointer(builder, to)
        rows = []
        for _ in range(size):
            rows.append(load(builder, source, 0, vec))
            source = builder.gep(source, [from_row])
        # Within four lanes, shuffles are cheap on every machine.
        fours = [transposed(builder, rows[r : r + 4], 1, 4) for r in range(0, size, 4)]
        columns = [transposed(builder, list(f), 4, size) for f in zip(*fours, strict=True)]
        for group in zip(*columns, strict=True):
            for column in group:
                store(builder, to, 0, column)
                to = builder.gep(to, [to_row])

    return transpose
