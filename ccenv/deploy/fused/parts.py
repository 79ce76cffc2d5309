"""What instructions are made of: averages, norms, Gumbel noise, sums of tables' rows, keys.

A map of embeddings is a sum of rows of tables, one table a place of the window: look-ups and
additions alone. Symbols are checked once, by `symbols_fit`, before anything is looked up.
Addresses are int64, as everywhere in the CPU kernels.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled, inlined
from ccenv.sparse.cpu.codegen.floats import add_floats, copy_floats
from ccenv.sparse.cpu.codegen.vectors import (
    BUSY,
    F32,
    I64,
    add_up,
    alternate,
    counted_loop,
    load,
    log_of,
    pointer,
    store,
    tiles,
)
from ccenv.sparse.cpu.row_lists import mask_word


def make_pool(window: int, columns: int) -> Any:
    """Makes averages of neighbouring windows: `columns` floats of `window` lines, one vector each.

    The function takes the address of the first line, the floats from line to line, and where the
    averages go.
    """
    vec = ir.VectorType(F32, columns)
    windows = columns // window

    @intrinsic
    def average(typingctx: Any, source: Any, ld: Any, target: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            source, ld, target = arguments
            line = pointer(builder, source)
            total = load(builder, line, 0, vec)
            for _ in range(window - 1):
                line = builder.gep(line, [ld])
                total = builder.fadd(total, load(builder, line, 0, vec))
            while total.type.count > windows:
                total = builder.fadd(*alternate(builder, total))
            share = ir.Constant(total.type, [1 / window**2] * windows)
            store(builder, pointer(builder, target), 0, builder.fmul(total, share))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return average


pool_4x16, pool_2x16, pool_2x8 = make_pool(4, 16), make_pool(2, 16), make_pool(2, 8)


@compiled
def columns_at_once(width: int, tall: int, wide: int) -> int:
    """Columns that `pool_whole` takes at once, 0 where windows do not fill lines of its kinds."""
    if tall != wide or width % wide != 0:
        return 0
    if wide == 1:
        return width
    if wide in (2, 4) and width >= 16:
        return 16
    return 8 if wide == 2 and width >= 8 else 0


@compiled
def pool_whole(source: int, target: int, width: int, window: int, columns: int) -> None:
    """Averages a line of whole windows, some columns at once.

    Where these do not come out even, the last ones are averaged again. Windows are 4 x 4 in images
    of 28 and 32 pixels, 2 x 2 in those of half that size.
    """
    if window == 1:
        copy_floats(source, target, width)
        return
    # No range: its length would be a division, which takes longer than a line.
    first = 0
    while first < width:
        c = min(first, width - columns)
        first += columns
        if window == 4:
            pool_4x16(source + 4 * c, width, target + c)
        elif columns == 16:
            pool_2x16(source + 4 * c, width, target + 2 * c)
        else:
            pool_2x8(source + 4 * c, width, target + 2 * c)


@compiled
def pool_line(
    source: int, target: int, width: int, tallness: int, wide: int, line: Any, at_line: int
) -> None:
    """Averages a line of windows of any size; `line` is room for its pixels added down."""
    pooled = carray(as_pointer(target), (-(-width // wide),), np.float32)
    # Whole vectors at a time.
    copy_floats(source, at_line, width)
    for h in range(1, tallness):
        add_floats(source + 4 * h * width, at_line, width)
    whole = width // wide
    share = np.float32(1) / np.float32(tallness * wide)
    for j in range(whole):
        k = j * wide
        total = np.float32(0)
        for w in range(k, k + wide):
            total += line[w]
        pooled[j] = total * share
    if whole < len(pooled):
        total = np.float32(0)
        for w in range(whole * wide, width):
            total += line[w]
        pooled[whole] = total / np.float32(tallness * (width - whole * wide))


@compiled
def pool_images(
    source: int,
    target: int,
    rows: int,
    ld: int,
    channels: int,
    height: int,
    width: int,
    tall: int,
    wide: int,
) -> None:
    """Averages windows of `tall` x `wide` pixels, smaller at the far edges; `ld` floats a row."""
    across = -(-width // wide)
    columns = columns_at_once(width, tall, wide)
    line = np.empty(width, np.float32)
    at_line = np.int64(line.ctypes.data)
    at = source
    for b in range(rows):
        to = target + 4 * b * ld
        for _ in range(channels):
            top = 0
            while top < height:
                tallness = min(tall, height - top)
                if columns and tallness == tall:
                    pool_whole(at, to, width, wide, columns)
                else:
                    pool_line(at, to, width, tallness, wide, line, at_line)
                top += tall
                at += 4 * width * tallness
                to += 4 * across


@compiled
def block_norms(
    source: int, mask: int, target: int, rows: int, ld: int, blocks: int, size: int, apart: int
) -> None:
    """Root mean square of each block of a row; 0 of a skipped one, which is not read.

    `mask` is the address of bool [rows, blocks]. Blocks begin `apart` floats apart; `ld` floats are
    from row to row of the target.
    """
    hidden = carray(as_pointer(source), (rows, blocks, apart), np.float32)
    bits = carray(as_pointer(mask), (rows, blocks), np.uint8)
    norms = carray(as_pointer(target), ((rows - 1) * ld + blocks,), np.float32)
    for b in range(rows):
        for j in range(blocks):
            total = np.float32(0)
            for c in range(size if bits[b, j] else 0):
                total += hidden[b, j, c] * hidden[b, j, c]
            norms[b * ld + j] = np.sqrt(total / np.float32(size))


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
def add_up_row(symbols: int, places: int, table: int, apart: int, to: int, size: int) -> None:
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
def key_of_window(window: int, length: int, num_keys: int, num_symbols: int) -> int:
    """The last `num_keys` symbols of a window as one number, the last one counting least."""
    found = carray(as_pointer(window), (length,), np.int64)
    entry = np.int64(0)
    for place in range(length - num_keys, length):
        entry = entry * num_symbols + found[place]
    return entry
