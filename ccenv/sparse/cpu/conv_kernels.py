"""Convolutions on kept channel groups: addresses of maps, weights and masks -> maps in place.

Each image's kept input channels are unfolded, a strip of output rows at a time, to a matrix that
stays in cache: a row for each channel and place under the kernel, a column for each pixel. A pair
of kept groups is then a small product, by the tiles of linear layers, with output channels for rows
and pixels for units. No pair is computed that an image does not keep.

Maps lie as [batch, channels, height, width], weights as [out, in, kernel, kernel], contiguous;
addresses are int64, as everywhere here.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled
from ccenv.sparse.cpu.codegen.floats import call_activate, copy_floats, copy_rows, split_floats
from ccenv.sparse.cpu.tiles import TILE_COLUMNS, TILE_K, times_block

# Floats of an unfolded strip: it stays in the second-level cache.
STRIP_FLOATS = 1 << 15
# Rows of a strip lie so many floats further apart than they are long: with a power of two between
# them a column would lie in one set of the cache.
GAP = 16


class ConvShape(NamedTuple):
    """Sizes of a convolution on channel groups."""

    in_blocks: int
    """input groups; 1 without a mask."""
    in_size: int
    """channels of one."""
    height: int
    """input rows."""
    width: int
    """input columns."""
    out_blocks: int
    """output groups; 1 without a mask."""
    out_size: int
    """channels of one."""
    out_height: int
    """output rows."""
    out_width: int
    """output columns."""
    kernel: int
    """rows and columns of the kernel."""
    stride: int
    """pixels from place to place."""
    padding: int
    """zero pixels around the map."""


@compiled
def padded_size(s: ConvShape) -> tuple[int, int]:
    """Rows and columns of one phase of a padded map; see `pad_phases`."""
    more = (s.kernel - 1) // s.stride
    return s.out_height + more, s.out_width + more


@compiled
def fill_floats(to: int, size: int, value: float) -> None:
    """Sets floats at an address to one value."""
    carray(as_pointer(to), (size,), np.float32)[:] = value


@compiled
def pad_phases(x: int, to: int, s: ConvShape) -> None:
    """Copies one channel with zeros around it, every stride-th row and column together.

    So what a place under the kernel sees of an output row lies side by side. `to` is [stride,
    stride, rows, columns] of `padded_size`.
    """
    rows, columns = padded_size(s)
    fill_floats(to, s.stride * s.stride * rows * columns, 0)
    for y in range(s.height):
        row = (y + s.padding) // s.stride
        if row >= rows:
            break
        phase = (y + s.padding) % s.stride * s.stride
        source, place = x + 4 * y * s.width, to + 4 * (phase * rows + row) * columns
        if s.stride == 1:
            copy_floats(source, place + 4 * s.padding, min(s.width, columns - s.padding))
        elif s.stride == 2:
            # Even columns of the map lie in this phase, odd ones in the other.
            even, odd = s.padding % 2 * rows * columns, (s.padding + 1) % 2 * rows * columns
            even, odd = even + s.padding // 2, odd + (s.padding + 1) // 2
            num_even = min((s.width + 1) // 2, columns - s.padding // 2)
            num_odd = min(s.width // 2, columns - (s.padding + 1) // 2)
            split_floats(source, place + 4 * even, place + 4 * odd, num_even, num_odd)
        else:
            line = carray(as_pointer(source), (s.width,), np.float32)
            for c in range(s.width):
                px, column = (c + s.padding) % s.stride, (c + s.padding) // s.stride
                if column < columns:
                    at = place + 4 * (px * rows * columns + column)
                    carray(as_pointer(at), (1,), np.float32)[0] = line[c]


@compiled
def unfold(padded: int, to: int, ld: int, first: int, last: int, s: ConvShape) -> None:
    """Writes to[(ky, kx), (oy, ox)] of one padded channel, for output rows first to last.

    Rows of `to` are `ld` floats apart.
    """
    rows, columns = padded_size(s)
    for ky in range(s.kernel):
        for kx in range(s.kernel):
            phase = ky % s.stride * s.stride + kx % s.stride
            source = padded + 4 * (
                (phase * rows + first + ky // s.stride) * columns + kx // s.stride
            )
            copy_rows(source, columns, to, s.out_width, last - first, s.out_width)
            to += 4 * ld


@compiled
def list_kept(mask: int, row: int, blocks: int, listed: Any) -> int:
    """Lists the blocks that a row keeps, all without a mask; returns how many."""
    keep = carray(as_pointer(mask), ((row + 1) * blocks,), np.uint8)
    num = 0
    for i in range(blocks):
        if mask == 0 or keep[row * blocks + i]:
            listed[num] = i
            num += 1
    return num


@compiled
def start_maps(y: int, bias: int, writes: Any, num: int, s: ConvShape) -> None:
    """Sets one image's listed groups to their biases, or zero without, and all others to zero."""
    pixels, done = s.out_height * s.out_width, 0
    for q in range(num + 1):
        upto = writes[q] if q < num else s.out_blocks
        fill_floats(y + 4 * done * s.out_size * pixels, (upto - done) * s.out_size * pixels, 0)
        done = upto + 1
        if q < num:
            for c in range(upto * s.out_size, done * s.out_size):
                value = np.float32(0)
                if bias != 0:
                    value = carray(as_pointer(bias + 4 * c), (1,), np.float32)[0]
                fill_floats(y + 4 * c * pixels, pixels, value)


