"""Vector code for weights that lie output by output: a row's sums as dot products along inputs.

Every output unit has a vector of partial sums; vectors are added up over their lanes once, behind
the last block, as many units at a time as a vector has lanes.
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
    pointer,
    store,
)


def lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of as many vectors as each has lanes, in their order."""
    while len(vectors) > 1:
        pairs = [joined(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        vectors = [builder.fadd(*alternate(builder, pair)) for pair in pairs]
    return vectors[0]


def make_row_across() -> Any:
    """Makes y[:LANES] = start[:LANES] + sum over listed blocks of w block @ x block, for one row.

    The function takes the addresses of two int64 lists, where the row's blocks of x lie and where
    the blocks of w, their length, the number of k in a block, a multiple of LANES, the distance
    in floats from one output's weights to the next one's, and the addresses of start and y.
    """
    vec = ir.VectorType(F32, LANES)

    @intrinsic
    def row(
        typingctx: Any, xs: Any, ws: Any, num: Any, num_k: Any, ldc: Any, start: Any, y: Any
    ) -> Any:
        signature = types.void(*[types.int64] * 7)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            xs, ws, num, num_k, ldc, start, y = arguments
            xs, ws = pointer(builder, xs, I64), pointer(builder, ws, I64)
            steps, fma = builder.sdiv(num_k, I64(LANES)), function(builder, "fma", vec, 3)

            def step(_: Any, values: list[Any]) -> list[Any]:
                *sums, x, w = values
                inputs, new, at = load(builder, x, 0, vec), [], w
                for total in sums:
                    new.append(builder.call(fma, [inputs, load(builder, at, 0, vec), total]))
                    at = builder.gep(at, [ldc])
                return [*new, *(builder.gep(end, [I64(LANES)]) for end in (x, w))]

            def block(q: Any, sums: list[Any]) -> list[Any]:
                x = pointer(builder, builder.load(builder.gep(xs, [q])))
                w = pointer(builder, builder.load(builder.gep(ws, [q])))
                return counted_loop(builder, steps, [*sums, x, w], step)[:-2]

            zeros = [ir.Constant(vec, [0.0] * LANES)] * LANES
            total = lane_sums(builder, counted_loop(builder, num, zeros, block))
            first = load(builder, pointer(builder, start), 0, vec)
            store(builder, pointer(builder, y), 0, builder.fadd(first, total))
            return context.get_dummy_value()

        return signature, codegen

    return row
