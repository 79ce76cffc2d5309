"""Whole numbers in vectors and words: the highest of many, and the bits of masks."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.vectors import I8, I64, counted_loop, halves, load, pointer, splat


@intrinsic
def highest_below(typingctx: Any, address: Any, num_vectors: Any, limit: Any) -> Any:
    """The highest of int64 numbers below a limit, 16 at an address for each vector.

    The lowest int64 where there is none.
    """
    vec = ir.VectorType(I64, 16)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address, num_vectors, limit = arguments
        at = pointer(builder, address, I64)

        def higher(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_signed(">", a, b), a, b)

        lowest = ir.Constant(vec, [-(2**63)] * 16)
        limits = splat(builder, limit, vec)

        def one(index: Any, values: list[Any]) -> list[Any]:
            found = load(builder, builder.gep(at, [builder.mul(index, I64(16))]), 0, vec)
            is_below = builder.icmp_signed("<", found, limits)
            return [higher(values[0], builder.select(is_below, found, lowest))]

        (best,) = counted_loop(builder, num_vectors, [lowest], one)
        while best.type.count > 1:
            best = higher(*halves(builder, best))
        return builder.extract_element(best, I64(0))

    return types.int64(*[types.int64] * 3), codegen


def make_load_bits(count: int) -> Any:
    """Makes the bits of a number from `count` bytes at an address, the first as the lowest.

    A byte that is not 0 is a 1.
    """
    vec = ir.VectorType(I8, count)

    @intrinsic
    def load_bits(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            found = builder.load(pointer(builder, arguments[0], vec))
            found.align = 1
            is_set = builder.icmp_unsigned("!=", found, ir.Constant(vec, [0] * count))
            return builder.zext(builder.bitcast(is_set, ir.IntType(count)), I64)

        return types.uint64(types.int64), codegen

    return load_bits


@intrinsic
def lowest_bit(typingctx: Any, word: Any) -> Any:
    """Number of the lowest bit that is set."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), codegen


@intrinsic
def count_bits(typingctx: Any, word: Any) -> Any:
    """How many bits are set."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), codegen
