"""Vector code for weights that lie output by output: a row's sums as dot products along inputs.

Every output unit has a vector of partial sums; vectors are added up over their lanes once, behind
the last run of inputs, for all units together.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.registers import LANES
from ccenv.sparse.cpu.codegen.vectors import (
    F32,
    I64,
    alternate,
    counted_loop,
    function,
    joined,
    load,
    load_first,
    pointer,
    store,
)


def lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of a power of two of vectors, in their order."""
    count = len(vectors)
    while len(vectors) > 1:
        pairs = [joined(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        vectors = [builder.fadd(*alternate(builder, pair)) for pair in pairs]
    (total,) = vectors
    while total.type.count > count:
        total = builder.fadd(*alternate(builder, total))
    return total


def make_row_across(width: int) -> Any:
    """Makes y[:width] = start[:width] + sum over listed runs of w run @ x run, for one row.

    The function takes the addresses of three int64 lists, where the row's runs of x lie, where
    those of w, and their lengths in floats, the number of runs, the distance in floats from one
    output's weights to the next one's, and the addresses of start and y. `width` is a power of two
    up to LANES. Nothing behind the end of a run is read.
    """
    vec = ir.VectorType(F32, LANES)

    @intrinsic
    def row(
        typingctx: Any, xs: Any, ws: Any, lengths: Any, num: Any, ldc: Any, start: Any, y: Any
    ) -> Any:
        signature = types.void(*[types.int64] * 7)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            xs, ws, lengths, num, ldc, start, y = arguments
            xs, ws, lengths = (pointer(builder, at, I64) for at in (xs, ws, lengths))
            fma = function(builder, "fma", vec, 3)

            def add_products(x: Any, w: Any, sums: list[Any], count: Any | None) -> list[Any]:
                def read(at: Any) -> Any:
                    if count is None:
                        return load(builder, at, 0, vec)
                    return load_first(builder, at, count, vec)

                inputs, new = read(x), []
                for total in sums:
                    new.append(builder.call(fma, [inputs, read(w), total]))
                    w = builder.gep(w, [ldc])
                return new

            def step(_: Any, values: list[Any]) -> list[Any]:
                *sums, x, w = values
                new = add_products(x, w, sums, None)
                return [*new, *(builder.gep(end, [I64(LANES)]) for end in (x, w))]

            def run(q: Any, sums: list[Any]) -> list[Any]:
                x = pointer(builder, builder.load(builder.gep(xs, [q])))
                w = pointer(builder, builder.load(builder.gep(ws, [q])))
                length = builder.load(builder.gep(lengths, [q]))
                steps = builder.sdiv(length, I64(LANES))
                *sums, x, w = counted_loop(builder, steps, [*sums, x, w], step)
                rest = builder.srem(length, I64(LANES))
                # Once, or not at all.
                is_rest = builder.zext(builder.icmp_signed(">", rest, I64(0)), I64)
                return counted_loop(
                    builder, is_rest, sums, lambda _, own: add_products(x, w, own, rest)
                )

            zeros = [ir.Constant(vec, [0.0] * LANES)] * width
            total = lane_sums(builder, counted_loop(builder, num, zeros, run))
            first = load(builder, pointer(builder, start), 0, total.type)
            store(builder, pointer(builder, y), 0, builder.fadd(first, total))
            return context.get_dummy_value()

        return signature, codegen

    return row
