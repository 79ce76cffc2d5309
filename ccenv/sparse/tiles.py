"""Products of one tile: listed rows and a tile of weights -> sums, in the widest panels that fit.

All addresses are int64; `ldx` and `ldy` are distances between rows in bytes, `ldw` in floats.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.compiled import compiled
from ccenv.sparse.listed import (
    eight,
    eight_sums,
    four,
    four_sums,
    six,
    six_sums,
    two,
    two_sums,
)
from ccenv.sparse.panels import (
    LOWER_HALF,
    as_pointer,
    make_add,
    make_copy,
    make_in_place,
    make_narrow,
    make_product,
)
from ccenv.sparse.registers import ROWS_OF_32, ROWS_OF_64, WIDE
from ccenv.sparse.vectors import relu_of, tanh_of

# Inner length and columns of a weight tile that stays in the first-level cache when it is copied,
# and floats of a narrow one that leaves room there for the rows.
TILE_K, TILE_COLUMNS, NARROW_FLOATS = 128, 64, 4096
# Rows of the highest panel of 16 columns whose sums stay in registers.
MANY = 8 if WIDE else 6
# So many rows share a tile before copying it together pays.
PACK_ROWS = 12

product_1x64, product_2x64, product_4x64 = (make_product(n, 64) for n in (1, 2, 4))
product_1x32, product_2x32, product_4x32 = (make_product(n, 32) for n in (1, 2, 4))
product_1x16, product_2x16, product_4x16 = (make_product(n, 16) for n in (1, 2, 4))
product_6x16, product_8x16 = make_product(6, 16), make_product(8, 16)
product_1x8, product_2x8, product_4x8, product_8x8 = (make_product(n, 8) for n in (1, 2, 4, 8))
product_1x4, product_8x4 = make_product(1, 4), make_product(8, 4)
narrow_1, narrow_2, narrow_4, narrow_8 = (make_narrow(n, together=True) for n in (1, 2, 4, 8))
apart_1, apart_2, apart_4, apart_8 = (make_narrow(n, together=False) for n in (1, 2, 4, 8))
product_1x1, product_4x1 = make_product(1, 1), make_product(4, 1)
NONE, TANH, RELU = 0, 1, 2
tanh_16, tanh_8, tanh_1 = (make_in_place(tanh_of, width) for width in (16, 8, 1))
relu_16, relu_8, relu_1 = (make_in_place(relu_of, width) for width in (16, 8, 1))
add_16, add_4, add_1 = make_add(16), make_add(4), make_add(1)
copy_64, copy_16, copy_8, copy_4, copy_1 = (make_copy(width) for width in (64, 16, 8, 4, 1))


@compiled
def copy_floats(source: int, target: int, width: int) -> None:
    """Copies `width` floats between two addresses."""
    c = 0
    while width - c >= 64:
        copy_64(source + 4 * c, target + 4 * c)
        c += 64
    while width - c >= 16:
        copy_16(source + 4 * c, target + 4 * c)
        c += 16
    if width - c >= 8:
        copy_8(source + 4 * c, target + 4 * c)
        c += 8
    while width - c >= 4:
        copy_4(source + 4 * c, target + 4 * c)
        c += 4
    while c < width:
        copy_1(source + 4 * c, target + 4 * c)
        c += 1


@compiled
def add_floats(source: int, target: int, width: int) -> None:
    """Adds `width` floats at one address to those at another."""
    c = 0
    while width - c >= 16:
        add_16(source + 4 * c, target + 4 * c)
        c += 16
    while width - c >= 4:
        add_4(source + 4 * c, target + 4 * c)
        c += 4
    while c < width:
        add_1(source + 4 * c, target + 4 * c)
        c += 1


@compiled
def zero_columns(y: int, rows: int, width: int, first: int, last: int) -> None:
    """Sets columns first to last of [rows, width] at an address to zero."""
    if last - first == width:
        carray(as_pointer(y), (rows * width,), np.float32)[:] = 0
        return
    for b in range(rows):
        at = y + 4 * (b * width + first)
        carray(as_pointer(at), (last - first,), np.float32)[:] = 0


@compiled
def activate(y: int, size: int, activation: int) -> None:
    """Applies the activation in place to `size` floats at an address."""
    c = 0
    if activation == TANH:
        while size - c >= 16:
            tanh_16(y + 4 * c)
            c += 16
        if size - c >= 8:
            tanh_8(y + 4 * c)
            c += 8
        while c < size:
            tanh_1(y + 4 * c)
            c += 1
    elif activation == RELU:
        while size - c >= 16:
            relu_16(y + 4 * c)
            c += 16
        if size - c >= 8:
            relu_8(y + 4 * c)
            c += 8
        while c < size:
            relu_1(y + 4 * c)
            c += 1


@compiled
def times_narrow(
    pairs: Any, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int
) -> None:
    """`times_tile` for 4 columns that lie together, k a multiple of 4."""
    r = 0
    while WIDE and n - r >= 8:
        narrow_8(eight(pairs, r, x, ldx), w, eight_sums(pairs, r, y, ldy), k, ldw)
        r += 8
    while n - r >= 4:
        narrow_4(four(pairs, r, x, ldx), w, four_sums(pairs, r, y, ldy), k, ldw)
        r += 4
    if n - r >= 2:
        narrow_2(two(pairs, r, x, ldx), w, two_sums(pairs, r, y, ldy), k, ldw)
        r += 2
    if r < n:
        source, target = x + (pairs[r] & LOWER_HALF) * ldx, y + (pairs[r] >> 32) * ldy
        narrow_1((source,), w, (target,), k, ldw)


@compiled
def times_apart(
    pairs: Any, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int
) -> None:
    """The same for 4 columns of a wider matrix, with the same result bit for bit."""
    r = 0
    while WIDE and n - r >= 8:
        apart_8(eight(pairs, r, x, ldx), w, eight_sums(pairs, r, y, ldy), k, ldw)
        r += 8
    while n - r >= 4:
        apart_4(four(pairs, r, x, ldx), w, four_sums(pairs, r, y, ldy), k, ldw)
        r += 4
    if n - r >= 2:
        apart_2(two(pairs, r, x, ldx), w, two_sums(pairs, r, y, ldy), k, ldw)
        r += 2
    if r < n:
        source, target = x + (pairs[r] & LOWER_HALF) * ldx, y + (pairs[r] >> 32) * ldy
        apart_1((source,), w, (target,), k, ldw)


@compiled
def times_tile(
    pairs: Any, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int, width: int
) -> None:
    """y[place, :width] += x[row, :k] @ w[:k, :width] for n listed pairs of a row and its place.

    A pair is int64, the row in its lower half. ldx and ldy in bytes, ldw in floats.
    """
    if width == 4 and k % 4 == 0:
        if ldw == 4:
            times_narrow(pairs, n, x, ldx, w, ldw, y, ldy, k)
        else:
            times_apart(pairs, n, x, ldx, w, ldw, y, ldy, k)
        return
    c = 0
    while c < width:
        left, to, at = width - c, y + 4 * c, w + 4 * c
        r = 0
        if left >= 64 and n <= ROWS_OF_64:
            while n - r >= 4:
                product_4x64(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x64(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x64((source,), at, (target,), k, ldw)
            c += 64
        elif left >= 32 and n <= ROWS_OF_32:
            while n - r >= 4:
                product_4x32(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x32(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x32((source,), at, (target,), k, ldw)
            c += 32
        elif left >= 16:
            while n - r >= MANY:
                if WIDE:
                    product_8x16(eight(pairs, r, x, ldx), at, eight_sums(pairs, r, to, ldy), k, ldw)
                else:
                    product_6x16(six(pairs, r, x, ldx), at, six_sums(pairs, r, to, ldy), k, ldw)
                r += MANY
            if n - r >= 4:
                product_4x16(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x16(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x16((source,), at, (target,), k, ldw)
            c += 16
        elif left >= 8:
            while n - r >= 8:
                product_8x8(eight(pairs, r, x, ldx), at, eight_sums(pairs, r, to, ldy), k, ldw)
                r += 8
            if n - r >= 4:
                product_4x8(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x8(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x8((source,), at, (target,), k, ldw)
            c += 8
        elif left >= 4:
            while n - r >= 8:
                product_8x4(eight(pairs, r, x, ldx), at, eight_sums(pairs, r, to, ldy), k, ldw)
                r += 8
            while r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x4((source,), at, (target,), k, ldw)
                r += 1
            c += 4
        else:
            while n - r >= 4:
                product_4x1(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            while r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x1((source,), at, (target,), k, ldw)
                r += 1
            c += 1


@compiled
def longest_tile(width: int) -> int:
    """Inner length of the tiles that a block is walked in.

    A narrow one is longer: each begins by reading sums and ends by writing them.
    """
    return max(TILE_K, NARROW_FLOATS // width)


@compiled
def times_block(
    pairs: Any,
    n: int,
    x: int,
    ldx: int,
    w: int,
    ldw: int,
    y: int,
    ldy: int,
    num_k: int,
    width: int,
    tile: Any,
) -> None:
    """The same for a block of any size, walked in tiles that stay in cache."""
    longest = longest_tile(width)
    if num_k <= longest and width <= TILE_COLUMNS and (n < PACK_ROWS or ldw == width):
        times_tile(pairs, n, x, ldx, w, ldw, y, ldy, num_k, width)
        return
    k = 0
    while k < num_k:
        length = min(longest, num_k - k)
        c = 0
        while c < width:
            columns = min(TILE_COLUMNS, width - c)
            at, row = w + 4 * (k * ldw + c), ldw
            if n >= PACK_ROWS and ldw > columns:
                packed = np.int64(tile.ctypes.data)
                for i in range(length):
                    copy_floats(at + 4 * i * ldw, packed + 4 * i * columns, columns)
                at, row = packed, columns
            times_tile(pairs, n, x + 4 * k, ldx, at, row, y + 4 * c, ldy, length, columns)
            c += columns
        k += length
