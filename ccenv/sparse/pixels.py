"""Pixels as they are stored, bytes, to what a network reads: floats, averaged and standardised.

Addresses are int64, as everywhere in the CPU kernels.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ccenv.sparse.compiled import compiled, inlined
from ccenv.sparse.panels import as_pointer
from ccenv.sparse.vectors import F32, I8, I32, function, pointer, splat, store

LANES = 16


def load_whole(builder: Any, address: Any, vec: Any) -> Any:
    """Loads a vector of whole numbers from an address, aligned to a byte only."""
    found = builder.load(pointer(builder, address, vec))
    found.align = 1
    return found


def scale_and_store(builder: Any, numbers: Any, target: Any, factor: Any, shift: Any) -> None:
    """Stores whole numbers times a factor plus a shift, as floats."""
    vec = ir.VectorType(F32, numbers.type.count)
    fma = function(builder, "fma", vec, 3)
    factor, shift = (splat(builder, part, vec) for part in (factor, shift))
    scaled = builder.call(fma, [builder.uitofp(numbers, vec), factor, shift])
    store(builder, pointer(builder, target), 0, scaled)


@intrinsic
def sixteen(typingctx: Any, source: Any, target: Any, factor: Any, shift: Any) -> Any:
    """Sixteen bytes -> floats."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        source, target, factor, shift = arguments
        found = load_whole(builder, source, ir.VectorType(I8, LANES))
        numbers = builder.zext(found, ir.VectorType(I32, LANES))
        scale_and_store(builder, numbers, target, factor, shift)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, types.float32), codegen


@intrinsic
def eight_halved(typingctx: Any, source: Any, ld: Any, target: Any, factor: Any, shift: Any) -> Any:
    """Sixteen bytes of two lines, `ld` bytes apart -> eight averages over 2 x 2, as floats.

    Averages are rounded to whole numbers, halves to even ones, as `torch.round` does.
    """

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        source, ld, target, factor, shift = arguments
        vec = ir.VectorType(ir.IntType(16), LANES // 2)

        def constant(value: int) -> Any:
            return ir.Constant(vec, [value] * vec.count)

        # A number of 16 bits holds two neighbours.
        lines = [load_whole(builder, at, vec) for at in (source, builder.add(source, ld))]
        left = builder.add(*[builder.and_(line, constant(255)) for line in lines])
        right = builder.add(*[builder.lshr(line, constant(8)) for line in lines])
        four = builder.add(left, right)
        whole = builder.lshr(four, constant(2))
        up = builder.add(builder.and_(whole, constant(1)), constant(1))
        rounded = builder.lshr(builder.add(four, up), constant(2))
        numbers = builder.zext(rounded, ir.VectorType(I32, LANES // 2))
        scale_and_store(builder, numbers, target, factor, shift)
        return context.get_dummy_value()

    kinds = (types.int64, types.int64, types.int64, types.float32, types.float32)
    return types.void(*kinds), codegen


@inlined
def floats_of(source: int, target: int, size: int, factor: float, shift: float) -> None:
    """`size` bytes -> floats."""
    if size >= LANES:
        for first in range(0, size, LANES):
            # The last ones again, where vectors do not come out even.
            c = min(first, size - LANES)
            sixteen(source + c, target + 4 * c, factor, shift)
        return
    pixels = carray(as_pointer(source), (size,), np.uint8)
    floats = carray(as_pointer(target), (size,), np.float32)
    for c in range(size):
        floats[c] = np.float32(pixels[c]) * factor + shift


@inlined
def floats_of_half(source: int, target: int, width: int, factor: float, shift: float) -> None:
    """Two lines of `2 width` bytes -> `width` averages."""
    if 2 * width >= LANES:
        first = 0
        while first < 2 * width:
            c = min(first, 2 * width - LANES)
            first += LANES
            eight_halved(source + c, 2 * width, target + 2 * c, factor, shift)
        return
    pixels = carray(as_pointer(source), (2, 2 * width), np.uint8)
    floats = carray(as_pointer(target), (width,), np.float32)
    for c in range(width):
        four = 0
        for line in range(2):
            four += np.int64(pixels[line, 2 * c]) + np.int64(pixels[line, 2 * c + 1])
        rounded = (four + 1 + (four >> 2 & 1)) >> 2
        floats[c] = np.float32(rounded) * factor + shift


@compiled
def read_pixels(
    source: int,
    target: int,
    rows: int,
    channels: int,
    height: int,
    width: int,
    window: int,
    scales: int,
) -> None:
    """Writes float32 [rows, channels, height, width].

    From uint8 [rows, channels, window height, window width]; `window` is 1 or 2. Each channel has a
    factor and a shift: `scales` is the address of float32 [channels, 2].
    """
    scale = carray(as_pointer(scales), (channels, 2), np.float32)
    size = height * width
    for b in range(rows):
        for channel in range(channels):
            at = source + (b * channels + channel) * size * window * window
            to = target + 4 * (b * channels + channel) * size
            factor, shift = scale[channel, 0], scale[channel, 1]
            if window == 1:
                floats_of(at, to, size, factor, shift)
                continue
            for line in range(height):
                floats_of_half(at + 4 * line * width, to + 4 * line * width, width, factor, shift)
