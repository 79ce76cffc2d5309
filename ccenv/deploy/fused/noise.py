"""Gumbel noise in vectors: (uniform numbers, scores) -> scores with noise, in place."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.vectors import F32, load, log_of, pointer, store

# Their double logarithm is finite in float32.
SMALLEST_DRAW, LARGEST_DRAW = 1e-20, 1 - 1e-7


def make_gumbel(width: int) -> Any:
    """Makes scores[:width] -= log(-log(u[:width])), a function of the addresses of u and scores."""
    vec = ir.VectorType(F32, width)

    @intrinsic
    def gumbel(typingctx: Any, uniform: Any, scores: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            uniform, scores = (pointer(builder, address) for address in arguments)
            low, high = (
                ir.Constant(vec, [limit] * width) for limit in (SMALLEST_DRAW, LARGEST_DRAW)
            )
            u = load(builder, uniform, 0, vec)
            u = builder.select(builder.fcmp_ordered("<", u, low), low, u)
            u = builder.select(builder.fcmp_ordered(">", u, high), high, u)
            noise = log_of(builder, builder.fneg(log_of(builder, u)))
            old = load(builder, scores, 0, vec)
            store(builder, scores, 0, builder.fsub(old, noise))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return gumbel


gumbel_16, gumbel_1 = make_gumbel(16), make_gumbel(1)
