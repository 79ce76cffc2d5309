"""What a policy's cheap look is made of: images -> averages of pixels, activations -> norms.

Addresses are int64, as everywhere in the CPU kernels.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ccenv.sparse.compiled import compiled
from ccenv.sparse.panels import as_pointer
from ccenv.sparse.tiles import add_floats, copy_floats
from ccenv.sparse.vectors import F32, I32, load, pointer, store


@intrinsic
def pool_4x16(typingctx: Any, source: Any, ld: Any, target: Any) -> Any:
    """Averages of four windows of 4 x 4: sixteen floats of four lines, `ld` floats apart."""
    vec = ir.VectorType(F32, 16)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        source, ld, target = arguments
        line = pointer(builder, source)
        total = load(builder, line, 0, vec)
        for _ in range(3):
            line = builder.gep(line, [ld])
            total = builder.fadd(total, load(builder, line, 0, vec))
        while total.type.count > 4:
            total = neighbours_added(builder, total)
        share = ir.Constant(total.type, [1 / 16] * 4)
        store(builder, pointer(builder, target), 0, builder.fmul(total, share))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen


def neighbours_added(builder: Any, vector: Any) -> Any:
    """Sums of the lanes 0 and 1, 2 and 3, and so on: half as many lanes."""
    half, nothing = vector.type.count // 2, ir.Constant(vector.type, ir.Undefined)
    lanes = ir.VectorType(I32, half)
    even, odd = (
        builder.shuffle_vector(
            vector, nothing, ir.Constant(lanes, [2 * lane + first for lane in range(half)])
        )
        for first in (0, 1)
    )
    return builder.fadd(even, odd)


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
    pooled = carray(as_pointer(target), (rows, ld), np.float32)
    down, across = -(-height // tall), -(-width // wide)
    # One line of windows: its pixels are added down first, whole vectors at a time.
    line = np.empty(width, np.float32)
    at_line = np.int64(line.ctypes.data)
    for b in range(rows):
        for i in range(channels * down):
            top = i % down * tall
            tallness = min(tall, height - top)
            at = source + 4 * width * ((b * channels + i // down) * height + top)
            if wide == 4 and tallness == 4 and width >= 16 and width % 4 == 0:
                # Images of 28 and 32 pixels: sixteen columns at once, the last ones again. They
                # are four windows, so that c columns are c bytes of the target.
                for first in range(0, width, 16):
                    c = min(first, width - 16)
                    pool_4x16(at + 4 * c, width, target + 4 * (b * ld + i * across) + c)
                continue
            copy_floats(at, at_line, width)
            for h in range(1, tallness):
                add_floats(at + 4 * h * width, at_line, width)
            whole = width // wide
            share = np.float32(1) / np.float32(tallness * wide)
            for j in range(whole):
                k = j * wide
                total = np.float32(0)
                for w in range(k, k + wide):
                    total += line[w]
                pooled[b, i * across + j] = total * share
            if whole < across:
                total = np.float32(0)
                for w in range(whole * wide, width):
                    total += line[w]
                count = tallness * (width - whole * wide)
                pooled[b, i * across + whole] = total / np.float32(count)


@compiled
def block_norms(
    source: int, target: int, rows: int, ld: int, blocks: int, size: int, apart: int
) -> None:
    """Root mean square of each block of a row.

    Blocks begin `apart` floats apart; `ld` floats are from row to row of the target.
    """
    hidden = carray(as_pointer(source), (rows, blocks, apart), np.float32)
    norms = carray(as_pointer(target), ((rows - 1) * ld + blocks,), np.float32)
    for b in range(rows):
        for j in range(blocks):
            total = np.float32(0)
            for c in range(size):
                total += hidden[b, j, c] * hidden[b, j, c]
            norms[b * ld + j] = np.sqrt(total / np.float32(size))
