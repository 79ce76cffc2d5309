"""What instructions are made of: averages, norms, Gumbel noise, sums of tables' rows, keys.

A map of embeddings is a sum of rows of tables, one table a place of the window: look-ups and
additions alone. Symbols are checked once, by `symbols_fit`, before anything is looked up.
Addresses are int64, as everywhere in the CPU kernels.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled, emitted, inlined
from ccenv.sparse.cpu.codegen.floats import add_floats, copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import make_walk
from ccenv.sparse.cpu.codegen.vectors import (
    BUSY,
    F32,
    I64,
    add_up,
    all_lanes,
    alternate,
    counted_loop,
    in_pieces,
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

    @emitted()
    def average(builder: Any, source: Any, ld: Any, target: Any) -> None:
        line = pointer(builder, source)
        total = load(builder, line, 0, vec)
        for _ in range(window - 1):
            line = builder.gep(line, [ld])
            total = builder.fadd(total, load(builder, line, 0, vec))
        while total.type.count > windows:
            total = builder.fadd(*alternate(builder, total))
        share = all_lanes(total.type, 1 / window**2)
        store(builder, pointer(builder, target), 0, builder.fmul(total, share))

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


def with_gumbel(builder: Any, u: Any, scores: Any) -> Any:
    """Scores with Gumbel noise of uniform draws in [0, 1): scores - log(-log(u))."""
    low, high = (all_lanes(u.type, limit) for limit in (SMALLEST_DRAW, LARGEST_DRAW))
    u = builder.select(builder.fcmp_ordered("<", u, low), low, u)
    u = builder.select(builder.fcmp_ordered(">", u, high), high, u)
    noise = log_of(builder, builder.fneg(log_of(builder, u)))
    return builder.fsub(scores, noise)


add_noise = make_walk(with_gumbel, (16, 1))


@emitted()
def sum_of_rows(
    builder: Any, symbols: Any, places: Any, table: Any, apart: Any, ld: Any, y: Any
) -> None:
    """y[:ld] = sum over places of the rows of `ld` floats that the symbols there name.

    Takes the address of the symbols, their number, the address of the first place's table, the
    floats from one place's table to the next one's and of a row, and the address of y. Up to 64
    sums stay in registers.
    """
    symbols, table, y = pointer(builder, symbols, I64), pointer(builder, table), pointer(builder, y)

    def columns(column: Any, wide: int) -> None:
        vec, offsets = tiles(wide)
        count = len(offsets)
        unroll = max(1, BUSY // count)

        def accumulate(values: list[Any], parts: int) -> list[Any]:
            *sums, at_symbol, at_table = values
            new = []
            for part in range(parts):
                symbol = builder.load(builder.gep(at_symbol, [I64(part)]))
                row = builder.gep(at_table, [builder.mul(symbol, ld)])
                sums_of_part = sums[part * count : (part + 1) * count]
                loaded = [load(builder, row, offset, vec) for offset in offsets]
                new += [builder.fadd(a, b) for a, b in zip(sums_of_part, loaded, strict=True)]
                at_table = builder.gep(at_table, [apart])
            return [*new, *sums[len(new) :], builder.gep(at_symbol, [I64(parts)]), at_table]

        steps = builder.sdiv(places, I64(unroll))
        rest = builder.sub(places, builder.mul(steps, I64(unroll)))
        zeros = [all_lanes(vec, 0.0)] * (unroll * count)
        values = [*zeros, symbols, builder.gep(table, [column])]
        values = counted_loop(builder, steps, values, lambda _, v: accumulate(v, unroll))
        values = counted_loop(builder, rest, values, lambda _, v: accumulate(v, 1))
        to = builder.gep(y, [column])
        for offset, total in zip(offsets, add_up(builder, values[:-2], count), strict=True):
            store(builder, to, offset, total)

    in_pieces(builder, ld, (64, 32, 16, 8, 4, 1), columns)


WORD = 64
"""Blocks whose bits are looked at together."""


@compiled
def softplus(value: float) -> float:
    """log(1 + exp(value)): minus the logarithm of a sigmoid of minus it."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@compiled
def log_sum(one: float, other: float) -> float:
    """The logarithm of a sum of two numbers, by their logarithms."""
    return max(one, other) + math.log1p(math.exp(-abs(one - other)))


@compiled
def symbols_fit(symbols: int, count: int, num_symbols: int) -> bool:
    """Whether all of `count` int64 numbers at an address are in 0..num_symbols - 1."""
    values = carray(as_pointer(symbols), (count,), np.uint64)
    wrong = np.uint64(0)
    for n in range(count):
        # As unsigned numbers negative ones are huge.
        wrong |= np.uint64(values[n] >= np.uint64(num_symbols))
    return wrong == 0


@inlined
def kept_blocks(mask: int, row: int, blocks: int, start: int) -> Any:
    """Up to 64 bits from a block on, 1 of one that the row keeps; without a mask it keeps all."""
    count = min(WORD, blocks - start)
    if mask != 0:
        return mask_word(mask + row * blocks + start, count)
    return ~np.uint64(0) >> np.uint64(WORD - count)


@compiled
def key_of_window(window: int, length: int, num_keys: int, num_symbols: int) -> int:
    """The last `num_keys` symbols of a window as one number, the last one counting least."""
    values = carray(as_pointer(window), (length,), np.int64)
    entry = np.int64(0)
    for place in range(length - num_keys, length):
        entry = entry * num_symbols + values[place]
    return entry