@compiled
def strip_rows(num: int, s: ConvShape) -> int:
    """Output rows of a strip of so many input groups."""
    of_row = max(1, num) * s.in_size * s.kernel * s.kernel * s.out_width
    return max(1, min(s.out_height, STRIP_FLOATS // of_row))


@compiled
def columns_size(s: ConvShape) -> int:
    """Floats that the unfolded strip of any image needs."""
    num_k = s.in_blocks * s.in_size * s.kernel * s.kernel
    return max(STRIP_FLOATS, num_k * s.out_width) + num_k * GAP


@compiled
def padded_floats(s: ConvShape) -> int:
    """Floats of a padded image, from cache line to cache line."""
    rows, columns = padded_size(s)
    size = s.in_blocks * s.in_size * s.stride * s.stride * rows * columns
    return -(-size // 16) * 16


@compiled
def room(s: ConvShape) -> int:
    """Floats that `convolve` works in."""
    return padded_floats(s) + columns_size(s)


@compiled
def convolve(
    x: int,
    w: int,
    bias: int,
    in_mask: int,
    out_mask: int,
    y: int,
    s: ConvShape,
    activation: int,
    work: int,
    start: int,
    stop: int,
) -> None:
    """Writes activation(convolution + bias) of kept groups, else zero, of images start to stop.

    Masks and bias are 0 for none; `work` is the address of `room` floats.
    """
    num_k, pixels = s.in_size * s.kernel * s.kernel, s.out_height * s.out_width
    rows, columns = padded_size(s)
    of_channel = s.stride * s.stride * rows * columns
    tile = np.empty(TILE_K * TILE_COLUMNS, np.float32)
    at_padded, at_strip = work, work + 4 * padded_floats(s)
    reads, writes = np.empty(s.in_blocks, np.int64), np.empty(s.out_blocks, np.int64)
    pairs = np.arange(s.out_size)
    pairs += pairs << 32
    at_pairs = np.int64(pairs.ctypes.data)
    for b in range(start, stop):
        num = list_kept(in_mask, b, s.in_blocks, reads)
        wanted = list_kept(out_mask, b, s.out_blocks, writes)
        at_maps = y + 4 * b * s.out_blocks * s.out_size * pixels
        start_maps(at_maps, bias, writes, wanted, s)
        if wanted == 0:
            continue
        for c in range(num * s.in_size):
            channel = (b * s.in_blocks + reads[c // s.in_size]) * s.in_size + c % s.in_size
            pad_phases(x + 4 * channel * s.height * s.width, at_padded + 4 * c * of_channel, s)
        height = strip_rows(num, s)
        ld = height * s.out_width + GAP
        for first in range(0, s.out_height, height):
            last = min(s.out_height, first + height)
            for c in range(num * s.in_size):
                to = at_strip + 4 * c * s.kernel * s.kernel * ld
                unfold(at_padded + 4 * c * of_channel, to, ld, first, last, s)
            for j in writes[:wanted]:
                to = at_maps + 4 * (j * s.out_size * pixels + first * s.out_width)
                for q in range(num):
                    at = w + 4 * num_k * (j * s.out_size * s.in_blocks + reads[q])
                    ldw, strip = 4 * num_k * s.in_blocks, at_strip + 4 * q * num_k * ld
                    width = (last - first) * s.out_width
                    times_block(
                        at_pairs,
                        s.out_size,
                        at,
                        ldw,
                        strip,
                        ld,
                        1,
                        to,
                        4 * pixels,
                        num_k,
                        width,
                        tile,
                    )
        for j in writes[:wanted]:
            call_activate(at_maps + 4 * j * s.out_size * pixels, s.out_size * pixels, activation)
    # Keep what was read by its address alive: numba frees an array after its last use.
    pairs[:1] = 0
