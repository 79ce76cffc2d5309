"""Symbols in a compiled call: (windows of int64, tables) -> sums of rows, bits and keys.

A map of embeddings is a sum of rows of tables, one table a place of the window: look-ups and
additions alone. Symbols are checked once, by `symbols_fit`, before anything is looked up.
Addresses are int64, as everywhere in the CPU kernels.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.compiled import compiled, inlined
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer
from ccenv.sparse.cpu.codegen.vectors import (
    BUSY,
    I64,
    add_up,
    counted_loop,
    load,
    pointer,
    store,
    tiles,
)
from ccenv.sparse.cpu.row_lists import mask_word


def make_table_sum(width: int) -> Any:
    """Makes y[:width] = sum over places of the rows that the symbols there name, in registers.

    The function takes the address of the symbols, their number, the address of the first place's
    table, the floats from one place's table to the next one's and from row to row, and the address
    of y.
    """
    vec, offsets = tiles(width)
    count = len(offsets)
    unroll = max(1, BUSY // count)

    @intrinsic
    def table_sum(
        typingctx: Any, symbols: Any, places: Any, table: Any, apart: Any, ld: Any, y: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            symbols, places, table, apart, ld, y = arguments

            def accumulate(values: list[Any], parts: int) -> list[Any]:
                *sums, at_symbol, at_table = values
                new = []
                for part in range(parts):
                    symbol = builder.load(builder.gep(at_symbol, [I64(part)]))
                    row = builder.gep(at_table, [builder.mul(symbol, ld)])
                    own = sums[part * count : (part + 1) * count]
                    found = [load(builder, row, offset, vec) for offset in offsets]
                    new += [builder.fadd(a, b) for a, b in zip(own, found, strict=True)]
                    at_table = builder.gep(at_table, [apart])
                return [*new, *sums[len(new) :], builder.gep(at_symbol, [I64(parts)]), at_table]

            steps = builder.sdiv(places, I64(unroll))
            rest = builder.sub(places, builder.mul(steps, I64(unroll)))
            zeros = [ir.Constant(vec, [0.0] * vec.count)] * (unroll * count)
            values = [*zeros, pointer(builder, symbols, I64), pointer(builder, table)]
            values = counted_loop(builder, steps, values, lambda _, v: accumulate(v, unroll))
            values = counted_loop(builder, rest, values, lambda _, v: accumulate(v, 1))
            totals = add_up(builder, values[:-2], count)
            for offset, total in zip(offsets, totals, strict=True):
                store(builder, pointer(builder, y), offset, total)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return table_sum


WORD = 64
"""Blocks whose bits are looked at together."""
sum_64, sum_32, sum_16 = make_table_sum(64), make_table_sum(32), make_table_sum(16)
sum_8, sum_4, sum_1 = make_table_sum(8), make_table_sum(4), make_table_sum(1)


@compiled
def symbols_fit(symbols: int, count: int, num_symbols: int) -> bool:
    """Whether all of `count` int64 numbers at an address are in 0..num_symbols - 1."""
    found = carray(as_pointer(symbols), (count,), np.uint64)
    wrong = np.uint64(0)
    for n in range(count):
        # As unsigned numbers negative ones are huge.
        wrong |= np.uint64(found[n] >= np.uint64(num_symbols))
    return wrong == 0


@inlined
def kept_blocks(mask: int, row: int, blocks: int, start: int) -> Any:
    """Up to 64 bits from a block on, 1 of one that the row keeps; without a mask it keeps all."""
    count = min(WORD, blocks - start)
    if mask != 0:
        return mask_word(mask + row * blocks + start, count)
    return ~np.uint64(0) >> np.uint64(WORD - count)


@compiled
def sum_row(symbols: int, places: int, table: int, apart: int, to: int, size: int) -> None:
    """Writes the sum of `places` rows of `size` floats, one of each place's table."""
    c = 0
    while c < size:
        left, at, y = size - c, table + 4 * c, to + 4 * c
        if left >= 64:
            sum_64(symbols, places, at, apart, size, y)
            c += 64
        elif left >= 32:
            sum_32(symbols, places, at, apart, size, y)
            c += 32
        elif left >= 16:
            sum_16(symbols, places, at, apart, size, y)
            c += 16
        elif left >= 8:
            sum_8(symbols, places, at, apart, size, y)
            c += 8
        elif left >= 4:
            sum_4(symbols, places, at, apart, size, y)
            c += 4
        else:
            sum_1(symbols, places, at, apart, size, y)
            c += 1


@compiled
def entry_of(window: int, length: int, num_keys: int, num_symbols: int) -> int:
    """The last `num_keys` symbols of a window as one number, the last one counting least."""
    found = carray(as_pointer(window), (length,), np.int64)
    entry = np.int64(0)
    for place in range(length - num_keys, length):
        entry = entry * num_symbols + found[place]
    return entry
