"""Whole numbers in vectors and words: the highest of many, and the bits of masks."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.vectors import (
    F32,
    I8,
    I32,
    I64,
    counted_loop,
    halves,
    load,
    pointer,
    splat,
    store,
)


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


@intrinsic
def sort_keys(typingctx: Any, scores: Any, num_vectors: Any, count: Any, keys: Any) -> Any:
    """Whole numbers in the order of `count` floats, the first of equal ones highest.

    Sixteen floats at an address for each vector -> int64 at another. NaN counts as highest; the
    lower half of a key is minus its number; beyond `count` keys are the lowest int64.
    """
    vec, ints = ir.VectorType(F32, 16), ir.VectorType(I32, 16)
    wide = ir.VectorType(I64, 16)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        scores, num_vectors, count, keys = arguments
        scores, keys = pointer(builder, scores), pointer(builder, keys, I64)
        counts = splat(builder, count, wide)
        thirty_one, lower = ir.Constant(ints, [31] * 16), ir.Constant(ints, [2**31 - 1] * 16)

        def one(index: Any, values: list[Any]) -> list[Any]:
            start = builder.mul(index, I64(16))
            # Of the zeros only the positive one is left.
            found = builder.fadd(
                load(builder, builder.gep(scores, [start]), 0, vec), ir.Constant(vec, [0.0] * 16)
            )
            word = builder.bitcast(found, ints)
            # A float's bits below its sign are in order; of negative numbers in the other one.
            is_negative = builder.ashr(word, thirty_one)
            order = builder.xor(word, builder.and_(is_negative, lower))
            order = builder.select(builder.fcmp_unordered("uno", found, found), lower, order)
            lanes = ir.Constant(wide, list(range(16)))
            number = builder.add(splat(builder, start, wide), lanes)
            upper = builder.shl(builder.sext(order, wide), ir.Constant(wide, [32] * 16))
            key = builder.sub(upper, number)
            is_one = builder.icmp_signed("<", number, counts)
            key = builder.select(is_one, key, ir.Constant(wide, [-(2**63)] * 16))
            store(builder, builder.gep(keys, [start]), 0, key)
            return values

        counted_loop(builder, num_vectors, [], one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


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
