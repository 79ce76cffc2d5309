"""Whole numbers in vectors and words: the highest of many, and the bits of masks."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.vectors import I64, counted_loop, halves, load, pointer


@intrinsic
def highest(typingctx: Any, address: Any, num_vectors: Any) -> Any:
    """The highest of int64 numbers at an address, 16 for each of at least one vector."""
    vec = ir.VectorType(I64, 16)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address, num_vectors = arguments
        at = pointer(builder, address, I64)

        def higher(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_signed(">", a, b), a, b)

        def one(index: Any, values: list[Any]) -> list[Any]:
            place = builder.gep(at, [builder.mul(index, I64(16))])
            return [higher(values[0], load(builder, place, 0, vec))]

        (best,) = counted_loop(builder, num_vectors, [load(builder, at, 0, vec)], one)
        while best.type.count > 1:
            best = higher(*halves(builder, best))
        return builder.extract_element(best, I64(0))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def load_bits(typingctx: Any, address: Any) -> Any:
    """Reads eight bytes that are 0 or 1 as the eight bits of a number, the first as the lowest."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        word = builder.load(pointer(builder, arguments[0], I64))
        word.align = 1
        # Each byte's bit is moved to its place in the highest byte; no two meet anywhere.
        gathered = builder.mul(word, I64(0x0102040810204080))
        return builder.lshr(gathered, I64(56))

    return types.uint64(types.int64), codegen


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
