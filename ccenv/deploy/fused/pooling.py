"""What a policy's cheap look is made of, and Gumbel noise; addresses are int64."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.floats import add_floats, copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer
from ccenv.sparse.cpu.codegen.vectors import F32, alternate, load, log_of, pointer, store


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
