"""Vector code that turns a matrix on its side: rows at addresses -> its columns at others.

Every row is loaded once and whole: rows of a wide matrix lie a power of two apart, share a few
lines of the cache, and would have driven each other out before the next load.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.vectors import F32, I32, load, pointer, store

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
