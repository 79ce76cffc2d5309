"""Gradients of the convolution kernels: addresses of maps, weights and masks -> gradients in place.

Several callers may share a layer: each owns a range of input groups, their maps and their weights.
Every sum is made by one caller and in the order of images, so gradients do not depend on how many
share. Weights and their gradient lie as [in, kernel, kernel, out] here.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled
from ccenv.sparse.cpu.codegen.floats import add_floats, copy_floats
from ccenv.sparse.cpu.conv_kernels import (
    GAP,
    ConvShape,
    columns_size,
    fill_floats,
    list_kept,
    pad_phases,
    padded_size,
    strip_rows,
    unfold,
)
from ccenv.sparse.cpu.elementwise_kernels import slope_floats
from ccenv.sparse.cpu.tiles import TILE_COLUMNS, TILE_K, times_block


@compiled
def slopes_of_groups(
    y: int,
    grad_y: int,
    z: int,
    turned: int,
    grad_b: int,
    writes: Any,
    s: ConvShape,
    activation: int,
) -> None:
    """Gradients before the activation, of one image's listed groups: by channel and by pixel.

    z is [channels of listed groups, pixels + GAP], `turned` [groups, pixels, channels]; their sums
    over pixels are added to grad_b, unless that is 0.
    """
    pixels = s.out_height * s.out_width
    for q in range(len(writes)):
        for c in range(s.out_size):
            channel, row = writes[q] * s.out_size + c, q * s.out_size + c
            shift, at_row = 4 * channel * pixels, z + 4 * row * (pixels + GAP)
            slope_floats(y + shift, grad_y + shift, at_row, pixels, activation)
            to = carray(as_pointer(at_row), (pixels,), np.float32)
            at = turned + 4 * (q * s.out_size * pixels + c)
            by_pixel = carray(as_pointer(at), (pixels * s.out_size,), np.float32)
            total = np.float32(0)
            for p in range(pixels):
                by_pixel[p * s.out_size] = to[p]
                total += to[p]
            if grad_b != 0:
                carray(as_pointer(grad_b + 4 * channel), (1,), np.float32)[0] += total


@compiled
def fold(columns: int, ld: int, padded: int, first: int, last: int, s: ConvShape) -> None:
    """The transpose of `unfold`: adds columns to where they were read in a padded channel."""
    height, width = padded_size(s)
    for ky in range(s.kernel):
        for kx in range(s.kernel):
            phase = ky % s.stride * s.stride + kx % s.stride
            to = padded + 4 * ((phase * height + first + ky // s.stride) * width + kx // s.stride)
            for _ in range(first, last):
                add_floats(columns, to, s.out_width)
                to += 4 * width
                columns += 4 * s.out_width
            columns += 4 * (ld - (last - first) * s.out_width)


@compiled
def crop_phases(padded: int, to: int, s: ConvShape) -> None:
    """The transpose of `pad_phases`: one channel without the zeros around it."""
    rows, columns = padded_size(s)
    for y in range(s.height):
        line = carray(as_pointer(to + 4 * y * s.width), (s.width,), np.float32)
        row, phase = (y + s.padding) // s.stride, (y + s.padding) % s.stride * s.stride
        for x in range(s.width):
            column, px = (x + s.padding) // s.stride, (x + s.padding) % s.stride
            at = padded + 4 * (((phase + px) * rows + row) * columns + column)
            seen = row < rows and column < columns
            line[x] = carray(as_pointer(at), (1,), np.float32)[0] if seen else np.float32(0)


@compiled
def gather_weights(w: int, to: int, block: int, writes: Any, s: ConvShape) -> None:
    """Copies the weights of one input group and the listed output groups side by side."""
    num_k, total = s.in_size * s.kernel * s.kernel, s.out_blocks * s.out_size
    for k in range(block * num_k, (block + 1) * num_k):
        for j in writes:
            copy_floats(w + 4 * (k * total + j * s.out_size), to, s.out_size)
            to += 4 * s.out_size


@compiled
def add_weight_gradient(
    x: int,
    turned: int,
    grad_w: int,
    writes: Any,
    padded: int,
    strip: int,
    pairs: int,
    tile: Any,
    s: ConvShape,
) -> None:
    """Adds one image's part to the gradient of one input group's weights.

    `x` and `grad_w` are where the group's maps and weights begin.
    """
    total, pixels, taps = s.out_blocks * s.out_size, s.out_height * s.out_width, s.kernel**2
    rows, columns = padded_size(s)
    of_channel = s.stride * s.stride * rows * columns
    height = strip_rows(1, s)
    ld = height * s.out_width + GAP
    for c in range(s.in_size):
        pad_phases(x + 4 * c * s.height * s.width, padded + 4 * c * of_channel, s)
    for first in range(0, s.out_height, height):
        last = min(s.out_height, first + height)
        for c in range(s.in_size):
            unfold(padded + 4 * c * of_channel, strip + 4 * c * taps * ld, ld, first, last, s)
        n, size, num_k = s.in_size * taps, s.out_size, (last - first) * s.out_width
        for q in range(len(writes)):
            z = turned + 4 * (q * pixels + first * s.out_width) * size
            to = grad_w + 4 * writes[q] * size
            times_block(pairs, n, strip, 4 * ld, z, size, 1, to, 4 * total, num_k, size, tile)


@compiled
def write_map_gradient(
    weights: int,
    z: int,
    grad_x: int,
    num: int,
    padded: int,
    strip: int,
    pairs: int,
    tile: Any,
    s: ConvShape,
) -> None:
    """Writes the gradient of one image's maps of one input group.

    `weights` are those of `num` output channels, side by side, `z` the gradients of these.
    """
    taps, ldz = s.kernel**2, s.out_height * s.out_width + GAP
    rows, columns = padded_size(s)
    of_channel, num_k = s.stride * s.stride * rows * columns, s.in_size * taps
    height = strip_rows(1, s)
    ld = height * s.out_width + GAP
    fill_floats(padded, s.in_size * of_channel, 0)
    for first in range(0, s.out_height, height):
        last = min(s.out_height, first + height)
        fill_floats(strip, num_k * ld, 0)
        at, width = z + 4 * first * s.out_width, (last - first) * s.out_width
        times_block(pairs, num_k, weights, 4 * num, at, ldz, 1, strip, 4 * ld, num, width, tile)
        for c in range(s.in_size):
            fold(strip + 4 * c * taps * ld, ld, padded + 4 * c * of_channel, first, last, s)
    for c in range(s.in_size):
        crop_phases(padded + 4 * c * of_channel, grad_x + 4 * c * s.height * s.width, s)


@compiled
def convolve_back(
    x: int,
    w: int,
    in_mask: int,
    out_mask: int,
    y: int,
    grad_y: int,
    grad_x: int,
    grad_w: int,
    grad_b: int,
    s: ConvShape,
    activation: int,
    batch: int,
    start: int,
    stop: int,
) -> None:
    """Gradients of `convolve` for input groups start to stop; unwanted gradients have address 0.

    grad_b is written by the call with start = 0.
    """
    num_k, pixels = s.in_size * s.kernel * s.kernel, s.out_height * s.out_width
    total, of_map = s.out_blocks * s.out_size, s.in_size * s.height * s.width
    rows, columns = padded_size(s)
    padded = np.empty(s.in_size * s.stride * s.stride * rows * columns, np.float32)
    strip = np.empty(columns_size(s), np.float32)
    z, turned = np.empty(total * (pixels + GAP), np.float32), np.empty(total * pixels, np.float32)
    weights = np.empty(num_k * total, np.float32)
    tile = np.empty(TILE_K * TILE_COLUMNS, np.float32)
    at_padded, at_strip = np.int64(padded.ctypes.data), np.int64(strip.ctypes.data)
    at_z, at_turned = np.int64(z.ctypes.data), np.int64(turned.ctypes.data)
    at_weights = np.int64(weights.ctypes.data)
    listed, writes = np.empty(s.in_blocks, np.int64), np.empty(s.out_blocks, np.int64)
    pairs = np.arange(num_k)
    pairs += pairs << 32
    at_pairs = np.int64(pairs.ctypes.data)
    if grad_w != 0:
        fill_floats(grad_w + 4 * start * num_k * total, (stop - start) * num_k * total, 0)
    bias = grad_b if start == 0 else 0
    if bias != 0:
        fill_floats(bias, total, 0)
    for b in range(batch):
        if grad_x != 0:
            fill_floats(grad_x + 4 * (b * s.in_blocks + start) * of_map, (stop - start) * of_map, 0)
        num = list_kept(in_mask, b, s.in_blocks, listed)
        wanted = list_kept(out_mask, b, s.out_blocks, writes)
        shift, kept_groups = 4 * b * total * pixels, writes[:wanted]
        slopes_of_groups(
            y + shift, grad_y + shift, at_z, at_turned, bias, kept_groups, s, activation
        )
        for i in listed[:num]:
            if not start <= i < stop or wanted == 0:
                continue
            at = 4 * (b * s.in_blocks + i) * of_map
            if grad_w != 0:
                to = grad_w + 4 * i * num_k * total
                add_weight_gradient(
                    x + at, at_turned, to, kept_groups, at_padded, at_strip, at_pairs, tile, s
                )
            if grad_x != 0:
                gather_weights(w, at_weights, i, kept_groups, s)
                size = wanted * s.out_size
                write_map_gradient(
                    at_weights, at_z, grad_x + at, size, at_padded, at_strip, at_pairs, tile, s
                )
    # Keep what was read by its address alive: numba frees an array after its last use.
    padded[0] = strip[0] = z[0] = turned[0] = weights[0] = 0
    pairs[:1] = 0
